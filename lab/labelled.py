"""Labelled texts: named sets of classes, each with texts to train a probe on and texts to test it on.

A set is named by where it is from:

- ``sae-probes:97_news_class``: a file of the PyPI package sae-probes, its labels being the classes;
- ``sae-probes:code``, ``agnews``, ``reviews``: sets made of several of its files (`COMBINED`);
- ``folder:/path/NAME``: `/path/NAME.train.jsonl` and `/path/NAME.test.jsonl`, lines of {"text", "label"}, as given;
- ``LabHC/bias_in_bios_class_set1`` and the other names of SAEBench: from the Hugging Face hub (`lab.hub_sets`).

A set whose labels have two parts, such as ``yelp / positive``, can be used for spurious correlations.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from lab import cache, hub_sets, packaged
from lab.corpus import document_id
from lab.errors import LabError

VERSION = 1
"""Raise it when the same name and sizes give other texts."""

PACKAGE, FOLDER = "sae-probes:", "folder:"
BETWEEN = " / "
"""Stands between the two parts of a label."""

_LEAST = 10  # texts a class must have in each split: an accuracy of fewer says nothing

Rows = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Part:
    """A class of a combined set: the texts with one of these labels in the file that begins with this number.

    `headings` are words that only this file's texts are divided by; they are left out.
    """

    label: str
    file: int
    targets: tuple[str, ...] = ("1",)
    headings: tuple[str, ...] = ()

    def read(self, files: Path) -> Rows:
        """Its texts and their label."""
        for text, target in packaged.rows(packaged.numbered(files, self.file)):
            if target in self.targets:
                for heading in self.headings:
                    text = text.replace(heading, " ", 1)
                yield text.strip(), self.label


_HEADINGS = ("Title: ", "\nReview: ")

COMBINED: dict[str, tuple[Part, ...]] = {
    "code": (Part("C", 158), Part("Python", 159), Part("HTML", 160)),
    "agnews": (Part("0", 161), Part("1", 162), Part("2", 163)),
    "reviews": (
        Part("yelp / positive", 111, ("3", "4")),
        Part("yelp / negative", 111, ("0", "1")),
        Part("amazon / positive", 157, ("1",), _HEADINGS),
        Part("amazon / negative", 157, ("0",), _HEADINGS),
        Part("film / positive", 113),
        Part("film / negative", 113, ("0",)),
    ),
}
"""Sets made of several files of sae-probes. In the files of code and of news the label 0 is text of other files. The
reviews have a subject and a sentiment. Occupation and gender of the wikidata files are not joined: texts with both
labels are too few (37 in the smallest quadrant of the largest pair)."""


@dataclass(frozen=True)
class LabelledSet:
    """Texts by class, in a fixed order, in two splits that share no document."""

    name: str
    train: Mapping[str, tuple[str, ...]]
    test: Mapping[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in a fixed order."""
        return tuple(self.train)


