"""Text for training and for scoring: documents with a source, split by hash, cut into blocks of tokens."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from lab import cache, packaged
from lab.errors import LabError
from lab.settings import CorpusSettings

if TYPE_CHECKING:
    from lab.subject import Subject

Split = Literal["train", "eval"]

VERSION = 1
"""Raise it when the same settings give other blocks."""

_HEAD = 200  # characters that tell documents apart: several files repeat a passage with another question at its end
_CHARS_PER_TOKEN = 8  # more than any text here has, so cutting a document there loses no block
_SHUFFLE_BUFFER = 1000


@dataclass(frozen=True)
class Source:
    """A kind of text in sae-probes: the numbers its files begin with, and the label that is kept where only one is."""

    name: str
    files: tuple[int, ...]
    only: str | None = None


SOURCES = (
    Source("code", (158, 159, 160), only="1"),
    Source("news", (100, 97)),
    Source("news", (161, 162, 163), only="1"),
    Source("reviews", (111, 157)),
    Source("medicine", (98, 101)),
    Source("web", tuple(range(56, 65))),
    Source("essays", (94,)),
    Source("stories", (45, 48, 49)),
)
"""The mix of sae-probes texts. Each name gives the same number of tokens, whatever the size of its files: code alone
holds a quarter of the characters. Left out are files of names, headlines, tweets and exam items, which are too short
for a context, and files that repeat another's texts. Where the negative class is text of other files, only the positive
one is read."""


@dataclass(frozen=True)
class Document:
    """One text. `id` is a hash of how it begins, below 2**63; `source` indexes the corpus's `sources`."""

    id: int
    source: int
    text: str


@dataclass(frozen=True)
class Block:
    """Up to `context` tokens in a row from one document, without padding."""

    tokens: Sequence[int]
    document: int
    source: int


@dataclass(frozen=True)
class TokenBlocks:
    """Blocks of equal length, padded on the right.

    `tokens` [n, context] int64; `length` [n] int64 real tokens; `document` and `source` [n] int64.
    """

    tokens: Tensor
    length: Tensor
    document: Tensor
    source: Tensor

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def mask(self) -> Tensor:
        """[n, context] bool: where a real token is."""
        return torch.arange(self.tokens.shape[1]) < self.length[:, None]


def document_id(text: str) -> int:
    """A number that texts with the same beginning share, case and white space aside; below 2**63."""
    return _hash(" ".join(text[: 4 * _HEAD].split()).casefold()[:_HEAD])


def held_out(text: str, eval_fraction: float) -> bool:
    """Tell whether a text belongs to the evaluation split: known from the text alone, in every corpus alike."""
    return _in_eval(document_id(text), eval_fraction)


