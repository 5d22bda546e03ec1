"""Automated interpretability: can a language model tell from a latent's examples where else it fires?

Bills et al. 2023 and Paulo et al. 2024 (arXiv:2410.13928), in the detection form of SAEBench 0.6.0 (arXiv:2503.09532).
For each of `n_latents` latents that fire more than `min_activations` times, a judge (`lab.judge`, passed in by the
caller) sees the 10 strongest windows of 21 tokens and 5 drawn by squared activation, with the active tokens marked, and
says in a sentence what the latent stands for. Given that sentence it then names, of 14 unmarked windows (2 strong, 2
weighted, 10 random), those on which the latent fires. A latent's score is the share of the 14 that it gets right.

SAEBench's quirks that are kept: the number of activations must exceed the bound; a random window counts as silent even
where the latent fires in it, and may be one that was shown; guessing "none" is right 10 times in 14; an answer that
cannot be read drops its latent from the mean instead of counting against it.

What differs, by choice:
- The text is the profile's held-out text, where SAEBench takes two million tokens of the Pile.
- The prompts ask for the same in our own words, so scores of the two are near each other, not equal.
- Windows hold no padding, activations are kept in float32, and a latent with too few windows is left out and counted.
- Windows are drawn by `seed`, and each answer is kept in the cache under its question and the judge's name: a second
  call costs nothing and gives equal results, and one that was broken off goes on where it stopped.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from lab.evals.windows import Counts, Examples, Text, Window, pick
from lab.progress import track

if TYPE_CHECKING:
    from lab.artifact import Artifact
    from lab.judge import Judge

_PAPER = "arXiv:2503.09532"
_FILE = "setup.safetensors"
_ROWS = 4096  # tokens encoded at a time
_CHARS_PER_TOKEN = 4  # of English in the tokenizers of large models, to tell the cost beforehand
_MARGIN = 5  # tokens an answer of numbers may have beside two for each window

_NAMES = (
    *("autointerp", "auto-interp", "autointerpretability", "auto-interpretability"),
    *("automated interpretability", "interpretability score"),
)

NEEDS_JUDGE = True
METRICS: dict[str, Metric] = {
    "autointerp_score": Metric("higher", "", _PAPER, headline=True, names=_NAMES),
    "autointerp_std_dev": Metric(None, "", _PAPER),
}

_TASK = (
    "You study single neurons of a neural network. A neuron fires on some word, part of a word, or idea in a short "
    "piece of text. "
)
_EXPLAIN = _TASK + (
    "Below are pieces of text on which one neuron fires, the strongest first; the tokens it fires on stand between << "
    "and >>. Say in one short sentence, of at most 20 words, what it fires on. Cover most of the marked tokens: name a "
    "single word only when it is always that word, and the idea when whole passages are marked. Mind capitals and "
    "punctuation where they matter. Write no list and no formatting. Answer as 'This neuron activates on ...', for "
    "example 'This neuron activates on names of rivers' or 'This neuron activates on the ending -ing in verbs'."
)
_JUDGE = _TASK + (
    "You get a short explanation of what one neuron fires on, and {count} numbered pieces of text in random order. "
    "Name the pieces in which it should fire on at least one token, as numbers separated by commas, such as {sample}. "
    "Read the explanation generously. When there is no such piece, answer None. Write nothing else."
)


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults.

    `total_tokens` of held-out text are read; a latent fires in a window where it exceeds `threshold` of its largest
    activation there. `threads` questions are asked at a time.
    """

    n_latents: int = 1000
    min_activations: int = 15
    total_tokens: int = 2_000_000
    buffer: int = 10
    threshold: float = 0.01
    top_to_explain: int = 10
    weighted_to_explain: int = 5
    top_to_score: int = 2
    weighted_to_score: int = 2
    random_to_score: int = 10
    max_tokens_in_explanation: int = 30
    batch_size: int = 16
    threads: int = 10
    seed: int = 42

    @property
    def counts(self) -> Counts:
        """The numbers of windows of each kind that are shown."""
        return Counts(
            self.top_to_explain,
            self.weighted_to_explain,
            self.top_to_score,
            self.weighted_to_score,
            self.random_to_score,
            self.buffer,
            self.threshold,
        )


@dataclass(frozen=True)
class Setup:
    """The set-up: tokens [n, ctx] with the number of real ones [n], where latents count [n, ctx] bool, and the
    residuals there [positions, d_model]."""

    tokens: Tensor
    length: Tensor
    counted: Tensor
    resid: Tensor

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.resid.shape[-1]


