"""Does the sandbox hold? Attacks as tiny experiments, each tried outside, where it must work, and inside."""
