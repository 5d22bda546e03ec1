"""The sandbox: every run, smoke run, plot, scoring and LaTeX compile of a campaign goes through `contain`.

What is run may read the environment's packages and what it is given, write the folders that it is given and a /tmp of
its own, and use the GPU. It has no network, sees no other process, and ends with everything that it started.
`docs/sandbox.md` tells what holds it, and what does not.
"""

import functools
import os
import secrets
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import scratch_prefix
from agent.base.places import CODE, PROJECT
from agent.compute.jail import landlock, seccomp
from agent.compute.jail.spec import Limits, Spec, Way
from agent.compute.local import ProcessResult, run

# Of the machine: programs, libraries, fonts, TeX, and what a GPU's driver looks up. No keys, no passwords, no home.
_ETC = "alternatives fonts group ld.so.cache ld.so.conf ld.so.conf.d localtime mime.types nsswitch.conf OpenCL passwd"
_SYS = "bus class dev devices fs/cgroup module"
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/var/lib/texmf", "/etc/texmf"),
    *(f"/etc/{name}" for name in _ETC.split()),
    *(f"/sys/{name}" for name in _SYS.split()),
)
_GPUS = ("nvidia*", "nvidia-caps/*", "kfd", "dri/*", "dxg")
_OWN_TMP = "/tmp"
# Variables that lead to folders of the user's.
_LEADING = ("XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "HF_HOME", "HF_TOKEN_PATH", "VIRTUAL_ENV")
_DEEPEST, _LONGEST = 64, 3000


@dataclass(frozen=True)
class Sandbox:
    """The way that this machine allows.

    Args:
        way: Bubblewrap's namespaces, Landlock, or none.
        program: Where bubblewrap is.
        said: In words, for the user and the ledger.
    """

    way: Way
    program: str = ""
    said: str = ""


NO_SANDBOX = Sandbox("none", said="no sandbox: what the model writes runs with all your rights (--no-sandbox)")


def choose_sandbox(wanted: bool = True) -> Sandbox:
    """The first way that works here; each is tried by running something in it.

    Args:
        wanted: False for `--no-sandbox`.

    Raises:
        AgentError: None works.
    """
    if not wanted:
        return NO_SANDBOX
    candidates, troubles = _candidates()
    for candidate in candidates:
        if not (trouble := _trouble(candidate)):
            return candidate
        troubles = [*troubles, trouble]
    raise AgentError(
        f"no sandbox works here ({'; '.join(troubles)}): install bubblewrap (on Debian: apt install bubblewrap), "
        "or give --no-sandbox to let what the model writes run with all your rights"
    )


def available() -> tuple[list[Sandbox], list[str]]:
    """The ways that work here, best first, and what is wrong with the others."""
    candidates, troubles = _candidates()
    working = [candidate for candidate in candidates if not _trouble(candidate)]
    return working, [*troubles, *(trouble for candidate in candidates if (trouble := _trouble(candidate)))]


def _candidates() -> tuple[list[Sandbox], list[str]]:
    """The ways that may work here, best first, and what is missing for the others."""
    if not seccomp.supported():
        return [], [f"the processor {os.uname().machine} is not known to the seccomp filter"]
    candidates, troubles = [], []
    if program := shutil.which("bwrap"):
        candidates.append(Sandbox("bubblewrap", program, "sandbox: bubblewrap (namespaces and seccomp)"))
    else:
        troubles.append("bubblewrap is not installed")
    if version := landlock.version():
        candidates.append(Sandbox("landlock", "", f"sandbox: Landlock {version} and seccomp"))
    else:
        troubles.append("the kernel has no Landlock")
    return candidates, troubles


@functools.cache
def _trouble(sandbox: Sandbox) -> str:
    """The reason why nothing runs in a sandbox; "" when it does."""
    with tempfile.TemporaryDirectory(prefix=scratch_prefix("probe")) as folder:
        command = [sys.executable, "-I", "-S", "-c", ""]
        try:
            result = contain(sandbox, command, cwd=Path(folder), env={}, log=Path(folder) / "log", limits=Limits(10))
        except AgentError as error:
            return f"{sandbox.way}: {error}"
        said = (Path(folder) / "log").read_text(errors="replace").strip()
    return "" if result.ok else f"{sandbox.way}: {result.reason(10)} {said}"


def contain(
    sandbox: Sandbox,
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    limits: Limits,
    readable: Iterable[Path] = (),
    writable: Iterable[Path] = (),
    hidden: Iterable[Path] = (),
    devices: Sequence[str] = (),
    tick: Callable[[], None] = lambda: None,
) -> ProcessResult:
    """Run a command in a sandbox.

    Args:
        sandbox: Which one.
        command: The program and its arguments.
        cwd: Its working folder.
        env: Its environment; what leads to the user's folders is left out, and its home is its own /tmp.
        log: The file that takes its output.
        limits: What it may use.
        readable: The files and folders that it may read, beside the environment's packages.
        writable: The folders that it may change.
        hidden: Folders of the environment that it may not read.
        devices: The device nodes that it may use.
        tick: Called about ten times a second while it runs.

    Returns:
        How it ended.

    Raises:
        AgentError: It could not be started, or its output could not be kept.
    """
    folders = [path.resolve() for path in writable]
    # Made and deleted by the supervisor, which outlives a launcher that is killed.
    private = Path(tempfile.gettempdir()).resolve() / f"sae-run-{secrets.token_hex(8)}"
    tmp = _OWN_TMP if sandbox.way == "bubblewrap" else str(private)
    own = dict.fromkeys(("HOME", "TMPDIR", "TMP", "TEMP"), tmp)
    asked = (path for path in map(Path.absolute, readable) if not any(map(path.is_relative_to, folders)))
    box = Spec(
        sandbox.way,
        [],
        "",
        {},
        readable=_outermost([*_packages(), *asked]),
        listed=[str(CODE)],
        hidden=[str(path.resolve()) for path in hidden],
        writable=[str(path) for path in folders],
        devices=list(devices),
        program=sandbox.program,
        private=str(private),
        limits=limits,
    )
    kept = {name: value for name, value in env.items() if name not in _LEADING}
    seconds = limits.seconds if limits.seconds is not None else float("inf")
    try:
        return run(command, cwd=cwd.resolve(), env={**kept, **own}, log=log, seconds=seconds, tick=tick, box=box)
    finally:
        remove(private)


def tidy(folder: Path) -> list[str]:
    """Leave in a folder only plain files and folders that can be read and deleted.

    A link, pipe or device that a run left would lead whoever reads its results elsewhere; a set-id bit would give its
    rights away.

    Args:
        folder: Where a command has written that is no longer running.

    Returns:
        The names of what was removed.
    """
    removed = []
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        here.chmod(0o755)
        for path in here.iterdir():
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) and depth < _DEEPEST and len(os.fsencode(path)) < _LONGEST:
                waiting.append((path, depth + 1))
                continue
            if stat.S_ISREG(mode):
                with suppress(PermissionError):  # another user's, which was there before
                    path.chmod(0o644 | (stat.S_IMODE(mode) & 0o777))
                continue
            removed.append(str(path.relative_to(folder)))
            if stat.S_ISDIR(mode):
                # Python's own way to delete a tree goes as deep as its calls can.
                subprocess.run(["rm", "-rf", "--", str(path)], check=False)
            else:
                path.unlink()
    return removed


