"""Keys: read from the environment or `.env`, kept out of everything that is written and of every child process."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

HIDDEN = "[key removed]"
MIN_KEY_LENGTH = 8

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|CREDENTIALS|AUTH)(_?\d+)?$", re.IGNORECASE)

# Shapes of keys that people paste into files and prompts; the digit asked of the first keeps plain hyphenated words.
_KEY_SHAPES = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:
        sk-(?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{16,}
      | hf_[A-Za-z0-9]{20,}
      | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}
      | (?:AKIA|ASIA)[A-Z0-9]{16} | AIza[A-Za-z0-9_-]{30,}
      | xox[abprs]-[A-Za-z0-9-]{10,} | glpat-[A-Za-z0-9_-]{20,} | gsk_[A-Za-z0-9]{20,}
    )
  | (?<=Bearer[ ])[A-Za-z0-9._~+/=-]{16,}
  | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?-----END[ ][A-Z ]*PRIVATE[ ]KEY-----
    """,
    re.VERBOSE | re.DOTALL,
)

# What a child process may inherit. Everything else stays behind, whatever its name.
_CHILD_NAMES = frozenset(
    {
        "COLUMNS",
        "CUDA_DEVICE_ORDER",
        "CUDA_HOME",
        "CUDA_VISIBLE_DEVICES",
        "HF_DATASETS_CACHE",
        "HF_DATASETS_OFFLINE",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LINES",
        "LOGNAME",
        "MKL_NUM_THREADS",
        "MPLBACKEND",
        "NO_COLOR",
        "NUMEXPR_NUM_THREADS",
        "NVIDIA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHASHSEED",
        "PYTHONIOENCODING",
        "PYTHONUNBUFFERED",
        "PYTHONUTF8",
        "TERM",
        "TMPDIR",
        "TOKENIZERS_PARALLELISM",
        "TRANSFORMERS_OFFLINE",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
    }
)
_CHILD_PREFIXES = ("LC_", "SAE_LAB_", "PYTORCH_", "TORCH_")


def environment(root: Path | None = None, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment with the `.env` of the project beneath it; what is set in the environment wins.

    `os.environ` is not changed, so that a child process does not inherit what `.env` holds. The keys found become
    known to `scrub`.

    Args:
        root: the folder of `.env`; the working directory when None.
        environ: the environment to start from; `os.environ` when None.

    Returns:
        names and values; empty values are left out.
    """
    from dotenv import dotenv_values

    base = os.environ if environ is None else environ
    found = {name: value for name, value in dotenv_values((root or Path.cwd()) / ".env").items() if value}
    found.update({name: value for name, value in base.items() if value})
    remember_keys(found)
    return found


_remembered: set[str] = set()


def remember_keys(environ: Mapping[str, str]) -> None:
    """Have `scrub` remove the values of all variables in `environ` whose names say that they are secret."""
    _remembered.update(secret_values(environ))


def secret_values(environ: Mapping[str, str]) -> set[str]:
    """The values in `environ` to be hidden: of variables named like secrets, long enough, and not paths or numbers."""
    return {
        value
        for name, value in environ.items()
        if _SECRET_NAME.search(name)
        and len(value) >= MIN_KEY_LENGTH
        and not value.startswith(("/", "~"))
        and not value.isdigit()
    }


def scrub(text: str) -> str:
    """Replace every known key, and everything shaped like one, by a mark.

    Known are the values of the secret variables of the present environment and those that `environment` has read.
    """
    known = _remembered | secret_values(os.environ)
    if known:
        text = _any_of(frozenset(known)).sub(HIDDEN, text)
    return _KEY_SHAPES.sub(HIDDEN, text)


@functools.lru_cache(maxsize=8)
def _any_of(values: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(value) for value in sorted(values, key=lambda value: (-len(value), value))))


class ScrubbingFormatter(logging.Formatter):
    """A log formatter whose every line, tracebacks included, goes through `scrub`."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


def child_environment(
    extra: Mapping[str, str] | None = None, *, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a child process: an allow-list, and no keys.

    Args:
        extra: variables to add or replace, such as `SAE_LAB_SEED`.
        environ: the environment to choose from; `os.environ` when None.

    Returns:
        names and values. A variable that carries a known key is left out even when its name is allowed.
    """
    base = os.environ if environ is None else environ
    chosen = {name: value for name, value in base.items() if name in _CHILD_NAMES or name.startswith(_CHILD_PREFIXES)}
    chosen.update(extra or {})
    return {name: value for name, value in chosen.items() if not _SECRET_NAME.search(name) and scrub(value) == value}
