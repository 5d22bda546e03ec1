"""The words with which a sentence may describe runs, baselines and the method where no verdict stands behind it.

None of them compares or values; the words that do, and that the audit can hold against verdicts, are in `words`.
"""

from importlib.resources import files

DESCRIBING = frozenset(files("agent.audit").joinpath("describing.txt").read_text(encoding="utf-8").split())
