"""Bugs on purpose: each is caught by a law that the suite has anyway."""