class Corpus:
    """The documents of a profile.

    Attributes: `settings`; `sources`, the names that a document's `source` indexes; `fingerprint`.

    Raises:
        LabError: the package with the texts is not installed.
    """

    def __init__(self, settings: CorpusSettings) -> None:
        self.settings = settings
        self._kept: dict[Split, list[Document]] = {}
        if settings.source == "sae-probes":
            self._folder = packaged.folder()
            self.sources: tuple[str, ...] = tuple(dict.fromkeys(source.name for source in SOURCES))
            data = {"sae-probes": importlib.metadata.version("sae-probes"), "sources": SOURCES}
        else:
            self.sources = (settings.dataset,)
            data = {"dataset": settings.dataset}
        self.fingerprint = cache.fingerprint({"version": VERSION, "settings": settings, **data})

    def documents(self, split: Split) -> Iterator[Document]:
        """The split's documents, each text once, in a fixed order: sae-probes by a hash, a hub's data as it streams.

        Raises:
            LabError: the data cannot be read.
        """
        if self.settings.source == "hub":
            yield from (item for own, item in self._fresh(self._streamed()) if own == split)
            return
        if not self._kept:
            # Reading takes seconds, so it is done once for both splits.
            kept: dict[Split, list[Document]] = {"train": [], "eval": []}
            for own, item in self._fresh(self._packaged()):
                kept[own].append(item)
            for items in kept.values():
                items.sort(key=lambda item: _hash(f"{self.settings.seed} {item.id}"))
            self._kept = kept
        yield from self._kept[split]

    def _fresh(self, documents: Iterator[Document]) -> Iterator[tuple[Split, Document]]:
        """The first document of each kind, and its split."""
        seen: set[int] = set()
        for item in documents:
            if item.id not in seen:
                seen.add(item.id)
                yield ("eval" if _in_eval(item.id, self.settings.eval_fraction) else "train"), item

    def blocks(self, subject: Subject, split: Split) -> Iterator[Block]:
        """The split cut into blocks, the sources in turn so that all have given about as many tokens at any time.

        Args:
            subject: whose tokenizer cuts the text.
            split: "train" or "eval".
        """
        if len(self.sources) == 1:
            yield from self._cut(subject, self.documents(split))
            return
        documents: list[list[Document]] = [[] for _ in self.sources]
        for document in self.documents(split):
            documents[document.source].append(document)
        streams = {index: self._cut(subject, iter(items)) for index, items in enumerate(documents)}
        given = dict.fromkeys(streams, 0)
        while streams:
            index = min(streams, key=lambda one: given[one])
            block = next(streams[index], None)
            if block is None:
                del streams[index]
                continue
            given[index] += len(block.tokens)
            yield block

    def _cut(self, subject: Subject, documents: Iterator[Document]) -> Iterator[Block]:
        """Blocks of single documents: no token ever attends to another document's."""
        settings = self.settings
        start = [] if subject.bos_id is None else [subject.bos_id]
        width = settings.context - len(start)
        most = settings.max_blocks * width * _CHARS_PER_TOKEN
        while batch := list(islice(documents, 64)):
            texts = [document.text[:most] for document in batch]
            encoded = subject.tokenizer(texts, add_special_tokens=False)["input_ids"]
            for document, tokens in zip(batch, encoded):
                for at in range(0, min(len(tokens), settings.max_blocks * width), width):
                    piece = start + tokens[at : at + width]
                    if len(piece) >= settings.min_tokens:
                        yield Block(piece, document.id, document.source)

    def _packaged(self) -> Iterator[Document]:
        for source in SOURCES:
            index = self.sources.index(source.name)
            for number in source.files:
                for text, target in packaged.rows(packaged.numbered(self._folder, number)):
                    if source.only in (None, target):
                        yield Document(document_id(text), index, text)

    def _streamed(self) -> Iterator[Document]:
        import datasets
        from huggingface_hub.errors import HfHubHTTPError

        name, column = self.settings.dataset, self.settings.column
        try:
            stream = datasets.load_dataset(name, split="train", streaming=True)
            if column not in (stream.column_names or [column]):
                raise LabError(f"{name} has no column {column!r}: it has {', '.join(stream.column_names)}")
            for row in stream.shuffle(seed=self.settings.seed, buffer_size=_SHUFFLE_BUFFER):
                yield Document(document_id(row[column]), 0, row[column])
        except (OSError, HfHubHTTPError, ValueError, datasets.exceptions.DatasetsError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LabError(f"cannot read the data set {name}: {line:.200} (check the network, and HF_TOKEN)") from error


def pad(blocks: Sequence[Block], width: int, pad_id: int) -> TokenBlocks:
    """Put blocks of at most `width` tokens into one tensor, filled on the right with `pad_id`."""
    tokens = torch.full((len(blocks), width), pad_id, dtype=torch.int64)
    for row, block in enumerate(blocks):
        tokens[row, : len(block.tokens)] = torch.tensor(block.tokens, dtype=torch.int64)
    return TokenBlocks(
        tokens,
        torch.tensor([len(block.tokens) for block in blocks], dtype=torch.int64),
        torch.tensor([block.document for block in blocks], dtype=torch.int64),
        torch.tensor([block.source for block in blocks], dtype=torch.int64),
    )


def train_blocks(corpus: Corpus, subject: Subject) -> Iterator[Block]:
    """The training split, block by block, until the corpus ends. More blocks begin with the same ones."""
    return corpus.blocks(subject, "train")


def eval_blocks(corpus: Corpus, subject: Subject, count: int) -> TokenBlocks:
    """The first `count` blocks of the held-out split; kept in the cache, so that scoring needs not read the corpus.

    Raises:
        LabError: the split holds fewer blocks.
    """

    def build(folder: Path) -> None:
        blocks = list(islice(corpus.blocks(subject, "eval"), count))
        if len(blocks) < count:
            settings = corpus.settings
            raise LabError(
                f"the held-out text gives only {len(blocks)} blocks and {count} are wanted: give more texts, or longer "
                f"ones (a block has {settings.min_tokens} to {settings.context} tokens), or ask for fewer"
            )
        whole = pad(blocks, corpus.settings.context, subject.pad_id)
        np.savez(folder / "blocks.npz", **{name: value.numpy() for name, value in vars(whole).items()})

    key = {"subject": subject.fingerprint, "corpus": corpus.fingerprint, "count": count}
    folder = cache.entry("tokens", key, build)
    with np.load(folder / "blocks.npz") as arrays:
        return TokenBlocks(**{name: torch.from_numpy(arrays[name]) for name in arrays.files})


def _in_eval(number: int, fraction: float) -> bool:
    return _hash(f"split {number}") < fraction * 2**63


def _hash(text: str) -> int:
    """63 bits, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1
