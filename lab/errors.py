"""The one exception that a user of the lab is meant to read."""


class LabError(Exception):
    """A wrong input or a missing resource, told in one line: what is wrong and what to do about it."""
