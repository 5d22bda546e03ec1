"""First-letter feature absorption: does a latent for "starts with s" fall silent where a word's own latent speaks?

Defined by Chanin et al. 2024 (arXiv:2409.14507), computed as SAEBench 0.6.0 (arXiv:2503.09532) does:

1. Residuals of one-token words in the prompt "{word} has the first letter:" after ten examples; 80% to train, the rest
   to test. One linear probe a letter on the residuals. (Set-up.)
2. A probe with an L1 penalty on the latents ranks them for each letter; logistic regressions on the best 1, 2, … of
   them are compared by F1 on the test words. Each that adds more than `f1_jump_threshold` is a split feature.
3. On test words that the residual probe gets right: full absorption when no split feature fires and the latent with
   the largest projection on the probe has cosine >= .025 with it and >= .4 of the residual's projection; the fraction
   is the part of the letter's projection that up to three other latents (cosine >= .1) took over.

Letters whose residual probe has F1 <= `min_probe_f1` are left out. An SAE without letter latents shows little
absorption, so ``mean_letter_f1`` (ours: F1 of the split features' probe) stands beside the scores: a fall of both means
the letters got lost.

What differs from SAEBench, by choice:
- One prompt for all words, drawn by seed, whose examples are not scored; SAEBench draws ten examples anew for every
  word and again for step 3. So two calls agree, a word costs one token of the model, and step 3 needs no model.
- Latents are encoded once. The probe that ranks them starts at zero, SAEBench's at random weights. The regressions of
  step 2 are solved to their optimum by Newton's method.
- Batches of the probes are drawn once and only their order is shuffled.
- The embedded profile takes lower-case words with a space before them; SAEBench takes every alphabetic token.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import cache
from lab.errors import LabError
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.evals.probes import LinearProbe, f1_score, fit_logistic, rows_of, stack_sparse, train_probe
from lab.evals.words import LETTERS, Word, alphabetic_words, check_template, prompt_before, split_words
from lab.progress import track

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2409.14507"
_FILE = "setup.safetensors"
_ROWS = 2048  # words encoded at a time
_SETUP_FIELDS = (
    *("prompt_template", "examples", "lower", "max_words", "per_letter", "train_fraction", "seed"),
    *("probe_batch_size", "probe_epochs", "probe_lr", "probe_weight_decay"),
)
_SILENT = 1e-8  # SAEBench's bound under which a latent has not fired

_ABSORPTION = ("absorption", "feature absorption", "first-letter absorption", "absorbed features", "absorbed latents")
_FRACTION = ("absorption fraction", "fractional absorption", "fraction of absorption")
_SPLIT = ("split features", "split latents", "number of split features", "number of split latents", "feature splitting")
_PROBES = ("letter", "probe", "probe's", "probes'", "letter probe", "letter probe's", "letter probes'")

# An SAE whose latents do not tell letters has none that could be absorbed: its scores are those of a few lucky latents.
_NEEDS = ("mean_letter_f1", 0.5)

METRICS: dict[str, Metric] = {
    "mean_absorption_fraction_score": Metric(
        "lower", "", _PAPER, headline=True, names=(*_FRACTION, *_ABSORPTION), matters=0.2, needs=_NEEDS
    ),
    "mean_full_absorption_score": Metric(
        "lower", "", _PAPER, headline=True, names=("full absorption", *_ABSORPTION), matters=0.2, needs=_NEEDS
    ),
    "mean_num_split_features": Metric(None, "latents", _PAPER, headline=True, names=_SPLIT, matters=0.2, needs=_NEEDS),
    "std_dev_absorption_fraction_score": Metric(None, "", _PAPER),
    "std_dev_full_absorption_score": Metric(None, "", _PAPER),
    "std_dev_num_split_features": Metric(None, "latents", _PAPER),
    "mean_letter_f1": Metric(
        "higher", "", "", headline=True, names=("F1", *(f"{whose} F1" for whose in _PROBES)), matters=0.05
    ),
}


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults.

    `lower` takes only lower-case words with a space before them; `max_words` bounds the words and `per_letter` those of
    each letter (0: all), so that few words still hold every letter; `seed` draws the prompt's examples, the split and
    the probes' start. `probe_*` train the residual probe, `sparse_*` the one on latents. `zero_start` is ours: what a
    random start leaves in the weights of the probe on latents decides which are chosen, and makes nearly half of how
    much the scores of two SAEs differ. The last five are the bounds in the definition of absorption.
    """

    prompt_template: str = "{word} has the first letter:"
    examples: int = 10
    lower: bool = False
    max_words: int = 0
    per_letter: int = 0
    train_fraction: float = 0.8
    seed: int = 42
    batch_size: int = 256
    probe_batch_size: int = 64
    probe_epochs: int = 50
    probe_lr: float = 0.01
    probe_weight_decay: float = 1e-4
    sparse_batch_size: int = 4096
    sparse_epochs: int = 50
    sparse_l1: float = 0.01
    zero_start: bool = True
    max_k: int = 10
    f1_jump_threshold: float = 0.03
    min_probe_f1: float = 0.6
    min_letters: int = 20
    full_min_cosine: float = 0.025
    fraction_min_cosine: float = 0.1
    min_projection_share: float = 0.4
    max_absorbers: int = 3


