"""A service that keeps state in every way there is, its topic, and a plain program that says what has to come of it."""
