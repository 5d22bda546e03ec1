"""Other people's editors in place of our own edit engine, held to the same rules."""
