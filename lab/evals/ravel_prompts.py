"""The prompts of the RAVEL evaluation: entities and their attributes, from the hub or from sae-probes.

A prompt names an entity and ends where one of its attributes begins.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab import hub, labelled
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.subject import Prefix, Subject

HUB_SET = "adamkarvonen/ravel_prompts"
HUB_ATTRIBUTES = {
    "city": ("Country", "Continent", "Language"),
    "nobel_prize_winner": ("Country of Birth", "Field", "Gender"),
}
PLACES = "sae-probes:17_world_country"
_COUNTRIES = ("Australia", "India", "Italy", "United_Kingdom", "United_States")
PLACE_ATTRIBUTES: dict[str, dict[str, str]] = {
    "Country": dict(zip(_COUNTRIES, ("Australia", "India", "Italy", "England", "America"))),
    "Continent": dict(zip(_COUNTRIES, ("Australia", "Asia", "Europe", "Europe", "America"))),
    "Language": dict(zip(_COUNTRIES, ("English", "Hindi", "Italian", "English", "English"))),
}
"""The questions about a place, and the answer for each country; each is one token of SmolLM2."""

TRAIN_SIZE, TEST_SIZE = 40, 1200  # a country gives half of each: to examples, and to the shortest places asked about
_BETWEEN = "\n\n"


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults; `batch_size` is the one it takes for gemma-2-2b.

    `source` is "hub" or "embedded". Of the hub's entities the `top_n_entities` are kept of which the model knows most;
    of the embedded ones `entities` of each country are asked about. An attribute needs `min_prompts` right prompts.
    `train_share` of the pairs is for the mask.
    """

    source: str = "hub"
    top_n_entities: int = 500
    entities: int = 60
    min_prompts: int = 30
    n_pairs: int = 5000
    train_share: float = 0.7
    num_epochs: int = 2
    learning_rate: float = 1e-3
    batch_size: int = 8
    n_generated_tokens: int = 6
    keep_error: bool = False
    seed: int = 42


@dataclass(frozen=True)
class Prompts:
    """Prompts that continue one text, `before` (tokens [p], possibly none).

    `tokens` [n, ctx] int64 is padded on the right, `length` [n]; `entity` [n] is where the entity's last token stands;
    `names`, `attributes` and `labels` say whose attribute is asked for and what it is.
    """

    before: Tensor
    tokens: Tensor
    length: Tensor
    entity: Tensor
    names: tuple[str, ...]
    attributes: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Sequence[int]) -> Prompts:
        """Some of the prompts."""
        at = torch.tensor(rows, dtype=torch.int64)
        names, attributes, labels = (
            tuple(each[row] for row in rows) for each in (self.names, self.attributes, self.labels)
        )
        return Prompts(self.before, self.tokens[at], self.length[at], self.entity[at], names, attributes, labels)

    def prefix(self, subject: Subject) -> Prefix | None:
        """The text before the prompts, through all layers."""
        return subject.prefix(self.before, whole=True) if len(self.before) else None


def places(subject: Subject, settings: Settings) -> Prompts:
    """Every attribute of the places with the fewest tokens, after one example of each attribute and country.

    Of a short name the last token says the most, and that is the token that is changed.
    """
    found = labelled.load(PLACES, train_size=TRAIN_SIZE, test_size=TEST_SIZE, seed=settings.seed, classes=_COUNTRIES)
    shown = [
        f"Place: {text}\n{attribute}: {words[country]}"
        for country in _COUNTRIES
        for text, (attribute, words) in zip(found.train[country], PLACE_ATTRIBUTES.items())
    ]
    random.Random(settings.seed).shuffle(shown)
    before = subject.tokenizer(_BETWEEN.join([*shown, "Place:"]), add_special_tokens=False)["input_ids"]
    rows = []
    for country in _COUNTRIES:
        lengths = subject.tokenizer([f" {text}" for text in found.test[country]], add_special_tokens=False)["input_ids"]
        order = sorted(range(len(lengths)), key=lambda row: len(lengths[row]))[: settings.entities]
        for text, (attribute, words) in itertools.product(
            (found.test[country][row] for row in order), PLACE_ATTRIBUTES.items()
        ):
            rows.append((f" {text}", f"\n{attribute}:", text, attribute, words[country]))
    return _encoded(subject, ([] if subject.bos_id is None else [subject.bos_id]) + before, rows)


