"""A page to look at: what streams say of themselves, or a store of them, as HTML that needs nothing but a browser."""
