"""The gates between an edit and a run: it has to be another program, do only what it may, and have an effect."""
