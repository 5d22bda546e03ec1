"""Benchmarks against the peers, runnable by anyone."""
