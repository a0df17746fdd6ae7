"""Tests against Kafka and PostgreSQL in Docker; see conftest.py for how the servers come up."""
