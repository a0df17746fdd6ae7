"""Streams with an executor."""
