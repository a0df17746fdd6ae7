"""What a ``SqlSink`` does on an executor's workers, and what comes back of it: little, and as the database takes it."""
