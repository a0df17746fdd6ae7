"""Records that fail: telling them from servers that fail, finding them in their batch, and setting them aside."""
