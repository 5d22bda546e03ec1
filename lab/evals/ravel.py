"""RAVEL: can latents be found that carry one attribute of an entity and no other?

Huang et al. 2024 (arXiv:2402.17700), as SAEBench 0.6.0 (arXiv:2503.09532) measures it. For each attribute of a class of
entities a mask over the latents is learned (MDBM). At the last token of the base prompt's entity the masked latents are
replaced by those at the source prompt's entity. ``cause_score`` is the share of prompts on the attribute that then say
the source's value, ``isolation_score`` that of prompts on other attributes that still say their own, and
``disentanglement_score`` the mean of both; averaged over attributes, then over classes.

Kept of SAEBench: prompts count only where the greedy completion is right; base and source have different values; there
are as many isolation pairs as cause pairs, 70% of all to learn the mask and the rest to score it, and an entity may be
in both parts; the mask starts at 0, is a sigmoid whose temperature falls from 1 to 1e-4 while it is learned and is hard
(> 0) when it is scored; the loss is the cross-entropy of the first token of the completion. The reconstruction's error
is dropped at the entity, so a bad reconstruction costs isolation too; with `keep_error` it is added back.

With `source` = "hub" the prompts are SAEBench's (cities, Nobel prize winners, three attributes each). With "embedded"
they ask for country, continent and language of a place, the last two being derived from the country that sae-probes
gives; one example of each attribute and country stands before the question. SmolLM2 hardly says "Hindi". The values are
one token, so `n_generated_tokens` is 1 there. Scores of the two are not to be compared.

What differs, by choice:
- Only the layers after the hook are run for the mask; entities are read once, for all SAEs.
- SAEBench counts a cause pair whose two values begin with the same token as isolation; here it stays a cause pair.
- SAEBench drops what does not fill a batch; here the last batch is smaller.
- Pairs are drawn by `seed`, for each attribute alone. SAEBench draws from the global generator.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import cache, labelled
from lab.errors import LabError
from lab.evals import ravel_pairs, ravel_prompts
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.evals.ravel_pairs import Table
from lab.evals.ravel_prompts import Prompts, Settings
from lab.progress import track

if TYPE_CHECKING:
    from lab.artifact import Artifact
    from lab.subject import Prefix, Subject

_PAPER = "arXiv:2402.17700"
_TENSORS, _FACTS = "setup.safetensors", "setup.json"
_OF_PROMPTS = ("before", "tokens", "length", "entity")
_COLDEST = 1e-4

METRICS: dict[str, Metric] = {
    "disentanglement_score": Metric(
        "higher", "", _PAPER, headline=True, names=("RAVEL", "disentanglement", "RAVEL disentanglement")
    ),
    "cause_score": Metric("higher", "", _PAPER, names=("RAVEL cause",)),
    "isolation_score": Metric("higher", "", _PAPER, names=("RAVEL isolation",)),
}


@dataclass(frozen=True)
class Setup:
    """The set-up: prompts, residuals and pairs by class of entities; `known` counts the right prompts."""

    tables: Mapping[str, Table]
    known: Mapping[str, Mapping[str, int]]

    @property
    def d_model(self) -> int | None:
        """Width of the residuals; None when too little is known."""
        return next((table.resid.shape[-1] for table in self.tables.values()), None)


def data(ctx: Context, settings: Settings) -> str:
    """A fingerprint of the prompts."""
    if settings.source == "embedded":
        train, test = ravel_prompts.TRAIN_SIZE, ravel_prompts.TEST_SIZE
        found = labelled.fingerprint(ravel_prompts.PLACES, train_size=train, test_size=test, seed=settings.seed)
        return cache.fingerprint([found, ravel_prompts.PLACE_ATTRIBUTES])
    return cache.fingerprint([ravel_prompts.HUB_SET, ravel_prompts.HUB_ATTRIBUTES])


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Prompts that the model completes right, paired, with their residuals; from the cache when they are there.

    Raises:
        LabError: a data set cannot be had, or a setting makes no sense.
    """
    if settings.source not in ("hub", "embedded"):
        raise LabError(f"evals.ravel.source is 'hub' or 'embedded', not {settings.source!r}")
    counts = ("top_n_entities", "entities", "min_prompts", "n_pairs", "num_epochs", "batch_size", "n_generated_tokens")
    for name in counts:
        if getattr(settings, name) < 1:
            raise LabError(f"evals.ravel.{name} must be at least 1")
    if not 0 < settings.train_share < 1:
        raise LabError(f"evals.ravel.train_share must be between 0 and 1, not {settings.train_share}")

    def build(folder: Path) -> None:
        tensors, facts = _to_tensors(_built(ctx.subject, settings))
        save_file(tensors, folder / _TENSORS)
        cache.write_json(folder / _FACTS, facts)

    scored_only = ("train_share", "num_epochs", "learning_rate", "keep_error")
    fields = [field.name for field in dataclasses.fields(settings) if field.name not in scored_only]
    folder = ctx.cached("ravel", sys.modules[__name__], settings, fields, build)
    return _from_tensors(load_file(folder / _TENSORS), cache.read_json(folder / _FACTS))


