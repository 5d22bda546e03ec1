"""How a change becomes a result."""
