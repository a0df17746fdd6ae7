"""One consumer: its partitions and their states, its rebalances, and what its errors are to the stream."""