def _built(subject: Subject, settings: Settings) -> Setup:
    asked = (
        {"place": ravel_prompts.places(subject, settings)}
        if settings.source == "embedded"
        else {name: ravel_prompts.from_hub(subject, name) for name in ravel_prompts.HUB_ATTRIBUTES}
    )
    tables, known = {}, {}
    for name, prompts in asked.items():
        right, first = ravel_pairs.known(subject, prompts, settings, name)
        known[name] = dict.fromkeys(sorted(set(prompts.attributes)), 0) | dict(Counter(right.attributes))
        table = ravel_pairs.table(subject, right, first, settings, name)
        if table is not None:
            tables[name] = table
    return Setup(tables, known)


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Cause, isolation and their mean for one SAE, and those of each attribute in the details.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: takes and gives raw residuals; its decoder rows have norm 1.
        settings: those that `setup` was made with.
    """
    details: dict[str, Any] = {"known_prompts": setup.known, "attributes": []}
    tasks = [(name, attribute) for name, table in setup.tables.items() for attribute in table.pairs]
    if not tasks:
        why = f"no class of entities has two attributes with {settings.min_prompts} prompts that are completed right"
        return Scores({}, {**details, "undefined": dict.fromkeys(METRICS, why)})
    swaps = {name: Swap(ctx.subject, table, sae, settings) for name, table in setup.tables.items()}
    means: dict[str, list[tuple[float, float]]] = {}
    for name, attribute in track(tasks, "scoring: ravel"):
        swap = swaps[name]
        pairs = setup.tables[name].pairs[attribute]
        split = int(len(pairs) * settings.train_share)
        mask = swap.learned(pairs[:split])
        cause, isolation = swap.accuracies(pairs[split:], mask)
        row: dict[str, Any] = {"entities": name, "attribute": attribute, "cause": cause, "isolation": isolation}
        row |= {"latents": int(mask.sum()), "pairs": {"learned": split, "scored": len(pairs) - split}}
        details["attributes"].append(row)
        if cause is not None and isolation is not None:
            means.setdefault(name, []).append((cause, isolation))
    if not means:
        why = "no pairs of both kinds are left to score: raise evals.ravel.n_pairs or lower train_share"
        return Scores({}, {**details, "undefined": dict.fromkeys(METRICS, why)})
    by_class = torch.stack([torch.tensor(rows, dtype=torch.float64).mean(0) for rows in means.values()])
    cause, isolation = by_class.mean(0).tolist()
    metrics = {"disentanglement_score": (cause + isolation) / 2, "cause_score": cause, "isolation_score": isolation}
    return Scores(metrics, details)


class Swap:
    """Latents at the base's entity replaced by those at the source's, for one SAE and one class of entities.

    Args:
        subject: the model.
        table: prompts, residuals and pairs.
        sae: whose latents are swapped.
        settings: of the evaluation.
    """

    def __init__(self, subject: Subject, table: Table, sae: Artifact, settings: Settings) -> None:
        self.subject = subject
        self.table = table
        self.sae = sae
        self.settings = settings
        self.prefix: Prefix | None = table.prompts.prefix(subject)

    @torch.enable_grad()
    def learned(self, pairs: Tensor) -> Tensor:
        """The mask, bool [d_sae], that gradient descent finds for pairs [n, 3]."""
        logit = torch.zeros(self.sae.d_sae, device=self.sae.device, requires_grad=True)
        optimizer = torch.optim.Adam([logit], lr=self.settings.learning_rate)
        batches = list(pairs.split(self.settings.batch_size)) * self.settings.num_epochs
        for batch, heat in zip(batches, torch.logspace(0, torch.tensor(_COLDEST).log10().item(), len(batches))):
            base, source, is_cause = batch.unbind(1)
            prompts = self.table.prompts.take(base.tolist())
            resid = self._changed(prompts, base, source, torch.sigmoid(logit / heat.item()))
            logits = self.subject.logits_from(resid, at=prompts.length - 1, prefix=self.prefix)
            wanted = self.table.first[torch.where(is_cause > 0, source, base)]
            loss = torch.nn.functional.cross_entropy(logits.float(), wanted.to(logits.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return logit.detach() > 0

    @torch.no_grad()
    def accuracies(self, pairs: Tensor, mask: Tensor) -> tuple[float | None, float | None]:
        """Share of cause pairs that say the source's value and of isolation pairs that say the base's; None of none."""
        right = []
        for base, source, is_cause in (batch.unbind(1) for batch in pairs.split(self.settings.batch_size)):
            prompts = self.table.prompts.take(base.tolist())
            resid = self._changed(prompts, base, source, mask.float())
            labels = [self.table.prompts.labels[row] for row in torch.where(is_cause > 0, source, base).tolist()]
            count = self.settings.n_generated_tokens
            right.append(ravel_pairs.completed(self.subject, prompts, resid, labels, self.prefix, count=count)[1])
        good, cause = torch.cat(right), pairs[:, 2] > 0
        changed, stayed = (good[kind].double().mean().item() if kind.any() else None for kind in (cause, ~cause))
        return changed, stayed

    def _changed(self, prompts: Prompts, base: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """The residual stream at the base prompts [n, ctx, d_model] float32 with the masked latents swapped."""
        stream = self.table.resid[base, : int(prompts.length.max())].to(self.sae.device, torch.float32)
        rows = torch.arange(len(base), device=stream.device)
        at = prompts.entity.to(stream.device)
        own, other = stream[rows, at], self.table.resid[source, self.table.prompts.entity[source]]
        with torch.no_grad():
            acts = self.sae.encode(own)
            difference = self.sae.encode(other) - acts
            start = own if self.settings.keep_error else self.sae.decode(acts)
        return stream.index_put((rows, at), start + (mask * difference) @ self.sae.W_dec)


def _to_tensors(setup: Setup) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A set-up as it is stored: tensors by name, and the rest as plain data."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {"known": setup.known, "tables": {}}
    for name, table in setup.tables.items():
        named = {part: getattr(table.prompts, part) for part in _OF_PROMPTS}
        named |= {"first": table.first, "resid": table.resid}
        named |= {f"pairs.{attribute}": pairs for attribute, pairs in table.pairs.items()}
        tensors |= {f"{name}.{part}": tensor.contiguous() for part, tensor in named.items()}
        words = (table.prompts.names, table.prompts.attributes, table.prompts.labels)
        facts["tables"][name] = {"words": words, "pairs": list(table.pairs)}
    return tensors, facts


def _from_tensors(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Setup:
    """The inverse of `_to_tensors`."""
    tables = {}
    for name, about in facts["tables"].items():
        before, tokens, length, entity = (tensors[f"{name}.{part}"] for part in _OF_PROMPTS)
        names, attributes, labels = map(tuple, about["words"])
        prompts = Prompts(before, tokens, length, entity, names, attributes, labels)
        pairs = {attribute: tensors[f"{name}.pairs.{attribute}"] for attribute in about["pairs"]}
        tables[name] = Table(prompts, tensors[f"{name}.first"], tensors[f"{name}.resid"], pairs)
    return Setup(tables, facts["known"])
