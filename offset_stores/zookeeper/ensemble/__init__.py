"""How an ensemble is reached, and how we are let in: its address, credentials and TLS."""
