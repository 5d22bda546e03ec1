"""The folder of one campaign as it is read: its files, its git history, its ledger, and what the runs left in it."""

from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.errors import AgentError
from agent.campaign.ledger import ANCHOR, Ledger

if TYPE_CHECKING:
    from git.exc import GitCommandError

EXPERIMENT = "experiment.py"
PLOT = "plot.py"
EDITABLE = (EXPERIMENT, PLOT)
# The subject of every commit of the notes begins so.
NOTES = "Notes: "


class Folder:
    """One campaign's folder.

    Args:
        path: The folder, made by `Workspace.create`.

    Raises:
        AgentError: The folder is not a campaign's.
    """

    _git_options: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        missing = [
            name for name in (EXPERIMENT, PLOT, "idea.json", "ledger.jsonl", ".git") if not (path / name).exists()
        ]
        if missing:
            raise AgentError(f"{path} is not a campaign's folder: {missing[0]} is missing; give a folder under runs/")
        self.ledger = Ledger(self.path / "ledger.jsonl")

    def read(self, name: str) -> str:
        """The text of a file of the workspace."""
        return (self.path / name).read_text(encoding="utf-8")

    def run_dir(self, number: int) -> Path:
        """Where run `number` leaves its log, weights and results."""
        return self.path / f"run_{number}"

    @property
    def head(self) -> str:
        """The hash of the newest commit."""
        return self._git("rev-parse", "HEAD")

    def at(self, commit: str, name: str) -> str:
        """The text of a file as it was in a commit."""
        return self._git("show", f"{commit}:{name}", strip=False)

    @property
    def noted(self) -> int:
        """The number of events known to the notes that were committed last."""
        commits = self._git("log", "--format=%x01%B").split("\x01")
        newest = next((message for message in commits if message.startswith(NOTES)), "")
        found = ANCHOR.search(newest)
        return int(found[1]) if found else 0

    def diff(self, old: str, new: str, names: tuple[str, ...] = EDITABLE) -> str:
        """The git diff of files between two commits."""
        return self._git("diff", old, new, "--", *names)

    def _git(self, *arguments: str, strip: bool = True) -> str:
        """The output of a git command in this folder.

        Raises:
            AgentError: It failed.
        """
        from git.cmd import Git
        from git.exc import GitCommandError

        try:
            return str(Git(self.path).execute(["git", *self._git_options, *arguments], strip_newline_in_stdout=strip))
        except GitCommandError as error:
            raise AgentError(told(error, f"git {arguments[0]} failed in {self.path}")) from error


def told(error: "GitCommandError", what: str) -> str:
    """Say in one line what failed and what git said of it."""
    said = " ".join(str(error.stderr).split()).removeprefix("stderr: ").strip("'")
    return f"{what}: {said[:300]}; free the space or mend the repository"
