"""Targets of the attacks: files with keys, sockets that listen, another process. All of it made for one attempt."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SECRET = "sk-home-key-of-the-user"
_VICTIM = (
    "import ctypes, sys, time; held = ctypes.create_string_buffer(b'sk-memory'); "
    "print(ctypes.addressof(held), flush=True); time.sleep(600)"
)
_ADD_KEY = {"x86_64": 248, "aarch64": 217}
_SESSION_KEYRING = -3
_OWN = 0o600
# A file of each place of the lab that a run of an experiment has no business in.
_OF_THE_LAB = {
    "packages/model": ("model.gguf", "GGUF"),
    "packages/texts/data": ("1.csv", "a text that is held out"),
    "lab/activations/store": ("token.npy", "ids"),
    "lab/core/setup": ("residuals.bin", "residuals"),
    "lab/baselines/topk": ("weights.safetensors", "weights"),
}


@dataclass
class Targets:
    """One attempt's targets.

    Args:
        folder: Holds the files.
        workspace: Where the attack's script is, with the run's folder `out` beside it.
        victim: Another process of the same user.
        listeners: Sockets at which nothing may arrive.
        variables: How the attack finds all this.
    """

    folder: Path
    workspace: Path
    victim: subprocess.Popen[str]
    listeners: list[socket.socket]
    variables: dict[str, str]

    @property
    def out(self) -> Path:
        """The folder that the attack may write."""
        return self.workspace / "out"

    @property
    def readable(self) -> list[Path]:
        """The files that a run is given to read: its script, the packages, its activations."""
        named = (self.variables[name] for name in ("EXPERIMENT", "PACKAGES", "CACHE"))
        return [*(Path(name) for name in named), Path(self.variables["STORE"]) / "acts.bf16"]

    @property
    def hidden(self) -> list[Path]:
        """The packages that a run may not look into."""
        return [Path(self.variables[name]) for name in ("MODEL_PACKAGE", "TEXT_PACKAGE")]

    def state(self) -> object:
        """All that an attack could change; equal before and after one that was stopped."""
        names = [path for path in sorted(self.folder.iterdir()) if path != self.workspace]
        names += [path for folder in names if folder.is_dir() for path in sorted(folder.rglob("*"))]
        files = {path: _looks(path) for path in [*names, Path(self.variables["EXPERIMENT"])]}
        late = self.out / "late"
        return files, self._victim(), self._arrived(), late.exists(), Path(self.variables["TMP_FILE"]).exists()

    def _victim(self) -> object:
        if self.victim.poll() is not None:
            return None
        limits = Path(f"/proc/{self.victim.pid}/limits").read_text()
        return limits, os.getpriority(os.PRIO_PROCESS, self.victim.pid)

    def _arrived(self) -> int:
        """The number of connections or datagrams that are waiting, or have come."""
        for listener in self.listeners:
            with suppress(BlockingIOError):
                if listener.type == socket.SOCK_STREAM:
                    listener.accept()[0].close()
                else:
                    listener.recv(10)
                self._seen += 1
        return self._seen

    _seen: int = 0


@contextmanager
def targets(attack: Path) -> Iterator[Targets]:
    """Make the targets of one attempt, and take them away again.

    Args:
        attack: The attack's script.

    Yields:
        The targets.
    """
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="sae-attack-"))).resolve()
        workspace = folder / "workspace"
        for name in ("home", "other_run", "cache", "packages", "workspace/out", *_OF_THE_LAB):
            (folder / name).mkdir(parents=True)
        script = workspace / "experiment.py"
        shutil.copy(attack, script)
        files = {"home/id_rsa": SECRET, "project.env": f"MODEL_API_KEY={SECRET}", "other_run/results.json": "results"}
        of_lab = {f"{place}/{file}": text for place, (file, text) in _OF_THE_LAB.items()}
        of_lab |= {"lab/activations/store/acts.bf16": "rows"}
        for name, text in {**files, **of_lab, "cache/key.json": "key", "packages/module.py": ""}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(_OWN)
        listeners = {
            "TCP_PORT": _listener(closing, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "UDP_PORT": _listener(closing, socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "STREAM_SOCKET": _listener(closing, socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "stream")),
            "DATAGRAM_SOCKET": _listener(closing, socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "datagram")),
            "ABSTRACT_SOCKET": _listener(closing, socket.AF_UNIX, socket.SOCK_STREAM, f"\0{folder.name}"),
        }
        tmp_file = f"/tmp/{folder.name}-left"
        closing.callback(Path(tmp_file).unlink, missing_ok=True)
        victim = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _VICTIM],
            env={"KEY": "sk-victim"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        closing.callback(victim.wait)
        closing.callback(victim.kill)
        assert victim.stdout is not None
        closing.callback(victim.stdout.close)
        named = Path(f"/dev/shm/{folder.name}")
        named.write_text("sk-shared")
        closing.callback(named.unlink, missing_ok=True)
        variables = {
            "SECRET": str(folder / "home/id_rsa"),
            "DOTENV": str(folder / "project.env"),
            "OTHER_RUN": str(folder / "other_run"),
            "CACHE": str(folder / "cache"),
            "PACKAGES": str(folder / "packages"),
            "MODEL_PACKAGE": str(folder / "packages/model"),
            "TEXT_PACKAGE": str(folder / "packages/texts"),
            "STORE": str(folder / "lab/activations/store"),
            "EXPERIMENT": str(script),
            "TMP_FILE": tmp_file,
            "VICTIM": str(victim.pid),
            "NAMED": named.name,
            "ADDRESS": victim.stdout.readline().strip(),
            "SYSV": str(_system_v(closing)),
            "KEYRING_KEY": str(_key()),
            **{name: _address(listener) for name, listener in listeners.items()},
        }
        inherited = os.open(folder / "home/id_rsa", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        closing.callback(os.close, inherited)
        yield Targets(folder, workspace, victim, list(listeners.values()), variables)


def _looks(path: Path) -> object:
    found = path.lstat()
    text = path.read_bytes() if path.is_file() and not path.is_symlink() and found.st_mode & 0o400 else b""
    marks = os.listxattr(path, follow_symlinks=False)
    return found.st_mode, found.st_mtime_ns if path.is_file() else 0, found.st_uid, found.st_nlink, text, marks


def _listener(closing: ExitStack, family: int, kind: int, address: object) -> socket.socket:
    listener = closing.enter_context(socket.socket(family, kind))
    listener.bind(address)  # type: ignore[arg-type]
    if kind == socket.SOCK_STREAM:
        listener.listen()
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    if isinstance(name, tuple):
        return str(name[1])
    return name.lstrip(b"\0").decode() if isinstance(name, bytes) else str(name)


def _system_v(closing: ExitStack) -> int:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    segment = int(libc.shmget(0, 4096, 0o1600))
    if segment >= 0:
        closing.callback(libc.shmctl, segment, 0, None)
        address = libc.shmat(segment, None, 0)
        ctypes.memmove(address, b"sk-", 3)
        closing.callback(libc.shmdt, ctypes.c_void_p(address))
    return segment


def _key() -> int:
    libc = ctypes.CDLL(None)
    return int(libc.syscall(_ADD_KEY[os.uname().machine], b"user", b"sae-attack", b"sk-key", 6, _SESSION_KEYRING))
