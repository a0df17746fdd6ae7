"""What users compare with. Quix Streams and Spark run in an environment of their own: ``make bench-peers``."""
