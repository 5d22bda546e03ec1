"""What is known of a campaign, and what acts on it."""
