"""Keys: read from the environment or `.env`, kept out of everything that is written and of every child process."""

from __future__ import annotations

import base64
import functools
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from agent.base.errors import AgentError

HIDDEN = "[key removed]"
MIN_KEY_LENGTH = 8

# Words that say it anywhere in a name, and shorter ones that do so at its end.
_SECRET_NAME = re.compile(
    r"(API|ACCESS|PRIVATE|SECRET)_?KEY|(AUTH|ACCESS|API|BEARER)_?TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL"
    r"|(KEY|TOKEN|AUTH|(^|_)(PASS|PWD|JWT))(_?\d+)?$",
    re.IGNORECASE,
)

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
  | (?<=://)[^\s/:@"'\[\]]*:[^\s/@"'\[\]]+(?=@)
  | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?-----END[ ][A-Z ]*PRIVATE[ ]KEY-----
    """,
    re.VERBOSE | re.DOTALL,
)

_BASE64 = re.compile(r"[A-Za-z0-9+/]{28,}={0,2}")

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
        "HF_TOKEN_PATH",
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
        environ: the environment to start from; `os.environ`, with what `withhold` took from it, when None.

    Returns:
        names and values; empty values are left out.

    Raises:
        AgentError: `.env` cannot be read.
    """
    base = {**_withheld, **os.environ} if environ is None else environ
    found = _from_file((root or Path.cwd()) / ".env")
    found.update({name: value for name, value in base.items() if value})
    remember_keys(found)
    return found


def _from_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"cannot read {path} ({type(error).__name__}): mend it or its permissions") from error


# Of this process, as os.environ is; only `withhold` and `remember_keys` change them.
_withheld: dict[str, str] = {}
_remembered: set[str] = set()


def withhold() -> None:
    """Take every secret out of this process's environment: each child would inherit it, and `ps e` would show it.

    `environment` still gives it. Secret is a variable whose name says so or whose value shows it; a path is none.
    """
    remember_keys(os.environ)
    for name, value in list(os.environ.items()):
        if (_SECRET_NAME.search(name) and not _is_path(value)) or scrub(value) != value:
            _withheld[name] = os.environ.pop(name)
    # The kernel shows others the environment that a process began with, whatever became of it since.
    with suppress(OSError):
        _blank_out(_withheld)


def _blank_out(names: Iterable[str]) -> None:
    """Write over the values of variables where the kernel keeps the environment that this process began with."""
    about = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(about[47]), int(about[48])
    begun = tuple(os.fsencode(f"{name}=") for name in names)
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        for entry in memory.read(end - start).split(b"\0"):
            if entry.startswith(begun):
                kept = entry.index(b"=") + 1
                memory.seek(start + kept)
                memory.write(b"*" * (len(entry) - kept))
            start += len(entry) + 1


def hub_token(root: Path) -> str:
    """The token of the Hugging Face hub, for the one child that fetches from there; empty when none is set.

    Args:
        root: the folder of `.env`.
    """
    found = environment(root)
    return found.get("HF_TOKEN") or found.get("HUGGING_FACE_HUB_TOKEN", "")


def remember_keys(environ: Mapping[str, str]) -> None:
    """Have `scrub` remove the values of all variables in `environ` whose names say that they are secret."""
    _remembered.update(secret_values(environ))


def secret_values(environ: Mapping[str, str]) -> set[str]:
    """The values in `environ` to be hidden: of variables named like secrets, long enough, and not paths or numbers."""
    return {
        value.strip()
        for name, value in environ.items()
        if _SECRET_NAME.search(name)
        and len(value.strip()) >= MIN_KEY_LENGTH
        and not _is_path(value)
        and not value.isdigit()
    }


def _is_path(value: str) -> bool:
    """Tell if it names a file, as a variable like GOOGLE_APPLICATION_CREDENTIALS does; base64 may start with / too."""
    # Path.exists would raise where a name is too long.
    return value.startswith(("/", "~/")) and (_BASE64.fullmatch(value) is None or os.path.exists(value))  # noqa: PTH110


def scrub(text: str) -> str:
    """Replace every known key, and everything shaped like one, by a mark.

    Known are the values of the secret variables of the present environment and those that `environment` has read, plain
    or as JSON, Python, an address or base64 would write them.
    """
    known = _remembered | secret_values(os.environ)
    if known:
        text = _any_of(frozenset(known)).sub(HIDDEN, text)
    return _KEY_SHAPES.sub(HIDDEN, text)


@functools.lru_cache(maxsize=8)
def _any_of(values: frozenset[str]) -> re.Pattern[str]:
    spelt = {spelling for value in values for spelling in _spellings(value)}
    return re.compile("|".join(re.escape(text) for text in sorted(spelt, key=lambda text: (-len(text), text))))


def _spellings(value: str) -> Iterable[str]:
    """A value as it stands in a plain text, JSON, Python's literals, an address and a header."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value, safe="", errors="surrogateescape")
    yield base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()


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
