"""The page, the command that serves it for a store, and the same in a terminal."""
