"""The edit engine: a model's SEARCH/REPLACE blocks become changes to files, all of a reply or nothing.

An edit is never lost, misplaced or half applied: every block of a reply ends as applied, already applied, without
change, or rejected with a reason that the model can act on. Nothing heavy is imported here.
"""

from agent.edit.apply import apply_reply
from agent.edit.blocks import Parsed, parse
from agent.edit.cut import continuation_prompt, join_reply
from agent.edit.types import Block, BlockResult, Outcome, Split

__all__ = [
    "Block",
    "BlockResult",
    "Outcome",
    "Parsed",
    "Split",
    "apply_reply",
    "continuation_prompt",
    "join_reply",
    "parse",
]
