"""The folders of the program and of its user.

In a checkout there is one: the checkout. Installed from a wheel, the ideas and templates lie in the package, where
pyproject.toml has them put, and what is the user's lies in the folder that a command is started in.
"""

from pathlib import Path

# Where `agent` and `lab` are imported from.
CODE = Path(__file__).absolute().parents[2]
_IN_WHEEL = CODE / "agent" / "share"
_SHIPPED = _IN_WHEEL if _IN_WHEEL.is_dir() else CODE

# The user's: `.env`, `slurm.toml`, and the folders below.
PROJECT = Path.cwd() if _IN_WHEEL.is_dir() else CODE
RUNS = PROJECT / "runs"
WRITEUPS = PROJECT / "writeups"
OWN_IDEAS = PROJECT / "ideas"

IDEAS = OWN_IDEAS if OWN_IDEAS.is_dir() else _SHIPPED / "ideas"
TEMPLATE = _SHIPPED / "templates" / "sae_experiment"
LATEX = TEMPLATE / "latex"
