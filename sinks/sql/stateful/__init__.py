"""What sinks that keep state have in common: what they need of a transaction, their records, and their register."""
