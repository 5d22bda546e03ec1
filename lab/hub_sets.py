"""SAEBench's eight labelled sets on the Hugging Face hub, drawn as SAEBench 0.6.0 draws them (arXiv:2503.09532).

The same seed gives the same texts as there: pandas' `sample` of each class, or, of streams, the first texts shuffled.
Nothing is imported or fetched before a set is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from lab.errors import LabError

VERSION = 1
"""Raise it when a set is read in another way."""

Texts = dict[str, list[str]]

BIOS, AMAZON = "LabHC/bias_in_bios", "canrager/amazon_reviews_mcauley_1and5"
_PROFESSIONS = {
    **{"professor": 21, "nurse": 13, "architect": 1, "journalist": 11},
    **{"surgeon": 25, "psychologist": 22, "attorney": 2, "teacher": 26},
}
_CATEGORIES = {
    **{"Books": 24, "CDs_and_Vinyl": 26, "Software": 30, "Electronics": 6, "Pet_Supplies": 18},
    **{"Office_Products": 11, "Industrial_and_Scientific": 3, "Toys_and_Games": 1},
}
_COLUMNS: dict[str, tuple[str, str, str]] = {
    BIOS: ("hard_text", "profession", "gender"),
    AMAZON: ("text", "category", "rating"),
}
_CLASSES = {
    f"{BIOS}_class_set1": (0, 1, 2, 6, 9),
    f"{BIOS}_class_set2": (11, 13, 14, 18, 19),
    f"{BIOS}_class_set3": (20, 21, 22, 25, 26),
    AMAZON: (1, 2, 3, 5, 6),
    f"{AMAZON}_sentiment": (1.0, 5.0),
    "codeparrot/github-code": ("C", "Python", "HTML", "Java", "PHP"),
    "fancyzhx/ag_news": (0, 1, 2, 3),
    "Helsinki-NLP/europarl": ("en", "fr", "de", "es", "nl"),
}
NAMES = tuple(_CLASSES)
_EXTENSIONS = {
    **{"c": "C", "h": "C", "py": "Python", "html": "HTML", "java": "Java"},
    **dict.fromkeys(("php", "php3", "php4", "php5", "phps", "phpt"), "PHP"),
}
_EUROPARL = {"en": "en-fr", "fr": "fr-it", "de": "de-en", "es": "es-fr", "nl": "nl-pt"}
_LICENCE_CHARS, _CODE_CHARS = 150, 384  # 50 tokens are skipped and 128 kept, at 3 characters a token


def load(name: str, most: tuple[int, int], seed: int, classes: Sequence[str] = ()) -> tuple[Texts, Texts]:
    """Texts of one of SAEBench's sets by class.

    Args:
        name: one of `NAMES`.
        most: texts of a class to train and to test on.
        seed: of the draw.
        classes: labels of two parts, such as "professor / male": then those of bias_in_bios or of the Amazon reviews,
            the first in the order of the data, as SAEBench takes them for spurious correlations.

    Raises:
        LabError: no such set, too few texts, or the hub cannot be reached.
    """
    if name not in NAMES:
        raise LabError(f"unknown set {name!r}: use sae-probes:FILE, folder:/PATH/NAME or one of {', '.join(NAMES)}")
    return _reading(name, lambda: _load(name, most, seed, classes))


def _reading(name: str, read: Callable[[], tuple[Texts, Texts]]) -> tuple[Texts, Texts]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return read()
    except (OSError, HfHubHTTPError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LabError(f"cannot read the data set {name}: {line:.200} (check the network, and HF_TOKEN)") from error


def _load(name: str, most: tuple[int, int], seed: int, classes: Sequence[str]) -> tuple[Texts, Texts]:
    base = name.split("_class_set")[0].removesuffix("_sentiment")
    if classes:
        if base not in _COLUMNS:
            raise LabError(f"{name} has no second label: spurious correlations need {BIOS} or {AMAZON}")
        return _both(base, lambda frame, size: quadrants(frame, _COLUMNS[base], _codes(base, classes), size), most)
    chosen = _CLASSES[name]
    if name == "codeparrot/github-code":
        return _dealt(_code([str(label) for label in chosen], sum(most)), most, seed)
    if name == "Helsinki-NLP/europarl":
        return _dealt({str(label): _sentences(str(label), sum(most)) for label in chosen}, most, seed)
    text, first, second = _COLUMNS.get(base, ("text", "label", ""))
    if name == f"{AMAZON}_sentiment":
        return _both(base, lambda frame, size: sampled(frame, text, second, chosen, size, seed), most)
    if second:
        return _both(base, lambda frame, size: balanced(frame, _COLUMNS[base], chosen, size, seed), most)
    return _both(base, lambda frame, size: sampled(frame, text, first, chosen, size, seed), most)


def _both(path: str, take: Callable[[Any, int], Texts], most: tuple[int, int]) -> tuple[Texts, Texts]:
    import datasets

    data = datasets.load_dataset(path)
    return take(data["train"].to_pandas(), most[0]), take(data["test"].to_pandas(), most[1])


def sampled(frame: Any, text: str, column: str, classes: Sequence[object], size: int, seed: int) -> Texts:
    """`size` texts of each class of a column."""
    found = {}
    for label in classes:
        found[str(label)] = _draw(frame[frame[column] == label], text, size, seed, f"{column} {label}")
    return found


def balanced(frame: Any, columns: tuple[str, str, str], classes: Sequence[object], size: int, seed: int) -> Texts:
    """`size` texts of each class of the first column, half of them of either value of the second."""
    text, first, second = columns
    found: Texts = {}
    for label in classes:
        rows = frame[frame[first] == label]
        found[str(label)] = []
        for value, group in rows.groupby(second):
            found[str(label)] += _draw(group, text, size // 2, seed, f"{first} {label}, {second} {value}")
    return found


def quadrants(frame: Any, columns: tuple[str, str, str], codes: dict[str, tuple[object, object]], size: int) -> Texts:
    """The first `size` texts of each pair of values of the two columns."""
    text, first, second = columns
    found = {}
    for label, (one, other) in codes.items():
        found[label] = frame[(frame[first] == one) & (frame[second] == other)][text].tolist()[:size]
    return found


def _draw(frame: Any, text: str, size: int, seed: int, what: str) -> list[str]:
    if len(frame) < size:
        raise LabError(f"{what}: {len(frame)} texts, {size} are wanted: ask for fewer")
    drawn: list[str] = frame[text].sample(n=size, random_state=seed).tolist()
    return drawn


def _codes(base: str, classes: Sequence[str]) -> dict[str, tuple[object, object]]:
    """The form of labels in the data, such as "professor / male" and "Books / 1.0"."""
    found: dict[str, tuple[object, object]] = {}
    for label in classes:
        first, _, second = label.partition(" / ")
        if base == BIOS and first in _PROFESSIONS and second in ("male", "female"):
            found[label] = (_PROFESSIONS[first], int(second == "female"))
        elif base == AMAZON and first in _CATEGORIES and second in ("1.0", "5.0"):
            found[label] = (_CATEGORIES[first], float(second))
        else:
            raise LabError(f"{base} has no class {label!r}: write it as professor / male, or as Books / 1.0")
    return found


def _dealt(texts: Texts, most: tuple[int, int], seed: int) -> tuple[Texts, Texts]:
    """Each class shuffled and dealt out to the two splits."""
    order = random.Random(seed)
    for found in texts.values():
        order.shuffle(found)
    train, test = most
    return (
        {label: found[:train] for label, found in texts.items()},
        {label: found[train : train + test] for label, found in texts.items()},
    )


def _sentences(language: str, enough: int) -> list[str]:
    """One more than enough sentences, as SAEBench collects them."""
    import datasets

    rows = datasets.load_dataset("Helsinki-NLP/europarl", _EUROPARL[language], split="train", streaming=True)
    return [row["translation"][language] for row in islice(rows, enough + 1)]


def _code(languages: Sequence[str], enough: int) -> Texts:
    """Files of each language without their licence, until there are more than enough of each."""
    import datasets

    files = "hf://datasets/codeparrot/github-code/data/train-*.parquet"
    found: Texts = {language: [] for language in languages}
    for row in datasets.load_dataset("parquet", data_files=files, split="train", streaming=True):
        language, code = _EXTENSIONS.get(row["path"].rsplit(".", 1)[-1].lower()), row["content"]
        if language in found and len(code) > _LICENCE_CHARS + _CODE_CHARS:
            found[language].append(code[_LICENCE_CHARS:])
            if all(len(codes) > enough for codes in found.values()):
                break
    return found
