"""A soak: a stream under load, and faults of every kind by a schedule that is a function of its seed."""
