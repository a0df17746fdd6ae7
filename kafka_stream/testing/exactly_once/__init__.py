"""``assert_exactly_once``: a user's stream goes through crashes, and its results are what its records come to once."""
