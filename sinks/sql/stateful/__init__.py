"""What sinks that keep state have in common: what they need of a transaction, of records and of users; the register."""
