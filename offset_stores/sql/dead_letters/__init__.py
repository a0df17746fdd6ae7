"""Dead letters beside the offsets: their table, what commands do with it, and how one is processed where it is."""
