"""The texts and questions of the unlearning evaluation, read through the model: the hub's or the embedded ones."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab import cache, labelled
from lab.errors import LabError
from lab.evals import questions
from lab.evals.base import Context
from lab.evals.questions import Exam, FewShot
from lab.progress import track

if TYPE_CHECKING:
    from lab.subject import Subject

_LEAST = 10  # questions on each side: an accuracy over fewer says little
_FORGET_CORPUS, _FORGET_QUESTIONS = "cais/wmdp-bio-forget-corpus", ("cais/wmdp", "wmdp-bio")
_RETAIN_CORPUS, _RETAIN_QUESTIONS = ("wikitext", "wikitext-2-raw-v1"), "cais/mmlu"
_RETAIN_SUBJECTS = ("high_school_us_history", "college_computer_science", "high_school_geography", "human_aging")
_LEAST_CHARS = 50  # of a text of either corpus

COUNTRIES = FewShot(
    "sae-probes:17_world_country",
    "Place: {text}\nCountry:",
    {
        **{"Australia": "Australia", "India": "India", "Italy": "Italy"},
        **{"United_Kingdom": "England", "United_States": "America"},
    },
)
GENDERS = FewShot("sae-probes:5_hist_fig_ismale", "Name: {text}\nGender:", {"0": "female", "1": "male"})


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults.

    `source` is "hub" or "embedded"; `model` is another model of the hub whose residuals are used ("": the profile's).
    Of the hub's corpora `dataset_size` blocks of `seq_len` tokens are taken. Of the embedded sets each label gives
    `examples` to be shown, `texts` to find latents by and `asked` questions. `batch_size` counts texts or questions.
    """

    source: str = "hub"
    model: str = ""
    retain_thresholds: tuple[float, ...] = (0.001, 0.01)
    n_features: tuple[int, ...] = (10, 20)
    multipliers: tuple[float, ...] = (25.0, 50.0, 100.0, 200.0)
    min_retained: float = 0.99
    permutations: int = 24
    dataset_size: int = 1024
    seq_len: int = 1024
    batch_size: int = 16
    seed: int = 42
    forget: str = "United_States"
    examples: int = 4
    texts: int = 300
    asked: int = 40
    skip_outliers: bool = False


@dataclass(frozen=True)
class Part:
    """An exam with the residuals of its questions [n, ctx, d_model] and the positions [n, ctx] that may be changed."""

    exam: Exam
    resid: Tensor
    touched: Tensor


@dataclass(frozen=True)
class Setup:
    """The set-up: residuals of the forget text [n, d_model] and of the retain text, and the questions.

    `groups` names what `Exam.group` counts, `forget` is the group to be forgotten. `ctx` gives the model.
    """

    ctx: Context
    forget_text: Tensor
    retain_text: Tensor
    parts: tuple[Part, ...]
    groups: tuple[str, ...]
    forget: int

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.forget_text.shape[-1]


def data(ctx: Context, settings: Settings) -> str:
    """A fingerprint of the texts and questions, and of the model where it is not the profile's."""
    if settings.source == "embedded":
        sizes = (2 * _train(settings), 2 * settings.asked)
        found = [
            labelled.fingerprint(task.set, train_size=sizes[0], test_size=sizes[1], seed=settings.seed)
            for task in (COUNTRIES, GENDERS)
        ]
        return cache.fingerprint([found, COUNTRIES, GENDERS])
    names = [_FORGET_CORPUS, _FORGET_QUESTIONS, _RETAIN_CORPUS, _RETAIN_QUESTIONS, _RETAIN_SUBJECTS]
    return cache.fingerprint([names, asked_model(ctx, settings).subject_fingerprint])


def asked_model(ctx: Context, settings: Settings) -> Context:
    """The context of the model that is asked."""
    if settings.source == "embedded" or settings.model in ("", ctx.profile.subject.name):
        return ctx
    subject = ctx.profile.subject.model_copy(update={"name": settings.model})
    return Context(ctx.profile.model_copy(update={"subject": subject}), ctx.device.type)


def _train(settings: Settings) -> int:
    """Training texts of each label."""
    return settings.examples + settings.texts


def embedded(ctx: Context, settings: Settings) -> Setup:
    subject = ctx.subject
    forget_text, retain_text, parts = [], [], []
    groups: list[str] = []
    for task in (COUNTRIES, GENDERS):
        texts = labelled.load(
            task.set,
            train_size=2 * _train(settings),
            test_size=2 * settings.asked,
            seed=settings.seed,
            classes=task.words,
        )
        shown = {label: found[: settings.examples] for label, found in texts.train.items()}
        rest = {label: found[settings.examples :] for label, found in texts.train.items()}
        asked = [
            questions.few_shot(subject, task, shown, texts.test, seed=settings.seed + form, first_group=len(groups))
            for form in range(settings.permutations)
        ]
        parts.append(_answered(subject, asked, settings, f"set-up of unlearning: {task.set}"))
        read = questions.few_shot(subject, task, shown, rest, seed=settings.seed, first_group=len(groups))
        prefix = subject.prefix(read.before)
        for rows in track(torch.arange(len(read)).split(settings.batch_size), f"set-up of unlearning: {task.set}"):
            part = read.take(rows)
            resid = subject.residuals(part.tokens, prefix=prefix).cpu()
            counted = _touched(subject, part, resid, settings)
            forgotten = counted & (part.group == _index(task, settings.forget, len(groups)))[:, None]
            forget_text.append(resid[forgotten])
            retain_text.append(resid[counted & ~forgotten])
        groups += task.words
    forget = groups.index(settings.forget)
    return _checked(Setup(ctx, torch.cat(forget_text), torch.cat(retain_text), tuple(parts), tuple(groups), forget))