@dataclass(frozen=True)
class Setup:
    """The set-up: residuals [n, d_model] and letters [n] (int64, a = 0) of both splits, the residual probe and
    its F1 on the test words [26]."""

    train: Tensor
    train_letters: Tensor
    test: Tensor
    test_letters: Tensor
    probe: LinearProbe
    probe_f1: Tensor

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.train.shape[-1]


def data(ctx: Context, settings: Settings) -> str:
    """The words are those of the model's tokenizer, so the model's fingerprint says which they are."""
    return cache.fingerprint({"words": "vocabulary", "subject": ctx.subject_fingerprint})


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals of the words and the residual probe, from the cache when they are there.

    Raises:
        LabError: the model knows too few letters or words, or a setting makes no sense.
    """
    check_template(settings.prompt_template)
    if not 0 < settings.train_fraction < 1 or min(settings.max_k, settings.probe_epochs, settings.sparse_epochs) < 1:
        raise LabError("evals.absorption: train_fraction must be between 0 and 1, max_k and epochs at least 1")

    def build(folder: Path) -> None:
        save_file(_build(ctx, settings), folder / _FILE)

    folder = ctx.cached("absorption", sys.modules[__name__], settings, _SETUP_FIELDS, build)
    found = load_file(folder / _FILE)
    probe = LinearProbe(found.pop("weight"), found.pop("bias"))
    setup = Setup(probe=probe, **found)
    known = int((setup.probe_f1 > settings.min_probe_f1).sum())
    if known < max(1, settings.min_letters):
        raise LabError(
            f"absorption cannot be measured on {ctx.profile.subject.name}, layer {ctx.profile.subject.layer}: a probe "
            f"reads {known} first letters (F1 > {settings.min_probe_f1}), {settings.min_letters} are needed; "
            "use another layer or leave absorption out"
        )
    return setup


def _build(ctx: Context, settings: Settings) -> dict[str, Tensor]:
    subject = ctx.subject
    words = alphabetic_words(subject.tokenizer, settings.prompt_template, lower=settings.lower)
    shown, train, test = split_words(
        words,
        examples=settings.examples,
        most=settings.max_words,
        train_fraction=settings.train_fraction,
        seed=settings.seed,
        per_letter=settings.per_letter,
    )
    if not train or not test:
        raise LabError(f"evals.absorption: {len(words)} whole words are too few to train and test a probe")
    before = prompt_before(subject.tokenizer, settings.prompt_template, shown, subject.bos_id)
    prefix = subject.prefix(torch.tensor(before))
    tokens = torch.tensor([[word.token] for word in train + test])
    batches = tokens.split(settings.batch_size)
    resid = torch.cat(
        [
            subject.residuals(batch, prefix=prefix)[:, -1].float().cpu()
            for batch in track(batches, "set-up of absorption: words")
        ]
    )
    found = {"train": resid[: len(train)].clone(), "test": resid[len(train) :].clone()}
    found |= {"train_letters": _letters(train), "test_letters": _letters(test)}
    probe = train_probe(
        found["train"].to(subject.device),
        found["train_letters"],
        len(LETTERS),
        seed=settings.seed,
        batch_size=settings.probe_batch_size,
        epochs=settings.probe_epochs,
        lr=settings.probe_lr,
        weight_decay=settings.probe_weight_decay,
        what="set-up of absorption: letter probes",
    )
    right = probe.logits(found["test"].to(subject.device)) > 0
    found["probe_f1"] = f1_score(right.cpu(), _one_hot(found["test_letters"]))
    return {**found, "weight": probe.weight.cpu(), "bias": probe.bias.cpu()}


def _letters(words: list[Word]) -> Tensor:
    return torch.tensor([word.letter for word in words])


def _one_hot(letters: Tensor) -> Tensor:
    """Bool [n, 26]."""
    return letters[:, None] == torch.arange(len(LETTERS), device=letters.device)


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Every metric of METRICS for one SAE; no model is run.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: takes raw residuals; its decoder rows have norm 1.
        settings: those that `setup` was made with.
    """
    with torch.no_grad():
        test = stack_sparse(sae.encode(part) for part in setup.test.split(_ROWS))
        split = _split_features(setup, sae, test, settings)
        rows = []
        for index in track(range(len(LETTERS)), "scoring: absorption"):
            features, f1 = split[index]
            rows.append(_letter(setup, sae, test, settings, index, features) | {"f1": f1})
    kept = [row for row in rows if row["kept"]]
    columns = {
        "absorption_fraction_score": [row["mean_absorption_fraction"] for row in kept],
        "full_absorption_score": [row["full_absorption_rate"] for row in kept],
        "num_split_features": [float(row["num_split_features"]) for row in kept],
    }
    metrics = {f"mean_{name}": mean(values) for name, values in columns.items()}
    if len(kept) > 1:
        metrics |= {f"std_dev_{name}": stdev(values) for name, values in columns.items()}
    metrics["mean_letter_f1"] = mean(row["f1"] for row in kept)
    details = {
        "letters": rows,
        "words_train": len(setup.train),
        "words_test": len(setup.test),
        "undefined": {name: "only one letter could be scored" for name in METRICS if name not in metrics},
    }
    return Scores({name: metrics[name] for name in METRICS if name in metrics}, details)


