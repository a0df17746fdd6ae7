"""How long a group waits for a member that is not heard of, and what an id of its own changes about that."""
