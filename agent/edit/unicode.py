"""Unicode punctuation and spaces folded to the ASCII that a model tends to write for them, with a way back."""

from __future__ import annotations

_FOLDS = {
    "'": "‘’‚‛′‵ʼ",
    '"': "“”„‟″",
    "-": "‐‑‒–—―−﹣",
    " ": "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000",
    "...": "…",
    "": "\u200b\u2060\ufeff\u00ad",
}
_TABLE = {ord(char): plain for plain, chars in _FOLDS.items() for char in chars}


def fold(text: str) -> str:
    """The text with Unicode punctuation and spaces replaced by their ASCII forms."""
    return text if text.isascii() else text.translate(_TABLE)


def is_plain(lines: list[str]) -> bool:
    """Tell whether folding would leave every line as it is."""
    return all(line.isascii() or fold(line) == line for line in lines)


def offsets(text: str) -> list[int]:
    """For each character boundary of ``text`` its offset in the folded text (one more entry than characters)."""
    at, table = 0, [0]
    for char in text:
        at += len(_TABLE.get(ord(char), char))
        table.append(at)
    return table
