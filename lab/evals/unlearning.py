"""Unlearning: can clamping a few latents take one subject from the model and leave the others?

Farrell et al. 2024 (arXiv:2410.19278), as SAEBench 0.6.0 (arXiv:2503.09532) measures it. Latents that fire on more than
`retain_thresholds` of the retain text are ruled out; of the rest, the `n_features` that fire most often on the forget
text are set to -multiplier wherever they fire. The model is then asked questions that it answered right before, on the
subject to be forgotten and on others. ``unlearning_score`` is 1 - the lowest accuracy on the former among the settings
that keep at least `min_retained` of the latter.

With `source` = "hub" the subject is biology as SAEBench has it: the forget text is WMDP's biology corpus (gated), the
retain text wikitext, the questions WMDP-bio and four subjects of MMLU, kept when the right answer is chosen in all 24
orders of the options. SAEBench scores SAEs of gemma-2-2b on gemma-2-2b-it: `model` names that other model.

With `source` = "embedded" the score is ``unlearning_embedded_score``, and it is not to be compared with the other: the
small model answers WMDP by chance. Of what it can answer after a few examples, it is asked in which of five countries
a place lies (0.78 right in all forms, 0.20 by chance) and whether a name is a man's or a woman's (0.81 and 0.50). What
should be forgotten are the places of one country, `forget`; the other countries' and the names are to be kept. The
texts are other places and names of the same sae-probes sets, the questions are kept when they are answered right under
`permutations` orders of the examples.

SAEBench's quirks that are kept: a setting that rules out every latent changes nothing and scores 0; position 0 is
never clamped; the error of the reconstruction is added back, so that only the clamped latents change the stream.

What differs, by choice:
- A question in which no clamped latent fires is not run again, for its answer cannot change; settings that choose the
  same latents are run once; the layers before the hook are run once for all SAEs.
- A question that is answered wrong in one order is not asked in the others.
- Texts are drawn and shuffled by `seed`. SAEBench shuffles blocks by the global generator.
- In the embedded profile the examples before a question are not changed, only the question itself, and neither are
  massive activations (`skip_outliers`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import cache
from lab.errors import LabError
from lab.evals import questions
from lab.evals import unlearning_sets as sets
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.evals.unlearning_sets import Settings, Setup
from lab.progress import track

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2410.19278"
_TENSORS, _FACTS = "setup.safetensors", "setup.json"
_ROWS = 4096  # positions encoded at a time
_SOURCE_OF = {"unlearning_score": "hub", "unlearning_embedded_score": "embedded"}

METRICS: dict[str, Metric] = {
    "unlearning_score": Metric("higher", "", _PAPER, headline=True, names=("unlearning",)),
    "unlearning_embedded_score": Metric("higher", "", "", headline=True, names=("unlearning",)),
}


def data(ctx: Context, settings: Settings) -> str:
    """The texts and questions, and the model where it is not the profile's."""
    return sets.data(ctx, settings)


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals of both texts and of the questions that the model answers right, from the cache when they are there.

    Raises:
        LabError: a data set cannot be had, the model answers too few questions right, or a setting makes no sense.
    """
    if settings.source not in ("hub", "embedded"):
        raise LabError(f"evals.unlearning.source is 'hub' or 'embedded', not {settings.source!r}")
    if settings.source == "embedded" and settings.forget not in sets.COUNTRIES.words:
        raise LabError(f"evals.unlearning.forget: {settings.forget!r} is none of {', '.join(sets.COUNTRIES.words)}")
    if min(settings.permutations, settings.batch_size, settings.examples) < 1:
        raise LabError("evals.unlearning: permutations, batch_size and examples must be at least 1")

    def build(folder: Path) -> None:
        own = sets.asked_model(ctx, settings)
        read = sets.embedded if settings.source == "embedded" else sets.from_hub
        tensors, facts = sets.to_tensors(read(own, settings))
        save_file(tensors, folder / _TENSORS)
        cache.write_json(folder / _FACTS, facts)

    scored_only = ("retain_thresholds", "n_features", "multipliers", "min_retained")
    fields = [field.name for field in dataclasses.fields(settings) if field.name not in scored_only]
    folder = ctx.cached("unlearning", sys.modules[__name__], settings, fields, build)
    own = sets.asked_model(ctx, settings)
    return sets.from_tensors(own, load_file(folder / _TENSORS), cache.read_json(folder / _FACTS))


@torch.no_grad()
def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """The unlearning score of one SAE, and the accuracies of every setting in the details.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: takes and gives raw residuals; its decoder rows have norm 1.
        settings: those that `setup` was made with.
    """
    forget, retain = (_density(sae, text) for text in (setup.forget_text, setup.retain_text))
    chosen = {limit: top_latents(forget, retain, limit) for limit in settings.retain_thresholds}
    clamped = _Clamped(setup, sae, settings)
    rows = []
    grid = [(t, n, m) for t in settings.retain_thresholds for n in settings.n_features for m in settings.multipliers]
    for limit, count, multiplier in track(grid, "scoring: unlearning"):
        latents = tuple(chosen[limit][:count].tolist())
        accuracy, kept, by_group = clamped.accuracies(latents, multiplier)
        row: dict[str, Any] = {"retain_threshold": limit, "n_features": count, "multiplier": multiplier}
        row |= {"latents": len(latents), "forget_accuracy": accuracy, "retain_accuracy": kept, "groups": by_group}
        rows.append(row)
    own, other = ("unlearning_embedded_score", "unlearning_score")[:: 1 if settings.source == "embedded" else -1]
    about = torch.cat([part.exam.group for part in setup.parts])
    details = {
        "settings": rows,
        "forget": setup.groups[setup.forget],
        "questions": {name: int((about == index).sum()) for index, name in enumerate(setup.groups)},
        "latents_that_pass": {str(limit): len(latents) for limit, latents in chosen.items()},
        "undefined": {other: f"it is measured with evals.unlearning.source {_SOURCE_OF[other]!r}"},
    }
    return Scores({own: unlearned(rows, settings.min_retained)}, details)


def unlearned(rows: Iterable[Mapping[str, Any]], min_retained: float) -> float:
    """1 - the lowest ``forget_accuracy`` of the settings whose ``retain_accuracy`` stays; 0 when none does."""
    return 1.0 - min((row["forget_accuracy"] for row in rows if row["retain_accuracy"] >= min_retained), default=1.0)


def _density(sae: Artifact, text: Tensor) -> Tensor:
    """Share of positions [n, d_model] on which each latent fires, [d_sae] on the CPU."""
    fired = torch.zeros(sae.d_sae, dtype=torch.int64)
    for rows in text.split(_ROWS):
        fired += (sae.encode(rows) > 0).sum(0).cpu()
    return fired.double() / len(text)


def top_latents(forget: Tensor, retain: Tensor, threshold: float) -> Tensor:
    """Latents to clamp, those that fire most on the forget text first.

    Args:
        forget: share of the forget text on which each latent fires [d_sae].
        retain: the same of the retain text.
        threshold: a latent that reaches it on the retain text is left out, as is one silent on the forget text.
    """
    wanted = torch.where(retain < threshold, forget, 0.0)
    order = wanted.argsort(descending=True, stable=True)
    return order[wanted[order] > 0]


class _Clamped:
    """The questions under an SAE, encoded once; asked again only where a clamped latent fires."""

    def __init__(self, setup: Setup, sae: Artifact, settings: Settings) -> None:
        self.setup = setup
        self.sae = sae
        self.batch_size = settings.batch_size
        self.acts = [_sparse(sae, part.resid[part.touched]) for part in setup.parts]
        self.prefixes = [part.exam.prefix(setup.ctx.subject) for part in setup.parts]
        self.known: dict[tuple[tuple[int, ...], float], tuple[float, float, dict[str, float]]] = {}

    def accuracies(self, latents: tuple[int, ...], multiplier: float) -> tuple[float, float, dict[str, float]]:
        """Accuracy on what is to be forgotten, on the rest, and on each group."""
        key = (latents, multiplier)
        if key not in self.known:
            right = torch.cat([self._right(index, latents, multiplier) for index in range(len(self.setup.parts))])
            about = torch.cat([part.exam.group for part in self.setup.parts])
            is_forget = about == self.setup.forget
            names = {name: about == index for index, name in enumerate(self.setup.groups)}
            groups = {name: _mean(right[rows]) for name, rows in names.items() if rows.any()}
            self.known[key] = _mean(right[is_forget]), _mean(right[~is_forget]), groups
        return self.known[key]

    def _right(self, index: int, latents: tuple[int, ...], multiplier: float) -> Tensor:
        """Tell whether each question of a part is still answered right, bool [n]."""
        part = self.setup.parts[index]
        right = torch.ones(len(part.exam), dtype=torch.bool)
        position, latent, value = self.acts[index]
        hit = torch.isin(latent, torch.tensor(latents, dtype=torch.int64))
        if not hit.any():
            return right
        rows, columns = part.touched.nonzero(as_tuple=True)
        change = (-multiplier - value[hit])[:, None] * self.sae.W_dec[latent[hit]].cpu()
        resid = part.resid.float().index_put((rows[position[hit]], columns[position[hit]]), change, accumulate=True)
        affected = rows[position[hit]].unique()
        exam = part.exam.take(affected)
        subject = self.setup.ctx.subject
        taken = questions.answers(subject, exam, resid[affected], self.prefixes[index], batch_size=self.batch_size)
        right[affected] = taken == exam.answer
        return right


def _sparse(sae: Artifact, resid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Latents above 0 at residuals [n, d_model]: position, latent and value of each, on the CPU."""
    found = []
    for start in range(0, len(resid), _ROWS):
        acts = sae.encode(resid[start : start + _ROWS])
        position, latent = (acts > 0).nonzero(as_tuple=True)
        found.append((position.cpu() + start, latent.cpu(), acts[position, latent].cpu()))
    return tuple(torch.cat(parts) for parts in zip(*found))  # type: ignore[return-value]


def _mean(right: Tensor) -> float:
    return right.double().mean().item()
