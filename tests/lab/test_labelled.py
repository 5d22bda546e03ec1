"""Labelled sets: of the packaged texts, of a folder, and of data laid out as the hub's are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import hub_sets, labelled
from lab.corpus import document_id
from lab.errors import LabError
from lab.labelled import LabelledSet, fingerprint, load


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))


def folder_set(folder: Path, classes: list[str], train: int = 20, test: int = 10) -> str:
    for split, count in (("train", train), ("test", test)):
        rows = [(f"{split} text {i} of {label}", label) for i in range(count) for label in classes]
        write(folder / f"made.{split}.jsonl", rows)
    return f"folder:{folder}/made"


def texts_of(found: LabelledSet) -> tuple[list[str], list[str]]:
    return ([t for texts in split.values() for t in texts] for split in (found.train, found.test))  # type: ignore


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("sae-probes:97_news_class", ("Entertainment", "Politics", "Sport", "Technology")),
        ("sae-probes:36_sciq_tf", ("0", "1")),
    ],
)
def test_packaged_sets_are_split_by_document_and_balanced(name: str, classes: tuple[str, ...]) -> None:
    found = load(name, train_size=400, test_size=100, seed=3)
    assert found.classes == classes
    assert {len(texts) for texts in found.train.values()} == {200}
    assert {len(texts) for texts in found.test.values()} == {50}
    train, test = texts_of(found)
    assert len(set(train + test)) == len(train + test)
    assert not {document_id(text) for text in train} & {document_id(text) for text in test}
    assert found == load(name, train_size=400, test_size=100, seed=3)
    assert found != load(name, train_size=400, test_size=100, seed=4)


def test_a_combined_set_takes_the_right_label_of_each_file() -> None:
    found = load("sae-probes:reviews", train_size=100, test_size=40, classes=("amazon / positive", "yelp / negative"))
    assert found.classes == ("amazon / positive", "yelp / negative")
    from lab import packaged

    rows = list(packaged.rows(packaged.folder() / "157_amazon_5star.csv.zst"))
    texts = {text.replace("Title: ", " ", 1).replace("\nReview: ", " ", 1).strip(): target for text, target in rows}
    assert {texts[text] for text in found.train["amazon / positive"]} == {"1"}
    stars = dict(packaged.rows(packaged.folder() / "111_yelp_data.csv.zst"))
    assert {target for text, target in stars.items() if text.strip() in found.train["yelp / negative"]} == {"0", "1"}


def test_a_folder_is_taken_as_given(tmp_path: Path) -> None:
    name = folder_set(tmp_path, ["b", "a"], train=30)
    found = load(name, train_size=40, test_size=1000)
    assert found.classes == ("a", "b")
    assert found.train["b"] == tuple(f"train text {i} of b" for i in range(20)), "half of 40, in the file's order"
    assert len(found.test["a"]) == 10
    sizes = {"train_size": 40, "test_size": 1000, "seed": 42}
    before = fingerprint(name, **sizes)
    assert before == fingerprint(name, **sizes) != fingerprint(name, **{**sizes, "seed": 1})
    write(tmp_path / "made.test.jsonl", [("other", "a")])
    assert fingerprint(name, **sizes) != before


def test_bad_sets_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"made has one class \(a\): a probe needs at least two"):
        load(folder_set(tmp_path, ["a"]))
    with pytest.raises(LabError, match="class 'a' has 9 texts to train and 10 to test on, at least 10 are needed"):
        load(folder_set(tmp_path, ["a", "b"], train=9))
    with pytest.raises(LabError, match="has no class 'c': it has a, b"):
        load(folder_set(tmp_path, ["a", "b"]), classes=("a", "c"))
    with pytest.raises(LabError, match="says nothing: ask for more"):
        load(folder_set(tmp_path, ["a", "b"]), train_size=4)
    (tmp_path / "made.test.jsonl").write_text('{"text": "x", "label": 1}\n')
    with pytest.raises(
        LabError, match=r"made\.test\.jsonl, line 1: it must be \{'text': a string, 'label': a string\}"
    ):
        load(f"folder:{tmp_path}/made")
    (tmp_path / "made.test.jsonl").write_text("{")
    with pytest.raises(LabError, match=r"made\.test\.jsonl cannot be read"):
        load(f"folder:{tmp_path}/made")
    with pytest.raises(LabError, match=r"there is no file .*nothing\.train\.jsonl"):
        load(f"folder:{tmp_path}/nothing")
    with pytest.raises(LabError, match="no set '97_news_clas': did you mean 97_news_class"):
        load("sae-probes:97_news_clas")
    with pytest.raises(LabError, match="unknown set 'imdb': use sae-probes:FILE, folder:/PATH/NAME or one of LabHC/"):
        load("imdb")


def test_a_hub_set_without_network_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("LabHC/bias_in_bios_class_set1", "Helsinki-NLP/europarl", "codeparrot/github-code"):
        with pytest.raises(
            LabError, match=f"cannot read the data set {name}: .*check the network, and HF_TOKEN"
        ) as error:
            load(name)
        assert "\n" not in str(error.value)


def test_tables_laid_out_as_the_hubs_are_drawn_as_saebench_draws_them() -> None:
    import pandas as pd

    columns = ("hard_text", "profession", "gender")
    frame = pd.DataFrame(
        [(f"{job} {gender} {i}", job, gender) for i in range(30) for job in (0, 1, 2) for gender in (0, 1)],
        columns=list(columns),
    )
    found = hub_sets.balanced(frame, columns, (0, 2), 20, 42)
    assert list(found) == ["0", "2"]
    assert [text.split()[1] for text in found["2"]] == ["0"] * 10 + ["1"] * 10
    alone = frame[(frame.profession == 2) & (frame.gender == 1)].sample(n=10, random_state=42)
    assert found["2"][10:] == alone.hard_text.tolist()
    assert len(hub_sets.sampled(frame, "hard_text", "gender", (0, 1), 25, 42)["1"]) == 25
    with pytest.raises(LabError, match="profession 0, gender 0: 30 texts, 31 are wanted"):
        hub_sets.balanced(frame, columns, (0,), 62, 42)
    pair = hub_sets.quadrants(frame, columns, {"architect / female": (1, 1)}, 3)
    assert pair == {"architect / female": ["1 1 0", "1 1 1", "1 1 2"]}


def test_data_on_disk_are_read_as_the_hubs_are(tmp_path: Path) -> None:
    for split, count in (("train", 40), ("test", 30)):
        write(tmp_path / f"{split}.jsonl", [(f"{split} {i}", str(i % 2)) for i in range(count)])
    train, test = hub_sets._both(
        str(tmp_path), lambda frame, size: hub_sets.sampled(frame, "text", "label", ("0", "1"), size, 42), (20, 10)
    )
    assert {len(texts) for texts in train.values()} == {20}
    assert {text.split()[0] for texts in test.values() for text in texts} == {"test"}
    with pytest.raises(LabError, match=r"cannot read the data set nowhere: .*check the network, and HF_TOKEN"):
        hub_sets._reading("nowhere", lambda: hub_sets._both(str(tmp_path / "none"), lambda *_: {}, (20, 10)))


def test_streams_are_shuffled_and_dealt_out() -> None:
    texts = {language: [f"{language} {i}" for i in range(31)] for language in ("en", "fr")}
    train, test = hub_sets._dealt(texts, (20, 10), 42)
    for language in ("en", "fr"):
        assert (len(train[language]), len(test[language])) == (20, 10)
        assert len({*train[language], *test[language]}) == 30
        assert train[language] != sorted(train[language], key=lambda text: int(text.split()[1]))


rows = st.lists(st.tuples(st.text("ab c", min_size=1, max_size=5), st.sampled_from("xyz")), max_size=60)


@settings(max_examples=30, deadline=None)
@given(rows, st.integers(1, 8), st.integers(1, 8), st.integers(0, 3))
def test_no_document_is_in_both_splits_and_no_text_has_two_labels(
    rows: list[tuple[str, str]], train: int, test: int, seed: int
) -> None:
    splits = labelled._split(rows, (train, test), seed)
    seen: dict[int, int] = {}
    for side, (split, most) in enumerate(zip(splits, (train, test))):
        for label, texts in split.items():
            assert len(texts) <= most
            for text in texts:
                assert seen.setdefault(document_id(text), side) == side
                assert {found for other, found in rows if other == text} == {label}
    assert splits == labelled._split(list(reversed(rows)), (train, test), seed)
