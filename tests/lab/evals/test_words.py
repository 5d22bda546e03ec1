"""Words of the real tokenizer and the prompt made of them."""

from __future__ import annotations

import pytest

from lab.errors import LabError
from lab.evals.words import LETTERS, Word, alphabetic_words, prompt_before, split_words
from lab.subject import Subject

TEMPLATE = "{word} has the first letter:"


@pytest.fixture(scope="module")
def words(tiny_subject: Subject) -> list[Word]:
    return alphabetic_words(tiny_subject.tokenizer, TEMPLATE, lower=True)


def test_words_are_lower_case_whole_and_of_every_letter(words: list[Word], tiny_subject: Subject) -> None:
    assert len(words) > 10_000
    assert len({word.token for word in words}) == len(words)
    assert all(word.text[0] == " " and word.text[1:].islower() and word.text[1:].isalpha() for word in words)
    assert {word.letter for word in words} == set(range(26))
    assert {" cat", " house"} <= {word.text for word in words}


def test_without_lower_there_are_words_of_every_form(words: list[Word], tiny_subject: Subject) -> None:
    forms = {word.text for word in alphabetic_words(tiny_subject.tokenizer, TEMPLATE, lower=False)}
    assert {" cat", "cat", " Cat"} <= forms
    assert {word.text for word in words} < forms


def test_a_word_is_one_token_where_the_prompt_puts_it(words: list[Word], tiny_subject: Subject) -> None:
    before = prompt_before(tiny_subject.tokenizer, TEMPLATE, words[:10], None)
    text = tiny_subject.tokenizer.decode(before)
    for word in words[10:40]:
        whole = text + TEMPLATE.format(word=word.text)
        ids = tiny_subject.tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert ids[: len(before)] == before
        assert ids[len(before)] == word.token


def test_the_prompt_shows_each_example_with_its_letter(words: list[Word], tiny_subject: Subject) -> None:
    lines = tiny_subject.tokenizer.decode(prompt_before(tiny_subject.tokenizer, TEMPLATE, words[:3], None)).split("\n")
    assert lines[0] == lines[-1] == ""
    assert lines[1:-1] == [f"{word.text} has the first letter: {word.text[1].upper()}" for word in words[:3]]


def test_the_start_token_comes_first(words: list[Word], tiny_subject: Subject) -> None:
    plain = prompt_before(tiny_subject.tokenizer, TEMPLATE, words[:3], None)
    assert prompt_before(tiny_subject.tokenizer, TEMPLATE, words[:3], 7) == [7, *plain]


def test_no_word_is_dealt_twice_and_the_seed_decides() -> None:
    words = [Word(index, f" {letter}{letter}") for index, letter in enumerate(LETTERS)]
    hands = split_words(words, examples=4, most=0, train_fraction=0.5, seed=1)
    assert [len(hand) for hand in hands] == [4, 11, 11]
    assert sorted(word.token for hand in hands for word in hand) == list(range(26))
    assert hands == split_words(words, examples=4, most=0, train_fraction=0.5, seed=1)
    assert hands != split_words(words, examples=4, most=0, train_fraction=0.5, seed=2)
    assert [len(hand) for hand in split_words(words, examples=4, most=10, train_fraction=0.8, seed=1)] == [4, 8, 2]


def test_few_words_can_be_had_of_every_letter() -> None:
    words = [Word(token, text) for token, text in enumerate(["ant", "ape", "auk", "ass", "bee", "bat", "cow"])]
    hands = split_words(words, examples=1, most=0, train_fraction=0.5, seed=1, per_letter=2)
    letters = sorted(word.text[0] for hand in hands for word in hand)
    assert letters == ["a", "a", "b", "b", "c"]


def test_a_template_without_a_place_for_the_word_is_refused(tiny_subject: Subject) -> None:
    with pytest.raises(LabError, match="prompt_template must hold"):
        alphabetic_words(tiny_subject.tokenizer, "the first letter:", lower=True)
