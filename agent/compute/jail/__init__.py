"""The walls around a run: a supervisor process and two ways to confine what it starts.

Only the standard library is imported here, so that a supervisor is up within milliseconds and any Python can run one.
"""
