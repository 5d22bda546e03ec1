"""The folder of a campaign as it is made and changed: a copy of the template, and commits."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.errors import AgentError
from agent.base.files import flush_folder, write_atomically
from agent.base.places import RUNS, TEMPLATE
from agent.campaign.events import Started
from agent.campaign.folder import EDITABLE, EXPERIMENT, NOTES, Folder, told
from agent.campaign.ledger import Ledger
from agent.campaign.seeds import SECRET, draw
from agent.campaign.settings import Settings
from agent.idea import Idea

if TYPE_CHECKING:
    from git import Repo

# Results, weights and logs are found by their hashes in the ledger; the history holds what people review.
IGNORED = (
    f"{SECRET}\nrun_*/\nfigures/\nledger.jsonl\ntranscript.jsonl\nreferee.jsonl\nreport.html\n"
    ".lock\n.*.new\n__pycache__/\n"
)
LOCK = ".lock"
HALF_MADE = ".new_"
DAY = 86400

# What people leave in the template's folder when they run it there.
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "run_*", "figures", ".*")


# Of the campaign's own: a machine without a git identity, or with hooks and signing, works the same.
_GIT_SETTINGS = {
    ("user", "name"): "SAE Scientist",
    ("user", "email"): "sae-scientist@localhost",
    ("commit", "gpgsign"): "false",
    ("core", "hooksPath"): os.devnull,
    # A commit is on the disk before the ledger names it, and git starts nothing that outlives it.
    ("core", "fsync"): "all",
    ("gc", "auto"): "0",
    ("maintenance", "auto"): "false",
}


class Workspace(Folder):
    """A campaign's folder and the hands that change it; see `Folder`."""

    # A clone of a campaign's repository has none of its settings.
    _git_options = tuple(
        part for (section, name), value in _GIT_SETTINGS.items() for part in ("-c", f"{section}.{name}={value}")
    )

    @classmethod
    def create(cls, idea: Idea, settings: Settings, runs: Path = RUNS, template: Path = TEMPLATE) -> "Workspace":
        """Make the folder of a new campaign; nothing is left behind when a step fails.

        Args:
            idea: What is to be tried.
            settings: The campaign's settings, for the ledger.
            runs: The folder that holds all campaigns.
            template: The folder that is copied.

        Returns:
            The workspace, its first commit made.

        Raises:
            AgentError: No git, no space, no right to write, or no template.
        """
        _require_git()
        if not (template / EXPERIMENT).is_file():
            raise AgentError(f"the template {template} has no {EXPERIMENT}; restore the folder")
        try:
            runs.mkdir(parents=True, exist_ok=True)
            _remove_half_made(runs)
            half_made = Path(tempfile.mkdtemp(prefix=HALF_MADE, dir=runs))
        except OSError as error:
            raise AgentError(f"cannot make a folder in {runs}: {error.strerror}") from error
        try:
            with (half_made / LOCK).open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                return cls._fill(half_made, idea, settings, runs, template)
        except (OSError, shutil.Error) as error:
            raise AgentError(f"cannot make the workspace in {runs}: {error}") from error
        finally:
            shutil.rmtree(half_made, ignore_errors=True)

    @classmethod
    def _fill(cls, half_made: Path, idea: Idea, settings: Settings, runs: Path, template: Path) -> "Workspace":
        shutil.copytree(template, half_made, dirs_exist_ok=True, ignore=LEFT_BEHIND)
        write_atomically(half_made / "idea.json", idea.model_dump_json(indent=2) + "\n")
        write_atomically(half_made / ".gitignore", IGNORED)
        commit = _first_commit(half_made, idea)
        seeds = draw(half_made).commitment
        Ledger(half_made / "ledger.jsonl").append(
            Started(idea=idea.Name, commit=commit, settings=settings, seeds=seeds)
        )
        half_made.chmod(0o755)
        path = _take_free_name(half_made, runs, idea.Name)
        flush_folder(runs)
        return cls(path)

    def delete(self) -> None:
        """Delete the folder of a campaign that has done nothing yet."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one launcher.

        What another launcher wrote before it let go is read now.

        Raises:
            AgentError: Another launcher holds it; its process number is named. Or what it left is damaged.
        """
        with ExitStack() as stack:
            try:
                file = stack.enter_context((self.path / LOCK).open("a+"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(0)
                os.write(file.fileno(), f"{os.getpid()} on {os.uname().nodename}".encode())
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise AgentError(f"{self.path} is in use by process {holder}; wait for it or stop it") from error
            except OSError as error:
                what = f"cannot write {self.path / LOCK}: {error.strerror}"
                raise AgentError(f"{what}; free the space or fix the rights") from error
            self.ledger = Ledger(self.ledger.path)
            yield

    def restore(self, commit: str, names: tuple[str, ...] = EDITABLE) -> None:
        """Put files back as they were in a commit."""
        self._git("checkout", commit, "--", *names)

    def commit(self, message: str) -> str:
        """Commit everything that is not ignored, and return the commit's hash; no change gives the current one."""
        self._git("add", "--all")
        if self._git("status", "--porcelain"):
            self._git("commit", "--quiet", "--message", message)
        return self.head

    def commit_notes(self, about: str) -> None:
        """Commit the notes; the commit names the ledger as it was, so that neither can be redone without the other.

        Args:
            about: What is new in them.
        """
        self.commit(f"{NOTES}{about}\n\nLedger: {self.ledger.head}")


def _require_git() -> None:
    if shutil.which("git") is None:
        raise AgentError("git is not installed; install it (on Debian: apt install git)")


def _first_commit(folder: Path, idea: Idea) -> str:
    from git import Repo
    from git.exc import GitCommandError

    try:
        return _commit_all(Repo.init(folder, initial_branch="main"), idea)
    except GitCommandError as error:
        raise AgentError(told(error, f"git cannot make the workspace's repository in {folder.parent}")) from error


def _remove_half_made(runs: Path) -> None:
    """Delete the beginnings of campaigns whose maker is dead: it held their lock, or would have within a day."""
    for folder in runs.glob(f"{HALF_MADE}*"):
        try:
            with (folder / LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError:
            if time.time() - folder.lstat().st_mtime < DAY:
                continue
        shutil.rmtree(folder, ignore_errors=True)


def _commit_all(repository: "Repo", idea: Idea) -> str:
    with repository as repo:
        with repo.config_writer() as config:
            for (section, name), value in _GIT_SETTINGS.items():
                config.set_value(section, name, value)
        repo.git.add("--all")
        repo.git.commit("--quiet", "--message", f"Template and idea: {idea.Title}")
        return repo.head.commit.hexsha


def _take_free_name(half_made: Path, runs: Path, name: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for extra in ("", *(f"-{n}" for n in range(2, 1000))):
        target = runs / f"{stamp}{extra}_{name}"
        try:
            half_made.rename(target)
            return target
        except OSError:
            if not target.exists():
                raise
    raise AgentError(f"no free folder name in {runs} for {name}; remove old campaigns")