def data(ctx: Context, settings: Settings) -> str:
    """The held-out text."""
    return ctx.corpus.fingerprint


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals of the held-out text, from the cache when they are there.

    Raises:
        LabError: there is too little text, or a setting makes no sense.
    """
    counts = settings.counts
    if min(counts.top_explain, counts.top_judge, counts.buffer, settings.n_latents, settings.threads) < 1:
        raise LabError("evals.autointerp: n_latents, top_to_*, buffer and threads must be at least 1")
    if 2 * counts.buffer + 1 > ctx.profile.corpus.context:
        raise LabError(
            f"evals.autointerp.buffer {counts.buffer} needs windows of {2 * counts.buffer + 1} tokens and a text has "
            f"{ctx.profile.corpus.context}: make it smaller"
        )

    def build(folder: Path) -> None:
        from lab.corpus import eval_blocks

        count = max(1, settings.total_tokens // ctx.profile.corpus.context)
        blocks = eval_blocks(ctx.corpus, ctx.subject, count)
        counted = blocks.mask & ~torch.isin(blocks.tokens, ctx.subject.special_ids.cpu())
        parts = zip(blocks.tokens.split(settings.batch_size), counted.split(settings.batch_size))
        total = -(-count // settings.batch_size)
        resid = [
            ctx.subject.residuals(batch).cpu()[mask] for batch, mask in track(parts, "set-up of autointerp", total)
        ]
        found = {"tokens": blocks.tokens, "length": blocks.length, "counted": counted, "resid": torch.cat(resid)}
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / _FILE)

    folder = ctx.cached("autointerp", sys.modules[__name__], settings, ("total_tokens", "batch_size"), build)
    return Setup(**load_file(folder / _FILE))


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Ask the judge about every chosen latent.

    Args:
        ctx: the call's context; it holds the judge.
        setup: from `prepare`.
        sae: takes raw residuals.
        settings: those that `setup` was made with.

    Raises:
        LabError: there is no judge, or it does not answer.
    """
    if ctx.judge is None:
        raise LabError("autointerp asks a language model: name one by --autointerp-model openai:NAME or anthropic:NAME")
    examples, alive = _examples(ctx, setup, sae, settings)
    ctx.announce(_cost(examples, ctx.judge, settings))
    rows = _ask_all(ctx.judge, examples, settings)
    scores = [row["score"] for row in rows if row["score"] is not None]
    metrics = {}
    if scores:
        metrics["autointerp_score"] = mean(scores)
    if len(scores) > 1:
        metrics["autointerp_std_dev"] = stdev(scores)
    details = {
        "judge": ctx.judge.name,
        "latents": rows,
        "latents_alive": alive,
        "latents_asked": len(rows),
        "answers_not_read": len(rows) - len(scores),
        "undefined": {name: f"{len(scores)} latents could be scored" for name in METRICS if name not in metrics},
    }
    return Scores(metrics, details)


def _ask_all(judge: Judge, examples: dict[int, Examples], settings: Settings) -> list[dict[str, Any]]:
    """A row for each latent; when one question fails, those that were not asked yet are not."""
    pool = ThreadPoolExecutor(settings.threads)
    try:
        asked = pool.map(lambda latent: _one(judge, latent, examples[latent], settings), examples)
        return list(track(asked, "scoring: autointerp", len(examples)))
    finally:
        pool.shutdown(cancel_futures=True)


