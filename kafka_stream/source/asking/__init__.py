"""What an admin client is asked beside topics and offsets: whether brokers are there, and about consumer groups."""