def _index(task: FewShot, label: str, first_group: int) -> int:
    """The group of a label, -1 when it is another task's."""
    return first_group + list(task.words).index(label) if label in task.words else -1


def from_hub(ctx: Context, settings: Settings) -> Setup:
    subject = ctx.subject
    groups = (_FORGET_QUESTIONS[1], *_RETAIN_SUBJECTS)
    sources = [_FORGET_QUESTIONS, *((_RETAIN_QUESTIONS, name) for name in _RETAIN_SUBJECTS)]
    orders = questions.orders(settings.permutations)
    parts = []
    for group, (name, subset) in enumerate(sources):
        rows = list(questions.read_rows(name, subset, "test"))
        topic = "biology" if group == 0 else subset.replace("_", " ")
        forms = [questions.letters(subject, rows, topic, order, group=group) for order in orders]
        parts.append(_answered(subject, forms, settings, f"set-up of unlearning: {subset}"))
    forget = [row["text"] for row in questions.read_rows(_FORGET_CORPUS, None, "train")]
    retain = [row["text"] for row in questions.read_rows(*_RETAIN_CORPUS, "test")]
    texts = [_blocks(subject, found, settings) for found in (forget, retain)]
    return _checked(Setup(ctx, texts[0], texts[1], tuple(parts), groups, 0))


def _answered(subject: Subject, forms: list[Exam], settings: Settings, what: str) -> Part:
    """The questions that are answered right in every form, in the first one."""
    kept, resid = questions.answered_right(subject, forms, batch_size=settings.batch_size, what=what)
    exam = forms[0].take(kept)
    return Part(exam, resid, _touched(subject, exam, resid, settings))


def _touched(subject: Subject, exam: Exam, resid: Tensor, settings: Settings) -> Tensor:
    """Positions [n, ctx] that may be changed: not the first of the whole text, and no outlier where those are left."""
    touched = exam.real.clone()
    if settings.skip_outliers and len(exam):
        touched &= subject.usable(resid, exam.tokens, drop_first=False)
    if not len(exam.before):
        touched[:, :1] = False
    return touched


def _blocks(subject: Subject, texts: list[str], settings: Settings) -> Tensor:
    """Residuals [n, d_model] at the plain tokens of texts that are joined and cut into blocks."""
    long = [text for text in texts if len(text) > _LEAST_CHARS]
    chosen = random.Random(settings.seed).sample(long, min(settings.dataset_size, len(long)))
    joined = subject.tokenizer.eos_token.join(chosen)
    ids = torch.tensor(subject.tokenizer(joined, add_special_tokens=False)["input_ids"])
    blocks = ids[: len(ids) // settings.seq_len * settings.seq_len].view(-1, settings.seq_len)[: settings.dataset_size]
    if not len(blocks):
        raise LabError(f"evals.unlearning: a text is shorter than seq_len {settings.seq_len}: make it smaller")
    if subject.bos_id is not None:
        blocks[:, 0] = subject.bos_id
    found = []
    for batch in track(blocks.split(max(1, settings.batch_size // 8)), "set-up of unlearning: texts"):
        plain = ~torch.isin(batch, subject.special_ids.cpu())
        found.append(subject.residuals(batch).cpu()[plain])
    return torch.cat(found)


def _checked(setup: Setup) -> Setup:
    """Refuse a set-up whose accuracies would say nothing."""
    about = torch.cat([part.exam.group for part in setup.parts])
    forget, retain = int((about == setup.forget).sum()), int((about != setup.forget).sum())
    if min(forget, retain) < _LEAST:
        raise LabError(
            f"unlearning cannot be measured on {setup.ctx.subject.name}: it answers {forget} questions on "
            f"{setup.groups[setup.forget]} right in every form and {retain} others, {_LEAST} of each are needed; "
            "use a larger model or leave unlearning out"
        )
    return setup


def to_tensors(setup: Setup) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A set-up as it is stored: tensors by name, and the rest as plain data."""
    tensors = {"forget_text": setup.forget_text, "retain_text": setup.retain_text}
    for index, part in enumerate(setup.parts):
        named = {**vars(part.exam), "resid": part.resid, "touched": part.touched}
        tensors |= {f"{index}.{name}": tensor.contiguous() for name, tensor in named.items()}
    return tensors, {"groups": setup.groups, "forget": setup.forget, "parts": len(setup.parts)}


def from_tensors(ctx: Context, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Setup:
    """The inverse of `to_tensors`; `ctx` gives the model."""
    parts = []
    for index in range(facts["parts"]):
        exam = Exam(**{field.name: tensors[f"{index}.{field.name}"] for field in dataclasses.fields(Exam)})
        parts.append(Part(exam, tensors[f"{index}.resid"], tensors[f"{index}.touched"]))
    groups = tuple(facts["groups"])
    return Setup(ctx, tensors["forget_text"], tensors["retain_text"], tuple(parts), groups, facts["forget"])