def _split_features(setup: Setup, sae: Artifact, test: Tensor, settings: Settings) -> list[tuple[list[int], float]]:
    """For each letter the latents that stand for it, the best first, and the F1 of a regression on them.

    `test` holds the test words' latents, [n, d_sae] in CSR layout.
    """
    train = stack_sparse(sae.encode(part) for part in setup.train.split(_ROWS))
    ranking = train_probe(
        train,
        setup.train_letters,
        len(LETTERS),
        seed=settings.seed,
        batch_size=settings.sparse_batch_size,
        epochs=settings.sparse_epochs,
        weight_decay=1e-6,
        l1=settings.sparse_l1,
        zero_start=settings.zero_start,
        what="scoring: absorption, latents of letters",
    )
    most = min(settings.max_k, sae.d_sae)
    best = ranking.weight.topk(most, dim=1).indices  # not by size: a latent must speak for the letter
    chosen, place = best.unique(return_inverse=True)
    pick = torch.zeros(sae.d_sae, len(chosen), device=train.device)
    pick[chosen, torch.arange(len(chosen), device=train.device)] = 1
    x_train = train @ pick
    x_test = test @ pick
    y_train, y_test = (_one_hot(y.to(train.device)) for y in (setup.train_letters, setup.test_letters))
    found: list[tuple[list[int], float]] = [([], -100.0)] * len(LETTERS)
    growing = torch.arange(len(LETTERS), device=train.device)
    for k in range(1, most + 1):
        columns = place[growing, :k]
        probe = fit_logistic(x_train[:, columns].transpose(0, 1), y_train[:, growing].T)
        logits = torch.einsum("npk,pk->np", x_test[:, columns].double(), probe.weight) + probe.bias
        f1 = f1_score(logits > 0, y_test[:, growing])
        still = []
        for row, letter in enumerate(growing.tolist()):
            if f1[row].item() > found[letter][1] + settings.f1_jump_threshold:
                found[letter] = (best[letter, :k].tolist(), f1[row].item())
                still.append(letter)
        if not still:
            break
        growing = torch.tensor(still, device=train.device)
    return found


def _letter(
    setup: Setup, sae: Artifact, test: Tensor, settings: Settings, letter: int, features: list[int]
) -> dict[str, Any]:
    """Absorption of one letter, over the test words that the residual probe gets right."""
    weight = setup.probe.weight[letter]
    right = (setup.test_letters == letter) & (setup.test @ weight + setup.probe.bias[letter] > 0)
    words, acts = setup.test[right].to(sae.device), rows_of(test, right.nonzero()[:, 0].to(test.device)).to_dense()
    fraction, full = absorbed(words, acts, sae.W_dec, weight.to(sae.device), features, settings)
    count = max(1, len(words))
    return {
        "letter": LETTERS[letter],
        "kept": bool(setup.probe_f1[letter] > settings.min_probe_f1),
        "probe_f1": setup.probe_f1[letter].item(),
        "mean_absorption_fraction": fraction.sum().item() / count,
        "full_absorption_rate": full.sum().item() / count,
        "num_full_absorption": int(full.sum()),
        "num_probe_true_positives": len(words),
        "num_split_features": len(features),
        "split_features": features,
    }


def absorbed(
    x: Tensor, acts: Tensor, W_dec: Tensor, direction: Tensor, features: list[int], settings: Settings
) -> tuple[Tensor, Tensor]:
    """The share that other latents took over of what `features` should say (step 3 above).

    Args:
        x: residuals [n, d_model].
        acts: their latents [n, d_sae].
        W_dec: [d_sae, d_model] with unit rows.
        direction: the probe's weight [d_model].
        features: the split features.
        settings: the bounds.

    Returns:
        The absorbed fraction [n], 0 to 1, and whether absorption is full [n], bool.
    """
    unit = direction / direction.norm()
    cosines = W_dec @ unit
    projections = acts * cosines
    total = x @ unit
    own = projections[:, features].sum(1)

    others = (projections > 0) & (cosines >= settings.fraction_min_cosine)
    others[:, features] = False
    taken = torch.where(others, projections, 0.0).topk(min(settings.max_absorbers, acts.shape[1])).values.sum(1)
    replaced = taken.minimum(total - own)
    fraction = torch.where(own <= 0, 1.0, (replaced / (replaced + own)).clamp(0, 1))
    none = (own >= total) | (taken / total < settings.min_projection_share)
    fraction = torch.where(none, 0.0, fraction)

    top, which = projections.max(1)
    silent = (acts[:, features] < _SILENT).all(1)
    aligned = cosines[which] >= settings.full_min_cosine
    full = silent & aligned & (total >= 0) & (top / total >= settings.min_projection_share)
    return fraction, full
