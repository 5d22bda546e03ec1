"""The most memory that was held since a moment: of the GPU where one is used, else of the process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PROCESS = Path("/proc/self")


class Peak:
    """The peak since it was made.

    On a system where the process's own mark cannot be set back (any but Linux) it is that of the whole process so far.
    """

    def __init__(self) -> None:
        import torch

        self._gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
            self._since = True
        except OSError:
            self._since = False

    @property
    def megabytes(self) -> float:
        """The peak so far, in MiB."""
        import resource

        import torch

        if self._gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        if self._since:
            text = (_PROCESS / "status").read_text(encoding="ascii", errors="replace")
            if found := re.search(r"VmHWM:\s+(\d+) kB", text):
                return int(found[1]) / 2**10
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, but bytes on macOS
        return size / (2**20 if sys.platform == "darwin" else 2**10)
