"""Files as lines, and lines back as the same bytes: encoding, byte order mark, line ends and final newline are kept."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

Line = tuple[str, str | None]
"""A line's text and its line end; None means that the end is taken from its neighbours."""

Span = tuple[int, int, list[Line]]
"""First line of a place, the line after its last, and the lines that go there."""

# A line feed in these is always the one byte, so lines can be counted without decoding.
_LINE_SAFE = {"utf-8", "latin-1", "cp1252"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_PIECE = 1 << 14
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_SURROGATE = re.compile("[\udc80-\udcff]")


def split_lines(text: str) -> tuple[list[str], list[str]]:
    """Lines and their ends. A lone carriage return ends a line only where the text has no line feed at all.

    Returns:
        Two lists of one length; the last end is empty when the text does not end with a newline.
    """
    if not text:
        return [], []
    if "\r" in text and "\n" not in text:
        return _with_ends(text.split("\r"), "\r", False)
    return _with_ends(text.split("\n"), "\n", "\r" in text)


def _with_ends(lines: list[str], end: str, returns: bool) -> tuple[list[str], list[str]]:
    """Lines and their ends, from what stands between the line feeds.

    Args:
        lines: the pieces, the last of which has no end.
        end: what stood between them.
        returns: some pieces may end with a carriage return, which then is a part of the line's end.
    """
    ends = [end] * len(lines)
    if returns:
        last = lines[-1]
        ends = ["\r\n" if line.endswith("\r") else "\n" for line in lines]
        lines = [line[:-1] if line.endswith("\r") else line for line in lines]
        lines[-1] = last
    if lines[-1]:
        ends[-1] = ""
    else:
        lines.pop()
        ends.pop()
    return lines, ends


class Doc:
    """An immutable list of lines with the indexes that matching needs, each built on first use."""

    def __init__(self, lines: Sequence[str], ends: Sequence[str | None]) -> None:
        self.lines = list(lines)
        self.ends = list(ends)

    def __len__(self) -> int:
        return len(self.lines)

    def span(self, start: int, end: int) -> list[Line]:
        """The lines from ``start`` up to ``end`` with their ends."""
        return list(zip(self.lines[start:end], self.ends[start:end]))

    @cached_property
    def trailing(self) -> list[str]:
        """The lines without trailing white space."""
        return [line.rstrip() for line in self.lines]

    @cached_property
    def stripped(self) -> list[str]:
        """The lines without white space at either end."""
        return [line.lstrip(" \t") for line in self.trailing]

    @cached_property
    def ascii(self) -> bool:
        """No line holds a character outside ASCII."""
        return all(map(str.isascii, self.lines))


@dataclass(frozen=True)
class Source:
    """A file as it was read: an immutable snapshot.

    Args:
        raw: its bytes; None when the file does not exist.
        encoding: codec of the text after the byte order mark.
        errors: the codec's error handler.
        bom: the byte order mark, or nothing.
        doc: its lines.
    """

    raw: bytes | None
    encoding: str
    errors: str
    bom: bytes
    doc: Doc

    @property
    def newline(self) -> str:
        """The file's most frequent line end; a line feed when it has none."""
        ends = [end for end in self.doc.ends if end]
        return max(sorted(set(ends)), key=ends.count) if ends else "\n"

    def encode(self, spans: Sequence[Span]) -> bytes:
        """The bytes of the file with new lines in some places; every other byte is copied as it is.

        Args:
            spans: first line, the line after the last, and the new lines, in order and disjoint.

        Raises:
            UnicodeEncodeError: a new character does not exist in the file's encoding.
        """
        if self.raw is None or self.encoding not in _LINE_SAFE or not self._keeps_last(spans):
            return self.bom + self._joined(spans).encode(self.encoding, self.errors)
        raw = memoryview(self.raw)
        parts: list[bytes | memoryview] = []
        copied, at, line = 0, len(self.bom), 0
        for start, end, out in spans:
            first = self._skip(at, start - line)
            text = "".join(self._pieces(out, self.doc.ends[start - 1] if start else None))
            parts += (raw[copied:first], text.encode(self.encoding, self.errors))
            copied = at = self._skip(first, end - start)
            line = end
        parts.append(raw[copied:])
        return b"".join(parts)

    def _keeps_last(self, spans: Sequence[Span]) -> bool:
        """All lines end with a line feed, but for a last one that no span touches."""
        ends = self.doc.ends
        touched = max((end for _, end, _ in spans), default=0)
        return bool(ends) and ends[0] != "\r" and (ends[-1] != "" or touched < len(ends))

    def _skip(self, at: int, lines: int) -> int:
        """The offset so many lines further on."""
        raw = self.raw or b""
        for _ in range(lines):
            at = raw.index(b"\n", at) + 1
        return at

    def _pieces(self, lines: Sequence[Line], before: str | None) -> list[str]:
        """Texts and line ends in turn; a line without an end of its own has the one of the line before."""
        newline = self.newline
        before = before or newline
        pieces: list[str] = []
        for text, end in lines:
            before = end or (before if end is None else newline)
            pieces += (text, before)
        return pieces

    def _joined(self, spans: Sequence[Span]) -> str:
        pieces = self._pieces(spliced(self.doc, spans), None)
        if pieces and self.doc.ends and self.doc.ends[-1] == "":
            pieces.pop()
        return "".join(pieces)


def spliced(doc: Doc, spans: Sequence[Span]) -> list[Line]:
    """The lines of a document with new lines in some places."""
    out: list[Line] = []
    at = 0
    for start, end, new in spans:
        out.extend(doc.span(at, start))
        out.extend(new)
        at = end
    out.extend(doc.span(at, len(doc)))
    return out


def read_source(raw: bytes | None) -> Source:
    """Decode a file so that encoding its lines again gives the same bytes.

    Args:
        raw: the file's bytes, or None when there is no file.
    """
    if raw is None:
        return Source(None, "utf-8", "strict", b"", Doc([], []))
    for bom, encoding in _BOMS:
        if raw.startswith(bom):
            text = _decoded(raw[len(bom) :], encoding, "strict")
            if text is not None:
                return Source(raw, encoding, "strict", bom, Doc(*split_lines(text)))
    for encoding in _declared(raw):
        text = _decoded(raw, encoding, "strict")
        if text is not None:
            return Source(raw, encoding, "strict", b"", Doc(*split_lines(text)))
    lines = _utf8_lines(raw)
    if lines is not None:
        return Source(raw, "utf-8", "strict", b"", Doc(*lines))
    encoding, errors, text = _decode(raw)
    return Source(raw, encoding, errors, b"", Doc(*split_lines(text)))


def _utf8_lines(raw: bytes) -> tuple[list[str], list[str]] | None:
    """Lines and their ends, or None for other encodings and old line ends.

    Decoded in pieces: one character beyond ASCII would else double the size of the whole file in memory.
    """
    returns = b"\r" in raw
    if not raw or (returns and b"\n" not in raw):
        return None
    lines: list[str] = []
    view, at = memoryview(raw), 0
    try:
        while at <= len(raw):
            end = raw.rfind(b"\n", at, at + _PIECE)
            if end < 0:
                end = raw.find(b"\n", at + _PIECE)
            end = end if end >= 0 else len(raw)
            lines += str(view[at:end], "utf-8").split("\n")
            at = end + 1
    except UnicodeDecodeError:
        return None
    return _with_ends(lines, "\n", returns)


def _declared(raw: bytes) -> list[str]:
    """The encoding that a coding line names, as in Python files."""
    found = [_COOKIE.match(line) for line in raw[:400].split(b"\n")[:2]]
    return [match[1].decode("ascii") for match in found if match][:1]


def _decode(raw: bytes) -> tuple[str, str, str]:
    """Codec, error handler and text; the first that fits the bytes without loss."""
    try:
        return "utf-8", "strict", raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    # Some real UTF-8 among the broken bytes: keep it readable and carry the broken bytes along.
    text = raw.decode("utf-8", "surrogateescape")
    if not _SURROGATE.sub("", text).isascii():
        return "utf-8", "surrogateescape", text
    windows = _decoded(raw, "cp1252", "strict")
    if windows is not None:
        return "cp1252", "strict", windows
    return "latin-1", "strict", raw.decode("latin-1")


def _decoded(raw: bytes, encoding: str, errors: str) -> str | None:
    """The text, or None where the codec is unknown or would not give the same bytes back."""
    try:
        text = raw.decode(encoding, errors)
        return text if isinstance(text, str) and text.encode(encoding, errors) == raw else None
    except (UnicodeError, LookupError, ValueError):
        return None
