"""Can a run fool anyone? Hostile, mistaken and honest replies, each taken through all gates of a real campaign."""
