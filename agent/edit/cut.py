"""A reply that was cut off at the token limit, and its continuation."""

from __future__ import annotations

from agent.edit.blocks import parse
from agent.edit.text import split_lines

_SHOWN_CHARS = 400
_LEAST_OVERLAP = 12
_MOST_OVERLAP = 4000


def continuation_prompt(reply: str) -> str:
    """The prompt that asks for the rest of a reply that was cut off.

    Args:
        reply: the reply so far.

    Returns:
        Text for the model: start the unfinished block again, or go on after the last words.
    """
    parsed = parse(reply)
    whole = sum(not block.fault for block in parsed.blocks)
    start = "Your reply was cut off at the token limit. "
    if whole:
        start += f"What is whole is kept ({whole} block{'s' * (whole != 1)}) and need not be sent again. "
    if parsed.tail:
        return start + "The last block is unfinished: send it again whole, from the file name on, and then the rest."
    return f"{start}Go on exactly after these words, without repeating them:\n{reply[-_SHOWN_CHARS:]}"


def join_reply(reply: str, continuation: str) -> str:
    """One reply from a cut-off one and its continuation.

    A continuation that repeats the last words is joined where they end; any other is put directly behind, as a model
    goes on in the middle of a line. Where that leaves the unfinished block open, and the continuation has whole blocks,
    it has started that block again, and replaces it.

    Args:
        reply: the reply that was cut off.
        continuation: the model's next reply.
    """
    parsed = parse(reply)
    joined = reply + continuation[_overlap(reply, continuation) :]
    if not parsed.tail:
        return joined
    unfinished = parse(joined).blocks[len(parsed.blocks) - 1]
    if not unfinished.fault or not any(not block.fault for block in parse(continuation).blocks):
        return joined
    kept = split_lines(reply.removeprefix("\ufeff"))[0][: parsed.tail_line]
    return "\n".join([*kept, continuation])


def _overlap(reply: str, continuation: str) -> int:
    """The number of characters at the start of the continuation that repeat the end of the reply."""
    for size in range(min(len(reply), len(continuation), _MOST_OVERLAP), _LEAST_OVERLAP - 1, -1):
        if reply.endswith(continuation[:size]):
            return size
    return 0
