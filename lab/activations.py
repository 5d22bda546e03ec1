"""The cached activations: made once for a profile, memory-mapped by every run after that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab import cache, handed
from lab.corpus import Block, Corpus, pad, train_blocks
from lab.errors import LabError
from lab.progress import Progress
from lab.settings import ActivationSettings, Profile
from lab.subject import Subject, load_subject, subject_fingerprint

FORMAT = 1
"""Raise it when the same key gives other files."""

_COLUMNS = {"document": np.int64, "position": np.int16, "source": np.uint8, "token": np.int32}
_ROW_BYTES = sum(np.dtype(kind).itemsize for kind in _COLUMNS.values())
_WINDOW = 128  # blocks that are sorted by length together: little padding is computed, and memory stays small


@dataclass(frozen=True)
class ActivationStore:
    """Residuals at n usable training positions, in the order of the corpus.

    Args:
        folder: where the files are.
        fingerprint: what identifies the content.
        acts: [n, d_model] bfloat16, raw, memory-mapped: only the rows that are read come into memory.
        document: [n] int64, a hash that the blocks of one text share.
        position: [n] int16, the place in the block of `context` tokens, from 0.
        source: [n] uint8, an index into `sources`.
        sources: names of the kinds of text.
        mean: [d_model] float32, over all rows, raw.
        scale: raw activations times it have a mean square of 1 per coordinate.
        median_norm: of the usable positions that begin the corpus; a norm above `outlier_factor` times it was left out.
        left_out: share of the positions (padding aside) that were not usable.
    """

    folder: Path
    fingerprint: str
    acts: Tensor
    document: Tensor
    position: Tensor
    source: Tensor
    sources: tuple[str, ...]
    mean: Tensor
    scale: float
    median_norm: float
    left_out: float

    def __len__(self) -> int:
        return self.acts.shape[0]

    @cached_property
    def token(self) -> Tensor:
        """[n] int32, the token at each position; a run is not given it (`lab.handed`)."""
        return _column(self.folder, "token")


def open_store(profile: Profile, subject: Subject | None = None, device: str | None = None) -> ActivationStore:
    """The activations of a profile, from the cache or made now; a second process waits for the first.

    Args:
        profile: its subject, corpus and activations settings.
        subject: the loaded model, if there is one; else it is loaded only when the store must be made.
        device: where to compute; by default CUDA where there is one. Ignored when `subject` is given.

    Raises:
        LabError: the model or the text cannot be had, the text is too little, or the disk is too full.
    """
    corpus = Corpus(profile.corpus)
    settings = profile.activations
    known = subject.fingerprint if subject else subject_fingerprint(profile.subject, device)
    if known is None:  # a hub's model on its first use: what it is shows when it is here
        subject = load_subject(profile.subject, device)
        known = subject.fingerprint

    def build(folder: Path) -> None:
        # A bar goes up first: loading a model and reading texts takes some seconds too.
        with Progress("loading the subject model", settings.tokens) as progress:
            model = subject or load_subject(profile.subject, device)
            cache.check_space(folder, settings.tokens * (2 * model.d_model + _ROW_BYTES), "the activation cache")
            _Builder(model, corpus, settings, folder, progress).run()

    key = {"format": FORMAT, "subject": known, "corpus": corpus.fingerprint, "activations": settings}
    folder = cache.entry(handed.KIND, key, build)
    meta = cache.read_json(folder / handed.META)
    if "sources" not in meta:  # a store that was made before runs were handed theirs
        cache.write_json(folder / handed.META, {**meta, "sources": list(corpus.sources)})
    return read_store(folder)


def read_store(folder: Path) -> ActivationStore:
    """The activations in a folder, from the files that a run may read.

    Args:
        folder: as `open_store` made it.

    Raises:
        LabError: there are none.
    """
    meta = cache.read_json(folder / handed.META)
    rows, width = meta["rows"], len(meta["mean"])
    path = str(folder / handed.ACTS)
    acts = torch.from_file(path, shared=False, size=rows * width, dtype=torch.bfloat16).view(rows, width)
    return ActivationStore(
        folder=folder,
        fingerprint=folder.name,
        acts=acts,
        sources=tuple(meta["sources"]),
        mean=torch.tensor(meta["mean"], dtype=torch.float32),
        scale=meta["scale"],
        median_norm=meta["median_norm"],
        left_out=meta["left_out"],
        **{name: _column(folder, name) for name in ("document", "position", "source")},
    )


def _column(folder: Path, name: str) -> Tensor:
    return torch.from_numpy(np.load(folder / f"{name}.npy"))


class _Builder:
    """Fills a folder with a store's files, a window of blocks at a time."""

    def __init__(
        self, subject: Subject, corpus: Corpus, settings: ActivationSettings, folder: Path, progress: Progress
    ) -> None:
        self.subject = subject
        self.corpus = corpus
        self.settings = settings
        self.folder = folder
        self.progress = progress
        self.rows = 0
        self.seen = 0
        self.median_norm: float | None = None
        self.total = torch.zeros(subject.d_model, dtype=torch.float64)
        self.squares = 0.0
        self.columns = {name: np.empty(settings.tokens, dtype=kind) for name, kind in _COLUMNS.items()}

    def run(self) -> None:
        """Make every file.

        Raises:
            LabError: the corpus ends before `settings.tokens` rows are found.
        """
        self.progress.rename("reading the corpus")
        blocks = train_blocks(self.corpus, self.subject)
        with (self.folder / handed.ACTS).open("wb") as stream:
            while self.rows < self.settings.tokens:
                window = self._window(blocks)
                self.progress.rename("caching activations")
                for acts in self._usable(window):
                    stream.write(acts.view(torch.int16).numpy().data)
                self.progress.done = self.rows  # the outliers that were counted while computing taken off again
        for name, values in self.columns.items():
            np.save(self.folder / f"{name}.npy", values)
        mean_square = self.squares / (self.rows * self.subject.d_model)
        if not 0.0 < mean_square < float("inf"):
            raise LabError(f"{self.subject.name} gives activations of mean square {mean_square}: they cannot be scaled")
        meta = {
            "rows": self.rows,
            "mean": (self.total / self.rows).tolist(),
            "scale": mean_square**-0.5,
            "median_norm": self.median_norm,
            "left_out": 1.0 - self.rows / self.seen,
            "sources": list(self.corpus.sources),
        }
        cache.write_json(self.folder / handed.META, meta)

    def _window(self, blocks: Iterator[Block]) -> list[Block]:
        """Blocks enough for the rows that are missing, at most `_WINDOW`, and just that many for the first time.

        The first ones set the median, which must not depend on how many tokens are wanted.
        """
        window: list[Block] = []
        missing = self.settings.tokens - self.rows
        for block in blocks:
            window.append(block)
            missing -= len(block.tokens) - 1
            if len(window) == _WINDOW or (missing <= 0 and self.median_norm is not None):
                return window
        if not window:
            raise LabError(
                f"the corpus gives only {self.rows:,} usable tokens and activations.tokens is "
                f"{self.settings.tokens:,}: ask for fewer, or raise corpus.max_blocks"
            )
        return window

    def _usable(self, window: list[Block]) -> Iterator[Tensor]:
        """The window's usable rows block by block, [rows, d_model] bfloat16; the other columns are filled in."""
        resids = self._residuals(window)
        if self.median_norm is None:
            norms = [resid.norm(dim=-1)[self._mask(resid, block, float("inf"))] for resid, block in zip(resids, window)]
            self.median_norm = float(torch.cat(norms).float().median())
        for block, resid in zip(window, resids):
            places = self._mask(resid, block, self.median_norm).nonzero()[:, 0][: self.settings.tokens - self.rows]
            rows = resid[places].to(torch.bfloat16).contiguous()
            self._note(block, places, rows)
            yield rows

    def _residuals(self, window: list[Block]) -> list[Tensor]:
        """[length, d_model] of each block, on the CPU. Blocks of like length are computed together."""
        order = sorted(range(len(window)), key=lambda index: -len(window[index].tokens))
        found: dict[int, Tensor] = {}
        for at in range(0, len(order), self.settings.batch_blocks):
            chosen = order[at : at + self.settings.batch_blocks]
            batch = pad([window[index] for index in chosen], len(window[chosen[0]].tokens), self.subject.pad_id)
            tokens = batch.tokens
            if self.subject.device.type == "cuda":
                tokens = tokens.pin_memory().to(self.subject.device, non_blocking=True)
            resid = self.subject.residuals(tokens).cpu()
            found.update({index: resid[row, : len(window[index].tokens)] for row, index in enumerate(chosen)})
            self.progress.update(int(batch.length.sum()) - len(chosen))
        return [found[index] for index in range(len(window))]

    def _mask(self, resid: Tensor, block: Block, median_norm: float) -> Tensor:
        """[length] bool: the block's usable positions."""
        return self.subject.usable(
            resid[None],
            torch.tensor(block.tokens)[None],
            median_norm=median_norm,
            outlier_factor=self.settings.outlier_factor,
            drop_first=self.settings.drop_first,
        )[0]

    def _note(self, block: Block, places: Tensor, rows: Tensor) -> None:
        """Fill in the columns and the sums for rows that are about to be written."""
        here = slice(self.rows, self.rows + len(places))
        self.columns["document"][here] = block.document
        self.columns["position"][here] = places.numpy()
        self.columns["source"][here] = block.source
        self.columns["token"][here] = np.asarray(block.tokens)[places.numpy()]
        exact = rows.double()
        self.total += exact.sum(0)
        self.squares += float(exact.square().sum())
        self.rows += len(places)
        self.seen += len(block.tokens)
