"""Small streams that run as they are, each of them exercised by the tests."""
