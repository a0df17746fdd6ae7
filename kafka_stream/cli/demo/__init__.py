"""``kafka-stream demo``: a service that is killed again and again, and a table that is right all the same."""
