"""Of records with the same key only the first goes on: what tells keys apart, what is remembered, what is forgotten."""
