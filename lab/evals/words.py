"""Words that a tokenizer keeps whole, and a prompt that asks about the first letter of each."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError

LETTERS = string.ascii_lowercase
_SEPARATOR = "\n"


@dataclass(frozen=True)
class Word:
    """A word of one token. `text` may start with a space; `letter` is the index of its first letter, a = 0."""

    token: int
    text: str

    @property
    def letter(self) -> int:
        """0 to 25."""
        return LETTERS.index(self.text.strip()[0].lower())


def alphabetic_words(tokenizer: Any, template: str, *, lower: bool) -> list[Word]:
    """Every word that stays one token where the template puts it.

    Args:
        tokenizer: a transformers tokenizer.
        template: text with one ``{word}``.
        lower: only lower-case words with a space before them; else letters of any case, with a space or without.

    Returns:
        The words in the order of their tokens.
    """
    check_template(template)
    found = []
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        text = _text(tokenizer, token)
        bare = text.removeprefix(" ")
        if not (bare.isascii() and bare.isalpha()):
            continue
        if lower and not (text.startswith(" ") and bare.islower()):
            continue
        found.append(Word(index, text))
    if not found:
        return []
    before, after = template.split("{word}")
    lead = _ids(tokenizer, [_SEPARATOR + before])[0]
    lines = _ids(tokenizer, [_SEPARATOR + before + word.text + after for word in found])
    place = len(lead)
    tail = len(_ids(tokenizer, [after])[0])
    return [
        word
        for word, ids in zip(found, lines)
        if len(ids) == place + 1 + tail and ids[:place] == lead and ids[place] == word.token
    ]


def check_template(template: str) -> None:
    """Refuse a template that has no single place for the word.

    Raises:
        LabError: it has none, or several.
    """
    if template.count("{word}") != 1:
        raise LabError(f"evals.absorption: prompt_template must hold {{word}} once, it is {template!r}")


def split_words(
    words: Sequence[Word], *, examples: int, most: int, train_fraction: float, seed: int, per_letter: int = 0
) -> tuple[list[Word], list[Word], list[Word]]:
    """Shuffle words and deal them out; none is in two hands.

    Args:
        words: all there are.
        examples: how many become examples in the prompt.
        most: keep at most so many of the rest; 0 keeps all.
        train_fraction: share of those for training.
        seed: of the shuffle.
        per_letter: keep at most so many of each first letter; 0 keeps all.

    Returns:
        Examples, training words, test words.
    """
    shuffled = random.Random(seed).sample(list(words), len(words))
    if per_letter:
        shuffled = [word for letter in range(len(LETTERS)) for word in _with_letter(shuffled, letter)[:per_letter]]
        random.Random(seed).shuffle(shuffled)
    shown, rest = shuffled[:examples], shuffled[examples:]
    rest = rest[:most] if most else rest
    cut = int(len(rest) * train_fraction)
    return shown, rest[:cut], rest[cut:]


def _with_letter(words: Sequence[Word], letter: int) -> list[Word]:
    return [word for word in words if word.letter == letter]


def prompt_before(tokenizer: Any, template: str, examples: Sequence[Word], bos: int | None) -> list[int]:
    """Tokens of the examples with their answers, up to where the word in question stands.

    Args:
        tokenizer: a transformers tokenizer.
        template: text with one ``{word}``.
        examples: words to show with the right answer, a space and the capital letter.
        bos: the token that starts every text of this model, None when there is none.
    """
    lines = [f"{template.format(word=word.text)} {LETTERS[word.letter].upper()}" for word in examples]
    text = _SEPARATOR + "".join(line + _SEPARATOR for line in lines) + template.split("{word}")[0]
    return ([] if bos is None else [bos]) + _ids(tokenizer, [text])[0]


def _text(tokenizer: Any, token: str) -> str:
    """The text of a vocabulary entry. Some tokenizers drop the space that SentencePiece writes as a low line."""
    text = str(tokenizer.convert_tokens_to_string([token]))
    return " " + text if token.startswith("▁") and not text.startswith(" ") else text


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return found