def from_hub(subject: Subject, entity_class: str) -> Prompts:
    """Every attribute of every entity in every wording, as SAEBench 0.6.0 loads them.

    Raises:
        LabError: the hub cannot be reached, or has no such prompts.
    """
    templates, entities = (
        _hub_file(f"ravel_{entity_class}_{part}.json") for part in ("attribute_to_prompts", "entity_attributes")
    )
    rows = []
    for name, known in entities.items():
        for attribute in HUB_ATTRIBUTES[entity_class]:
            for template in templates.get(attribute, ()):
                if template.count("%s") == 1 and known.get(attribute):
                    start, end = template.split("%s")
                    rows.append((start + name, end, name, attribute, known[attribute]))
    if not rows:
        raise LabError(f"the data set {HUB_SET} has no prompts on {entity_class}: it has changed since SAEBench 0.6.0")
    return _encoded(subject, [], rows)


def _hub_file(name: str) -> Any:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return json.loads(Path(hf_hub_download(HUB_SET, name, repo_type="dataset")).read_text(encoding="utf-8"))
    except (OSError, ValueError, HfHubHTTPError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        why = hub.reason(error, "data set") or f"{line:.200} (check the network)"
        raise LabError(f"cannot read the data set {HUB_SET}: {why}") from error


def _encoded(subject: Subject, before: list[int], rows: Sequence[tuple[str, str, str, str, str]]) -> Prompts:
    """Prompts of rows of text up to the entity's end, text after it, entity, attribute and label; sorted by length."""
    special = not before  # what continues a text does not begin like one
    encoded = subject.tokenizer(
        [row[0] + row[1] for row in rows], add_special_tokens=special, return_offsets_mapping=True
    )
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    order = sorted(range(len(rows)), key=lambda row: len(ids[row]))
    tokens = torch.full((len(rows), max(map(len, ids))), subject.pad_id)
    for place, row in enumerate(order):
        tokens[place, : len(ids[row])] = torch.tensor(ids[row])
    ends = [max(at for at, (start, _) in enumerate(offsets[row]) if start < len(rows[row][0])) for row in order]
    length = torch.tensor([len(ids[row]) for row in order])
    names, attributes, labels = zip(*(rows[row][2:] for row in order))
    return Prompts(torch.tensor(before), tokens, length, torch.tensor(ends), names, attributes, labels)


def says(label: str, completion: str) -> bool:
    """Tell whether a completion, up to a quotation mark, begins with a label or is the beginning of one.

    The exceptions are SAEBench's, of the attributes that are asked for.
    """
    name, out = label.lower(), completion.split('"')[0].strip(' "').lower()
    if not out:
        return False
    if "United States" in label or "United Kingdom" in label:
        plain = completion.strip().replace("the ", "")
        return plain.startswith((label.strip().replace("the ", ""), "England"))
    if "South Korea" in label:
        return out.startswith(("korea", "south korea"))
    if "North America" in label:
        return name in out or out == "na" or out.startswith("america")
    if "Mandarin" in label:
        return out in name or out == "chinese"
    if "," in name:
        return any(part.strip() in out for part in name.split(","))
    return out.startswith(name) or name.startswith(out)


_EXCEPTIONS = ("United States", "United Kingdom", "South Korea", "North America", "Mandarin", ",")


def is_open(label: str, completion: str) -> bool:
    """Tell whether what is generated next may change the answer of `says`."""
    plain = not any(part in label for part in _EXCEPTIONS)
    out = completion.split('"')[0].strip(' "')
    return not (plain and out and (not says(label, completion) or len(out) >= len(label)))