def load(
    name: str, *, train_size: int = 4000, test_size: int = 1000, seed: int = 42, classes: Iterable[str] = ()
) -> LabelledSet:
    """Read a set.

    Sizes are those of a balanced task of one class against the rest, as SAEBench counts: a class gives at most half of
    each. Texts of sae-probes are taken once each, those with two labels are left out, and all that begin alike (one
    document) are in the same split.

    Args:
        name: see the module's docstring.
        train_size: texts to train one probe on.
        test_size: texts to test one probe on.
        seed: which texts are drawn, and how they are split.
        classes: only these labels, in this order; by default all.

    Raises:
        LabError: there is no such set or class, it has one class, too few texts, or the hub cannot be reached.
    """
    if min(train_size, test_size) < 2 * _LEAST:
        raise LabError(f"{name}: a training or test set of fewer than {2 * _LEAST} texts says nothing: ask for more")
    wanted = tuple(classes)
    halves = (train_size // 2, test_size // 2)
    if name.startswith(PACKAGE):
        train, test = _split(_packaged_rows(name), halves, seed)
    elif name.startswith(FOLDER):
        train, test = (_limited(_folder_rows(path), half) for path, half in zip(_folder_files(name), halves))
    else:
        train, test = hub_sets.load(name, halves, seed, wanted)
    labels = wanted or tuple(sorted(set(train) | set(test)))
    if len(labels) < 2:
        raise LabError(f"{name} has one class ({', '.join(labels) or 'none'}): a probe needs at least two")
    for label in labels:
        found = [len(split.get(label, ())) for split in (train, test)]
        if not any(found) and wanted:
            raise LabError(f"{name} has no class {label!r}: it has {', '.join(sorted(set(train) | set(test)))}")
        if min(found) < _LEAST:
            raise LabError(
                f"{name}: class {label!r} has {found[0]} texts to train and {found[1]} to test on, at least {_LEAST} "
                "are needed: use another set"
            )
    return LabelledSet(name, *({label: tuple(split[label]) for label in labels} for split in (train, test)))


def fingerprint(name: str, *, train_size: int, test_size: int, seed: int, classes: Iterable[str] = ()) -> str:
    """The identity of the texts that `load` gives for the same arguments; they are not read, but a folder's are.

    Raises:
        LabError: a folder's file is missing.
    """
    if name.startswith(PACKAGE):
        source: object = importlib.metadata.version("sae-probes")
    elif name.startswith(FOLDER):
        source = [cache.hash_file(path) for path in _folder_files(name)]
    else:
        source = hub_sets.VERSION
    asked = {"name": name, "train": train_size, "test": test_size, "seed": seed, "classes": list(classes)}
    return cache.fingerprint({"version": VERSION, "source": source, **asked})


def _packaged_rows(name: str) -> Rows:
    asked = name.removeprefix(PACKAGE)
    folder = packaged.folder()
    if asked in COMBINED:
        for part in COMBINED[asked]:
            yield from part.read(folder)
        return
    path = folder / f"{asked}.csv.zst"
    if not path.is_file():
        known = [*COMBINED, *(file.name.removesuffix(".csv.zst") for file in folder.glob("*.csv.zst"))]
        near = get_close_matches(asked, known, 3, 0.4) or known[:3]
        raise LabError(f"sae-probes has no set {asked!r}: did you mean {', '.join(near)}?")
    yield from packaged.rows(path)


def _split(rows: Rows, most: tuple[int, int], seed: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts by label, at most so many of each in the two splits; which split depends on how a text begins."""
    labels: dict[str, set[str]] = {}
    for text, label in rows:
        labels.setdefault(text, set()).add(label)
    order = sorted(
        (cache.fingerprint([seed, "order", text]), text, *found) for text, found in labels.items() if len(found) == 1
    )
    test_share = most[1] / sum(most)
    splits: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for _, text, label in order:
        place = int(cache.fingerprint([seed, "split", document_id(text)]), 16) / 2**64
        texts = splits[place < test_share].setdefault(label, [])
        if len(texts) < most[place < test_share]:
            texts.append(text)
    return splits


def _folder_files(name: str) -> tuple[Path, Path]:
    stem = name.removeprefix(FOLDER)
    paths = Path(f"{stem}.train.jsonl"), Path(f"{stem}.test.jsonl")
    for path in paths:
        if not path.is_file():
            raise LabError(f"{name}: there is no file {path}; it holds lines of {{'text': ..., 'label': ...}}")
    return paths


def _folder_rows(path: Path) -> Rows:
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            value = json.loads(line) if line.strip() else None
            if value is None:
                continue
            if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("text", "label")):
                raise LabError(f"{path}, line {number}: it must be {{'text': a string, 'label': a string}}")
            yield value["text"], value["label"]
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read: {error}") from error


def _limited(rows: Rows, most: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text, label in rows:
        texts = found.setdefault(label, [])
        if len(texts) < most:
            texts.append(text)
    return found
