"""What looks at streams from outside: nothing of the library knows it, and nothing in it changes a stream."""
