"""What a score means: results read, compared and referred to."""
