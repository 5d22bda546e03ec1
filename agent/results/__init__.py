"""Results: read, compared and referred to."""
