"""What a launcher costs with many runs under way: its memory, its share of a core, what it asks the cluster."""
