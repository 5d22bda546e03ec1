"""Multiple-choice questions, and what the model answers them when its residual stream is changed.

A question is text that ends where the answer begins; the option whose first token has the largest logit is the answer.
Questions of one exam share the text before them and their options, so that text is run through the model once.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab.errors import LabError
from lab.progress import track

if TYPE_CHECKING:
    from lab.subject import Prefix, Subject

_LETTERS = "ABCD"
_BETWEEN = "\n\n"


@dataclass(frozen=True)
class Exam:
    """Questions that share the text before them (`before`, tokens [p], possibly none) and their options.

    `tokens` [n, ctx] int64 padded on the right, `length` [n]; `options` [options, spellings] are the tokens an answer
    may begin with and `answer` [n] the right option; `group` [n] says what a question is about.
    """

    before: Tensor
    tokens: Tensor
    length: Tensor
    options: Tensor
    answer: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.answer)

    def take(self, rows: Tensor) -> Exam:
        """Some of the questions."""
        picked = {name: getattr(self, name)[rows] for name in ("tokens", "length", "answer", "group")}
        return Exam(self.before, picked["tokens"], picked["length"], self.options, picked["answer"], picked["group"])

    @property
    def real(self) -> Tensor:
        """[n, ctx] bool: where there is a token of the question."""
        return torch.arange(self.tokens.shape[1]) < self.length[:, None]

    def prefix(self, subject: Subject) -> Prefix | None:
        """The text before the questions, through all layers."""
        return subject.prefix(self.before, whole=True) if len(self.before) else None


@dataclass(frozen=True)
class FewShot:
    """A question about each text of a labelled set, after examples with their answers.

    `set` is a name that `lab.labelled` knows, `template` holds one ``{text}`` and ends where the answer begins, `words`
    has the answer to each label.
    """

    set: str
    template: str
    words: Mapping[str, str]


def few_shot(
    subject: Subject,
    task: FewShot,
    examples: Mapping[str, Sequence[str]],
    texts: Mapping[str, Sequence[str]],
    *,
    seed: int,
    first_group: int = 0,
) -> Exam:
    """An exam over texts by label.

    Args:
        subject: whose tokenizer is used.
        task: how a question is put.
        examples: texts by label that are shown with their answers, in an order drawn by `seed`.
        texts: texts by label that are asked about; `Exam.group` is the label's index, counted from `first_group`.
        seed: of the order of the examples.
        first_group: see `texts`.

    Raises:
        LabError: two answers begin with the same token.
    """
    labels = list(task.words)
    shown = [(text, label) for label in labels for text in examples[label]]
    random.Random(seed).shuffle(shown)
    lines = [task.template.format(text=text) + " " + task.words[label] for text, label in shown]
    ids = _ids(subject.tokenizer, [_BETWEEN.join(lines)])[0]
    before = ([] if subject.bos_id is None else [subject.bos_id]) + ids
    asked = [(text, index) for index, label in enumerate(labels) for text in texts.get(label, ())]
    encoded = _encode(subject, [_BETWEEN + task.template.format(text=text) for text, _ in asked])
    answer = torch.tensor([index for _, index in asked], dtype=torch.int64)
    options = option_tokens(subject, [[" " + task.words[label]] for label in labels])
    return _sorted(Exam(torch.tensor(before), *encoded, options, answer, answer + first_group))


def letters(
    subject: Subject, rows: Sequence[Mapping[str, Any]], topic: str, order: Sequence[int], *, group: int
) -> Exam:
    """An exam of four options named A to D, put as WMDP and MMLU are to a chat model.

    Args:
        subject: a chat model.
        rows: questions with "question", "choices" (four) and "answer" (0 to 3).
        topic: what the questions are about, in the words of the prompt.
        order: which choice stands at A, B, C and D.
        group: the index of this set.

    Raises:
        LabError: the model has no chat template.
    """
    if not subject.tokenizer.chat_template:
        raise LabError(f"{subject.name} has no chat template: name an instruction-tuned model (evals.unlearning.model)")
    prompts = []
    for row in rows:
        choices = "".join(f"\n{letter}. {row['choices'][at]}" for letter, at in zip(_LETTERS, order))
        content = f"The following are multiple choice questions (with answers) about {topic}.\n{row['question']}"
        turn = [{"role": "user", "content": content + choices}]
        text = str(subject.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        prompts.append(text + "Answer: (")
    options = option_tokens(subject, [[letter, " " + letter] for letter in _LETTERS])
    answer = torch.tensor([list(order).index(int(row["answer"])) for row in rows], dtype=torch.int64)
    none = torch.zeros(0, dtype=torch.int64)
    return Exam(none, *_encode(subject, prompts), options, answer, torch.full_like(answer, group))


def orders(count: int) -> list[tuple[int, ...]]:
    """The first permutations of four options, the order as given being the first of all 24."""
    return list(itertools.islice(itertools.permutations(range(len(_LETTERS))), count))


def option_tokens(subject: Subject, spellings: Sequence[Sequence[str]]) -> Tensor:
    """The first token of each spelling of each option, [options, spellings].

    Raises:
        LabError: two options begin alike.
    """
    firsts = [[found[0] for found in _ids(subject.tokenizer, row)] for row in spellings]
    flat = [token for row in firsts for token in set(row)]
    if len(set(flat)) < len(flat):
        raise LabError(f"{subject.name} cannot tell the answers {', '.join(row[0] for row in spellings)} apart")
    return torch.tensor(firsts)


@torch.no_grad()
def answers(subject: Subject, exam: Exam, resid: Tensor, prefix: Prefix | None, *, batch_size: int) -> Tensor:
    """The option [n] that the model takes when its residual stream at the questions is `resid` [n, ctx, d_model]."""
    taken = []
    options = exam.options.to(subject.device)
    for rows in torch.arange(len(exam)).split(batch_size):
        length = exam.length[rows]
        logits = subject.logits_from(resid[rows, : int(length.max())], at=length - 1, prefix=prefix)
        taken.append(logits.float()[:, options].amax(-1).argmax(-1).cpu())
    return torch.cat(taken) if taken else torch.zeros(0, dtype=torch.int64)


def answered_right(subject: Subject, exams: Sequence[Exam], *, batch_size: int, what: str) -> tuple[Tensor, Tensor]:
    """The questions that the model answers right in every form of the exam.

    Args:
        subject: the model.
        exams: the same questions in the same order, put in several ways. One that fails is not asked again.
        batch_size: questions at a time.
        what: the step in words.

    Returns:
        Their indices, int64, and the residuals of their tokens in the first form after the hooked layer,
        [kept, ctx, d_model] on the CPU.
    """
    kept = torch.arange(len(exams[0]))
    first: dict[int, Tensor] = {}
    for number, exam in enumerate(exams, 1):
        prefix = exam.prefix(subject)
        right = []
        for rows in track(kept.split(batch_size), f"{what}, form {number} of {len(exams)}"):
            part = exam.take(rows)
            resid = subject.residuals(part.tokens, prefix=prefix)
            good = rows[answers(subject, part, resid, prefix, batch_size=batch_size) == part.answer]
            right.append(good)
            if number == 1:
                first.update((row, resid[rows.tolist().index(row)].cpu()) for row in good.tolist())
        kept = torch.cat(right) if right else kept
    width = (*exams[0].tokens.shape[1:], subject.d_model)
    return kept, torch.stack([first[row] for row in kept.tolist()]) if len(kept) else torch.zeros(0, *width)


def read_rows(name: str, part: str | None, split: str) -> Any:
    """Rows of a data set of the hub.

    Args:
        name: its name.
        part: the configuration, where it has several.
        split: "train", "test" …

    Raises:
        LabError: it cannot be had: no network, gated, no token.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return datasets.load_dataset(name, part, split=split)
    except (OSError, ValueError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "check the network; for a gated set accept its licence on its hub page and set HF_TOKEN"
        raise LabError(f"cannot read the data set {name}: {line:.200} ({hint})") from error


def _encode(subject: Subject, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Tokens [n, ctx], padded on the right, and their number [n]."""
    ids = _ids(subject.tokenizer, texts) if texts else []
    length = torch.tensor([len(row) for row in ids], dtype=torch.int64)
    tokens = torch.full((len(ids), int(length.max()) if ids else 0), subject.pad_id)
    for row, found in enumerate(ids):
        tokens[row, : len(found)] = torch.tensor(found)
    return tokens, length


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return found


def _sorted(exam: Exam) -> Exam:
    """By length, so that a batch holds little padding."""
    return exam.take(exam.length.argsort(stable=True))
