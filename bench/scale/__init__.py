"""The cost of a launcher with many runs under way: its memory, its share of a core, its questions to the cluster."""
