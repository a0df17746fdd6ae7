"""The page in a real browser. Its files have names of their own, by which nothing else collects them."""
