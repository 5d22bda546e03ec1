"""Compiling a paper: latexmk without shell escapes, chktex, and what their output says is wrong."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from agent.base.keys import child_environment
from agent.compute.jail.spec import Limits
from agent.compute.local import ProcessResult, tail
from agent.compute.sandbox import Sandbox, contain

PACKAGES = "texlive-latex-base texlive-latex-recommended texlive-fonts-recommended latexmk chktex"
INSTALL = f"no LaTeX here: for a PDF install it (about 53 MB; on Debian: apt install {PACKAGES})"
COMPILE = [
    *("latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-file-line-error"),
    "paper.tex",
]
SECONDS = 180
MEMORY, DISK = 2 * 10**9, 2 * 10**8  # bytes
# Of chktex's warnings those that break a page: brackets and mathematics that do not close.
BREAKING = (9, 10, 14, 15, 16)


@dataclass(frozen=True)
class Problem:
    """A line of the paper that LaTeX stumbles over; line 0 where none is known."""

    line: int
    reason: str


def has_latex() -> bool:
    """Tell whether latexmk and pdflatex are installed."""
    return bool(shutil.which("latexmk") and shutil.which("pdflatex"))


def compile_paper(folder: Path, sandbox: Sandbox) -> list[Problem]:
    """Make `paper.pdf` from `paper.tex`.

    Args:
        folder: The paper's.
        sandbox: What holds LaTeX, which runs what a model wrote.

    Returns:
        What is wrong; nothing when the PDF is whole.

    Raises:
        AgentError: LaTeX could not be started.
    """
    (folder / "paper.pdf").unlink(missing_ok=True)
    result = _run(COMPILE, folder, sandbox)
    log = folder / "paper.log"
    found = read_log(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else []
    if not result.ok and not found:
        last = tail(result.log).strip().splitlines()[-3:]
        found = [Problem(0, f"LaTeX failed ({result.reason(SECONDS)}): {' '.join(last)}")]
    return found


def read_log(log: str) -> list[Problem]:
    """The errors of a LaTeX log, and the warnings that leave a hole in the page.

    Args:
        log: The log of a run with `-file-line-error`.
    """
    # TeX breaks its lines at 79 characters, also in the middle of a word.
    text = re.sub(r"(?m)^(.{79})\n", r"\1", log)
    found = [
        Problem(int(match["line"]), match["what"].strip())
        for match in re.finditer(r"(?m)^(?:\./)?paper\.tex:(?P<line>\d+): (?P<what>.*(?:\n(?!l\.\d).+)?)", text)
    ]
    for match in re.finditer(r"(?m)^\S*?(?P<file>[\w.-]+\.(?:tex|sty)):(?P<line>\d+): (?P<what>.+)", text):
        if match["file"] != "paper.tex":
            found.append(Problem(0, f"{match['file']}, line {match['line']}: {match['what']}"))
    if found:
        # LaTeX stopped at its first pass, in which nothing that is referred to is known yet.
        return list(dict.fromkeys(found))
    for match in re.finditer(
        r"(?:Reference|Citation) [`'](?P<key>[^']+)' on page \d+ undefined(?: on input line (?P<line>\d+))?", text
    ):
        found.append(Problem(int(match["line"] or 0), f"'{match['key']}' is undefined"))
    for match in re.finditer(r"Label [`'](?P<key>[^']+)' multiply defined", text):
        found.append(Problem(0, f"the label '{match['key']}' stands there twice"))
    return list(dict.fromkeys(found))


def run_chktex(folder: Path, sandbox: Sandbox) -> list[Problem]:
    """Find brackets and mathematics that do not close, by chktex; nothing where it is not installed."""
    if not shutil.which("chktex"):
        return []
    wanted = [f"-w{number}" for number in BREAKING]
    result = _run(["chktex", "-q", "-I0", "-nall", *wanted, "-f%l:%m\n", "paper.tex"], folder, sandbox)
    said = result.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [
        Problem(int(line), reason)
        for line, _, reason in (row.partition(":") for row in said)
        # A round or square bracket may stand alone, in an interval for one.
        if line.isdigit() and not re.search(r"`[()\[\]]'", reason)
    ]


def _run(command: list[str], folder: Path, sandbox: Sandbox) -> ProcessResult:
    """Run a program of TeX's in the paper's folder, which is all that it may change."""
    limits = Limits(SECONDS, memory=MEMORY, disk=DISK, output=DISK)
    log = folder / f"{command[0]}.log"
    log.unlink(missing_ok=True)
    return contain(sandbox, command, cwd=folder, env=child_environment(), log=log, limits=limits, writable=[folder])