@torch.no_grad()
def _examples(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> tuple[dict[int, Examples], int]:
    """Windows of each chosen latent that has enough of them, and how many latents fire often enough."""
    fired = torch.zeros(sae.d_sae, dtype=torch.int64)
    for acts in _encoded(setup, sae):
        fired += (acts > 0).sum(0).cpu()
    alive = (fired > settings.min_activations).nonzero().squeeze(1).tolist()
    many = settings.n_latents
    chosen = sorted(random.Random(settings.seed).sample(alive, many)) if len(alive) > many else alive
    if not chosen:
        return {}, 0
    columns = torch.tensor(chosen, device=sae.device)
    values = torch.cat([acts[:, columns].relu().cpu() for acts in _encoded(setup, sae)])
    words = _words(ctx)
    text = Text(setup.tokens, setup.length)
    generator = torch.Generator().manual_seed(settings.seed)
    found = {}
    for index, latent in enumerate(track(chosen, "scoring: autointerp, examples")):
        own = torch.zeros(setup.tokens.shape)
        own[setup.counted] = values[:, index]
        examples = pick(text, words, own, settings.counts, generator)
        if examples is not None:
            found[latent] = examples
    return found, len(alive)


def _encoded(setup: Setup, sae: Artifact) -> Iterator[Tensor]:
    return (sae.encode(rows) for rows in setup.resid.split(_ROWS))


def _words(ctx: Context) -> list[str]:
    tokenizer: Any = ctx.subject.tokenizer
    return list(tokenizer.batch_decode([[token] for token in range(ctx.subject.vocab)]))


def _cost(examples: dict[int, Examples], judge: Judge, settings: Settings) -> str:
    """The most that the questions can cost, in one line, before the first of them is asked."""
    prompts = [
        prompt for item in examples.values() for prompt in (_explain_prompt(item), _judge_prompt("", item, settings, 0))
    ]
    read = sum(len(system) + len(user) for system, user in prompts) // _CHARS_PER_TOKEN
    written = len(examples) * (settings.max_tokens_in_explanation + _answer_tokens(settings))
    line = f"autointerp: {len(prompts)} calls of {judge.name}, about {read:,} tokens to read, {written:,} to write"
    if judge.price is None:
        return f"{line}; its price is not known (--autointerp-price)"
    return f"{line}, ${(read * judge.price.read + written * judge.price.written) / 1e6:.2f}"


def _one(judge: Judge, latent: int, examples: Examples, settings: Settings) -> dict[str, Any]:
    """Explain a latent and judge by the explanation."""
    answer = _asked(judge, *_explain_prompt(examples), settings.max_tokens_in_explanation)
    explanation = answer.split("activates on")[-1].strip().rstrip(".").strip()
    said = _asked(judge, *_judge_prompt(explanation, examples, settings, latent), _answer_tokens(settings))
    predicted = parse_numbers(said)
    right = [number for number, window in enumerate(examples.judge, 1) if window.fires]
    row: dict[str, Any] = {
        "latent": latent,
        "explanation": explanation,
        "predicted": predicted,
        "right": right,
        "score": None,
    }
    if predicted is not None:
        agree = sum((number in predicted) == (number in right) for number in range(1, len(examples.judge) + 1))
        row["score"] = agree / len(examples.judge)
    return row


def parse_numbers(answer: str) -> list[int] | None:
    """The numbers in an answer such as "2, 5 and 9." or "None"; None when it holds anything else."""
    parts = answer.strip().rstrip(".").replace("and", ",").replace("None", "").split(",")
    kept = [part.strip() for part in parts if part.strip()]
    return [int(part) for part in kept] if all(part.isdecimal() for part in kept) else None


def _answer_tokens(settings: Settings) -> int:
    return 2 * (settings.top_to_score + settings.weighted_to_score + settings.random_to_score) + _MARGIN


def _explain_prompt(examples: Examples) -> tuple[str, str]:
    return _EXPLAIN, f"The pieces of text:\n\n{_numbered(examples.explain, marked=True)}"


def _judge_prompt(explanation: str, examples: Examples, settings: Settings, latent: int) -> tuple[str, str]:
    """The sample answer names as many windows as are right, others for each latent, so that it gives nothing away."""
    count = len(examples.judge)
    shown = random.Random(f"{settings.seed} {latent}").sample(
        range(1, count + 1), settings.top_to_score + settings.weighted_to_score
    )
    system = _JUDGE.format(count=count, sample=", ".join(map(str, sorted(shown))))
    return system, f"The neuron activates on {explanation}.\n\n{_numbered(examples.judge, marked=False)}"


def _numbered(windows: tuple[Window, ...], *, marked: bool) -> str:
    return "\n".join(f"{number}. {window.shown(marked=marked)}" for number, window in enumerate(windows, 1))


def _asked(judge: Judge, system: str, user: str, max_tokens: int) -> str:
    """The judge's answer, from the cache when it gave one before."""
    key = {"judge": judge.name, "system": system, "user": user, "max_tokens": max_tokens}

    def build(folder: Path) -> None:
        cache.write_json(folder / "answer.json", judge.ask(system, user, max_tokens).strip())

    answer: str = cache.read_json(cache.entry("answers", key, build) / "answer.json")
    return answer
