"""The partitions that this process owns: taken over, where they stand, and what their logs have lost."""
