"""How results become something to read."""
