"""Errors that a user can act on."""


class AgentError(Exception):
    """One clear line: what is wrong and what to do."""
