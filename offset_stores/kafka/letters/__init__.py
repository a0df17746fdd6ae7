"""A stream's dead letters as the records of a topic, and what has become of them."""
