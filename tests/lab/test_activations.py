from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lab import activations
from lab.activations import ActivationStore, open_store, read_store
from lab.corpus import Corpus, held_out, train_blocks
from lab.errors import LabError
from lab.settings import Profile
from lab.subject import Subject


@pytest.fixture
def small(tiny_profile: Profile) -> Profile:
    """Few enough tokens to be computed in a test."""
    return tiny_profile.model_copy(
        update={"activations": tiny_profile.activations.model_copy(update={"tokens": 1500, "batch_blocks": 8})}
    )


def test_the_store_is_what_the_profile_asks_for(tiny_profile: Profile, tiny_store: ActivationStore) -> None:
    count = tiny_profile.activations.tokens
    assert len(tiny_store) == count
    assert tiny_store.acts.shape == (count, 576)
    assert tiny_store.acts.dtype == torch.bfloat16
    for column in (tiny_store.document, tiny_store.position, tiny_store.source, tiny_store.token):
        assert column.shape == (count,)
    acts = tiny_store.acts.float()
    assert torch.isfinite(acts).all()
    assert ((acts * tiny_store.scale).square().mean() - 1).abs() < 1e-4
    assert torch.allclose(acts.mean(0), tiny_store.mean, atol=1e-3)
    norms = acts.norm(dim=-1)
    assert norms.max() <= 5.05 * tiny_store.median_norm
    assert abs(norms.median() / tiny_store.median_norm - 1) < 0.1
    assert 0.01 < tiny_store.left_out < 0.1
    assert tiny_store.position.min() == 1, "position 0 is left out"
    assert tiny_store.position.max() < tiny_profile.corpus.context
    assert tiny_store.token.min() > 16, "no special tokens"
    shares = Counter(tiny_store.source.tolist())
    assert set(shares) == set(range(len(tiny_store.sources)))
    assert max(shares.values()) - min(shares.values()) < 300


def test_the_rows_are_the_models_in_the_corpus_order(
    tiny_corpus: Corpus, tiny_store: ActivationStore, tiny_subject: Subject
) -> None:
    row = 0
    for block in islice(train_blocks(tiny_corpus, tiny_subject), 40):
        tokens = torch.tensor(block.tokens)[None]
        resid = tiny_subject.residuals(tokens)
        keep = tiny_subject.usable(resid, tokens, median_norm=tiny_store.median_norm)[0]
        rows = slice(row, row + int(keep.sum()))
        row = rows.stop
        wanted = resid[0, keep]
        error = (tiny_store.acts[rows].float() - wanted).norm(dim=-1) / wanted.norm(dim=-1)
        assert error.max() < 0.005, "bfloat16 keeps 8 bits"
        assert (tiny_store.document[rows] == block.document).all()
        assert (tiny_store.source[rows] == block.source).all()
        assert torch.equal(tiny_store.position[rows].long(), keep.nonzero()[:, 0])
        assert torch.equal(tiny_store.token[rows].long(), tokens[0, keep])


def test_no_held_out_text_is_in_it(tiny_corpus: Corpus, tiny_store: ActivationStore) -> None:
    held = {document.id for document in tiny_corpus.documents("eval")}
    assert not held & set(tiny_store.document.tolist())
    train = {document.id: document.text for document in tiny_corpus.documents("train")}
    fraction = tiny_corpus.settings.eval_fraction
    assert not any(held_out(train[document], fraction) for document in set(tiny_store.document.tolist()))


def test_a_second_store_is_the_same_bytes(
    small: Profile, tiny_subject: Subject, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = open_store(small, tiny_subject)
    kept = first.acts.clone()
    monkeypatch.setenv("SAE_LAB_CACHE", str(tmp_path / "second"))
    monkeypatch.setenv("SAE_LAB_PROGRESS", str(tmp_path / "progress.json"))
    second = open_store(small, tiny_subject)
    assert torch.equal(kept, second.acts)
    assert (first.fingerprint, first.scale, first.median_norm) == (
        second.fingerprint,
        second.scale,
        second.median_norm,
    )
    state = json.loads((tmp_path / "progress.json").read_text())
    assert (state["what"], state["done"], state["total"]) == ("caching activations", 1500, 1500)


def test_a_larger_store_begins_with_the_smaller_one(small: Profile, tiny_store: ActivationStore) -> None:
    store = open_store(small)
    assert torch.equal(store.token, tiny_store.token[:1500])
    assert store.fingerprint != tiny_store.fingerprint


def test_an_open_store_needs_no_model(
    tiny_profile: Profile, tiny_store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "load_subject", lambda *_: pytest.fail("the model is not needed"))
    again = open_store(tiny_profile, device="cpu")
    assert again.fingerprint == tiny_store.fingerprint
    assert torch.equal(again.acts[:100], tiny_store.acts[:100])


def test_a_store_of_before_learns_the_names_of_its_sources(
    small: Profile, tiny_subject: Subject, empty_cache: Path
) -> None:
    store = open_store(small, tiny_subject)
    meta = json.loads((store.folder / "store.json").read_text())
    assert tuple(meta.pop("sources")) == store.sources
    (store.folder / "store.json").write_text(json.dumps(meta))
    again = open_store(small, tiny_subject)
    assert (again.fingerprint, again.sources) == (store.fingerprint, store.sources)
    assert read_store(store.folder).sources == store.sources


def test_the_file_is_not_changed_through_the_store(tiny_profile: Profile, tiny_store: ActivationStore) -> None:
    store = open_store(tiny_profile, device="cpu")
    store.acts[0] = 0
    assert tiny_store.acts[0].abs().sum() > 0


def test_too_little_text(
    small: Profile, tiny_corpus: Corpus, tiny_subject: Subject, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = list(islice(train_blocks(tiny_corpus, tiny_subject), 5))
    monkeypatch.setattr(activations, "train_blocks", lambda *_: iter(few))
    with pytest.raises(LabError, match=r"corpus gives only \d+ usable tokens and activations\.tokens is 1,500"):
        open_store(small, tiny_subject)
    assert not list((empty_cache / "activations").glob("[!.]*"))


def test_too_full_a_disk(
    small: Profile, tiny_subject: Subject, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = small.model_copy(update={"activations": small.activations.model_copy(update={"tokens": 10**6})})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(LabError, match=r"the activation cache needs 1\.2 GB and .* has 1\.0 GB free"):
        open_store(large, tiny_subject)
