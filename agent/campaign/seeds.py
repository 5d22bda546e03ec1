"""The seeds of a campaign's runs: drawn from a secret that the ledger has as a hash first, and as it is at the end.

So nobody who writes code for a run knows its seed, or which seeds confirm it, and everybody can check afterwards that
they were drawn before there was any code. The secret lies in the campaign's folder, where no run can read it.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import sha256, write_atomically

SECRET = "seeds.secret"
_LARGEST = 10**9


@dataclass(frozen=True)
class Seeds:
    """The seeds that follow from a secret.

    Args:
        secret: Hexadecimal digits.
    """

    secret: str

    @property
    def commitment(self) -> str:
        """The hash by which the secret is known before it is revealed."""
        return sha256(self.secret)

    def of_run(self, number: int, attempt: int) -> int:
        """The seed of an attempt of a run; no other attempt's tells of it."""
        return self._drawn(f"run {number} {attempt}")

    def of_more(self, number: int, attempt: int, place: int) -> int:
        """One of the further seeds of an attempt of a run, by its place among them from 0."""
        return self._drawn(f"run {number} {attempt} more {place}")

    def of_confirmation(self, number: int, place: int) -> int:
        """One of the seeds that a run and its baseline are confirmed by, by its place from 0."""
        return self._drawn(f"confirmation of run {number} {place}")

    def of_smoke_run(self, name: str) -> int:
        """The seed of a smoke run, by its folder's name: one that is gone on with is the same job."""
        return self._drawn(f"smoke run {name}")

    def _drawn(self, what: str) -> int:
        return int(sha256(f"{self.secret} {what}")[:16], 16) % _LARGEST


def draw(folder: Path) -> Seeds:
    """Draw a secret, and keep it in a campaign's folder for nobody but its owner to read.

    Args:
        folder: The campaign's.
    """
    seeds, path = Seeds(secrets.token_hex(32)), folder / SECRET
    path.unlink(missing_ok=True)
    path.touch(0o600)
    write_atomically(path, seeds.secret)
    return seeds


def read(folder: Path, commitment: str) -> Seeds:
    """The seeds of a campaign under way.

    Args:
        folder: The campaign's.
        commitment: What the ledger knows the secret by.

    Raises:
        AgentError: The secret is lost, or is another.
    """
    try:
        seeds = Seeds((folder / SECRET).read_text(encoding="utf-8"))
    except OSError as error:
        raise AgentError(f"cannot read {folder / SECRET}: {error.strerror}; restore it from a copy") from error
    if seeds.commitment != commitment:
        raise AgentError(f"{folder / SECRET} is not what the ledger committed to; restore it from a copy")
    return seeds
