"""Where positions live: one module per kind of store, each a store and its transaction."""
