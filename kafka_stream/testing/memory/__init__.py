"""A Kafka and an offset store in this process, for tests of streams."""