def remove(folder: Path) -> None:
    """Delete a folder that a command has written, whatever it made of it; one that is not there is no trouble."""
    if folder.is_dir():
        tidy(folder)
        shutil.rmtree(folder, ignore_errors=True)


def gpus() -> list[str]:
    """The device nodes of GPUs, of NVIDIA's and AMD's."""
    found = (path for pattern in _GPUS for path in sorted(Path("/dev").glob(pattern)))
    return [str(path) for path in found if path.is_char_device()]


@functools.cache
def _packages() -> tuple[Path, ...]:
    """The interpreter, its packages and the machine's libraries."""
    python = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent, CODE / "lab"]
    python += [Path(path) for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))]
    # Packages installed from their sources elsewhere; the project's own folder holds runs and the user's keys as well.
    home = Path(os.environ.get("HOME", "/root"))
    others = [Path(entry).absolute() for entry in sys.path if entry and Path(entry).is_dir()]
    private = (home, PROJECT, Path.cwd(), Path(tempfile.gettempdir()), Path(_OWN_TMP))
    python += [path for path in others if not any(place.is_relative_to(path) for place in private)]
    libraries = [Path(path) for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path.startswith("/")]
    return (*map(Path, _SYSTEM), *python, *libraries)


def _outermost(paths: Iterable[Path]) -> list[str]:
    """The paths that are there and not beneath another."""
    kept: list[Path] = []
    for path in sorted({path for path in paths if path.exists()}, key=lambda path: path.parts):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return [str(path) for path in kept]
