"""Ctrl-C that is never lost: Python drops an exception that a signal raises in a destructor, so it is remembered."""

import signal
from types import FrameType

# The exit code of who was stopped so.
INTERRUPTED = 130


class Interrupt:
    """The user's wish to stop, from a signal to the next point where it can be followed."""

    def __init__(self) -> None:
        self._wanted = False

    def listen(self) -> None:
        """Take Ctrl-C, and a scheduler's or a shell's polite signal, as the wish to stop."""
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def wish(self) -> None:
        """Have everything stop at its next point."""
        self._wanted = True

    def check(self) -> None:
        """Stop here if that is wished.

        Raises:
            KeyboardInterrupt: It is.
        """
        if self._wanted:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._wanted = True
        raise KeyboardInterrupt
