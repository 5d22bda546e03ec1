"""RAVEL on the real small model: against the whole model run with a patched stream, and its rules alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lab.artifact import Artifact
from lab.errors import LabError
from lab.evals import ravel, ravel_pairs, ravel_prompts
from lab.evals.base import Context, read_settings
from lab.evals.ravel import Settings, Setup, Swap
from lab.evals.ravel_pairs import Table
from lab.subject import Subject
from tests.lab.conftest import SaveSae, identity


@pytest.fixture(scope="module")
def settings(tiny_context: Context) -> Settings:
    found: Settings = read_settings(ravel, "ravel", tiny_context.profile.evals["ravel"])
    return found


@pytest.fixture(scope="module")
def setup(tiny_context: Context, settings: Settings) -> Setup:
    return ravel.prepare(tiny_context, settings)


@pytest.fixture(scope="module")
def table(setup: Setup) -> Table:
    return setup.tables["place"]


@pytest.fixture
def sae(tmp_path: Path, save_sae: SaveSae) -> Artifact:
    return save_sae(tmp_path, identity(576))


def plain_tokens(subject: Subject, table: Table, base: int, source: int, count: int) -> list[int]:
    """Greedy tokens after a base prompt with the source's residual at its entity, the whole model run for each."""

    def text(row: int) -> Tensor:
        return torch.cat([table.prompts.before, table.prompts.tokens[row, : int(table.prompts.length[row])]])

    def at(row: int) -> int:
        return len(table.prompts.before) + int(table.prompts.entity[row])

    vector = subject.residuals(text(source)[None])[0, at(source)]

    def put(module: object, inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[0, at(base)] = vector
        return output

    tokens = text(base)
    handle = subject.model.base_model.layers[subject.layer].register_forward_hook(put)
    try:
        for _ in range(count):
            tokens = torch.cat([tokens, subject.logits(tokens[None])[0, -1].argmax()[None]])
    finally:
        handle.remove()
    return tokens[-count:].tolist()


def test_no_latent_swapped_changes_nothing(
    table: Table, sae: Artifact, tiny_context: Context, settings: Settings
) -> None:
    swap = Swap(tiny_context.subject, table, sae, settings)
    none = torch.zeros(sae.d_sae, dtype=torch.bool)
    for pairs in table.pairs.values():
        assert swap.accuracies(pairs[:8], none) == (0.0, 1.0)


def test_all_latents_of_a_perfect_sae_patch_the_residual(
    table: Table, sae: Artifact, tiny_context: Context, settings: Settings
) -> None:
    subject = tiny_context.subject
    swap = Swap(subject, table, sae, settings)
    pairs = table.pairs["Country"][:6]
    right: dict[int, list[bool]] = {0: [], 1: []}
    for base, source, is_cause in pairs.tolist():
        token = plain_tokens(subject, table, base, source, 1)
        wanted = table.prompts.labels[source if is_cause else base]
        right[is_cause].append(ravel_prompts.says(wanted, subject.tokenizer.decode(token)))
    assert right[0]
    assert any(right[1]), "patching must move an answer, or the comparison says nothing"
    expected = tuple(sum(right[kind]) / len(right[kind]) for kind in (1, 0))
    assert swap.accuracies(pairs, torch.ones(sae.d_sae, dtype=torch.bool)) == pytest.approx(expected)


def test_added_tokens_keep_the_change(table: Table, tiny_context: Context) -> None:
    subject = tiny_context.subject
    base, source, _ = table.pairs["Language"][0].tolist()
    expected = plain_tokens(subject, table, base, source, 2)
    prompts = table.prompts.take([base, base])
    resid = table.resid[[base, base]].clone()
    resid[torch.arange(2), prompts.entity] = table.resid[source, table.prompts.entity[source]]
    said = subject.tokenizer.decode(expected).split('"')[0].strip(' "')
    first, right = ravel_pairs.completed(
        subject, prompts, resid, [said, f"{said} and no more"], prompts.prefix(subject), count=2
    )
    assert first.tolist() == [expected[0]] * 2
    assert right.tolist() == [True, True], "the beginning of a label counts"
    other = ravel_pairs.completed(subject, prompts, resid, ["x" + said] * 2, prompts.prefix(subject), count=2)[1]
    assert not other.any()


def test_the_mask_follows_the_pairs_it_learns_from(
    table: Table, sae: Artifact, tiny_context: Context, settings: Settings
) -> None:
    swap = Swap(tiny_context.subject, table, sae, settings)
    pairs = table.pairs["Language"]
    cause, isolation = pairs[pairs[:, 2] == 1], pairs[pairs[:, 2] == 0]
    changing, staying = swap.learned(cause), swap.learned(isolation)
    assert swap.accuracies(cause, changing)[0] > swap.accuracies(cause, staying)[0]  # type: ignore[operator]
    assert swap.accuracies(isolation, staying)[1] >= swap.accuracies(isolation, changing)[1]  # type: ignore[operator]


def test_scores_are_means_and_two_calls_agree(
    setup: Setup, tiny_context: Context, settings: Settings, tmp_path: Path, save_sae: SaveSae
) -> None:
    noisy = save_sae(tmp_path, "noisy")
    scores = ravel.score(tiny_context, setup, noisy, settings)
    assert set(scores.metrics) == set(ravel.METRICS)
    rows = scores.details["attributes"]
    assert [row["attribute"] for row in rows] == ["Continent", "Country", "Language"]
    for name, key in (("cause_score", "cause"), ("isolation_score", "isolation")):
        assert scores.metrics[name] == pytest.approx(sum(row[key] for row in rows) / 3)
    mean = (scores.metrics["cause_score"] + scores.metrics["isolation_score"]) / 2
    assert scores.metrics["disentanglement_score"] == pytest.approx(mean)
    assert scores == ravel.score(tiny_context, setup, noisy, settings)


def test_a_bad_reconstruction_costs_isolation_unless_its_error_is_kept(
    table: Table, tiny_context: Context, settings: Settings, tmp_path: Path, save_sae: SaveSae
) -> None:
    silent = save_sae(tmp_path, "silent")
    pairs = table.pairs["Country"][:8]
    none = torch.zeros(silent.d_sae, dtype=torch.bool)
    dropped = Swap(tiny_context.subject, table, silent, settings).accuracies(pairs, none)
    kept = Swap(tiny_context.subject, table, silent, dataclasses.replace(settings, keep_error=True))
    assert kept.accuracies(pairs, none) == (0.0, 1.0)
    assert dropped[1] is not None
    assert dropped[1] < 1


def test_pairs_are_of_known_prompts_with_different_values(table: Table, setup: Setup, settings: Settings) -> None:
    for attribute, pairs in table.pairs.items():
        asked = [(table.prompts.attributes[base], is_cause) for base, _, is_cause in pairs.tolist()]
        assert all((own == attribute) == bool(is_cause) for own, is_cause in asked)
        assert int(pairs[:, 2].sum()) * 2 == len(pairs) == 2 * min(settings.n_pairs, setup.known["place"][attribute])
        for base, source, _ in pairs.tolist():
            assert table.prompts.attributes[base] == table.prompts.attributes[source]
            assert table.prompts.labels[base] != table.prompts.labels[source]


def test_too_few_known_prompts_are_said(tiny_context: Context, settings: Settings, sae: Artifact) -> None:
    few = dataclasses.replace(settings, entities=1)
    setup = ravel.prepare(tiny_context, few)
    assert setup.tables == {}
    assert setup.d_model is None
    scores = ravel.score(tiny_context, setup, sae, few)
    assert scores.metrics == {}
    assert set(scores.details["undefined"]) == set(ravel.METRICS)
    assert "8 prompts that are completed right" in scores.details["undefined"]["cause_score"]
    assert set(scores.details["known_prompts"]["place"]) == {"Continent", "Country", "Language"}


@pytest.mark.parametrize(
    ("label", "completion", "right"),
    [
        ("Italy", " Italy. It", True),
        ("Italy", " It", True),
        ("Italy", " Iran", False),
        ("Italy", ' "', False),
        ("United States", " the United States of", True),
        ("United Kingdom", " England and", True),
        ("South Korea", " Korea", True),
        ("North America", " the continent of North America", True),
        ("Mandarin", " Chinese", True),
        ("French, Dutch", " Dutch and", True),
        ("French, Dutch", " German", False),
    ],
)
def test_a_completion_says_a_label(label: str, completion: str, right: bool) -> None:
    assert ravel_prompts.says(label, completion) is right


def hub_copy(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, object]) -> None:
    """A hub's local copy that holds these files and nothing else, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    data = folder / "datasets--adamkarvonen--ravel_prompts"
    (data / "refs").mkdir(parents=True)
    (data / "refs" / "main").write_text("1" * 40)
    snapshot = data / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    for name, content in files.items():
        (snapshot / name).write_text(json.dumps(content))


def test_the_hubs_prompts_are_read_as_they_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_context: Context
) -> None:
    templates = {"Country": ["%s is in", "no entity", "I like %s"], "Continent": ["Where is %s? In"], "Language": []}
    cities = {
        "Rome": {"Country": "Italy", "Continent": "Europe", "Language": "Italian"},
        "Timbuktu": {"Country": "Mali", "Continent": "", "Language": "French"},
    }
    names = ("attribute_to_prompts", "entity_attributes")
    hub_copy(tmp_path, monkeypatch, {f"ravel_city_{name}.json": rows for name, rows in zip(names, (templates, cities))})
    tokenizer = tiny_context.subject.tokenizer
    prompts = ravel_prompts.from_hub(tiny_context.subject, "city")
    assert not len(prompts.before)
    found = set()
    for row in range(len(prompts)):
        text = tokenizer.decode(prompts.tokens[row, : int(prompts.length[row])])
        assert tokenizer.decode(prompts.tokens[row, : int(prompts.entity[row]) + 1]).endswith(prompts.names[row])
        found.add((text, prompts.attributes[row], prompts.labels[row]))
    assert found == {
        ("Rome is in", "Country", "Italy"),
        ("I like Rome", "Country", "Italy"),
        ("Where is Rome? In", "Continent", "Europe"),
        ("Timbuktu is in", "Country", "Mali"),
        ("I like Timbuktu", "Country", "Mali"),
    }


def test_hub_prompts_are_scored_over_several_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_context: Context, save_sae: SaveSae
) -> None:
    places = {
        **{"Paris": ("France", "Europe"), "Rome": ("Italy", "Europe"), "Berlin": ("Germany", "Europe")},
        **{"Tokyo": ("Japan", "Asia"), "Beijing": ("China", "Asia"), "Mumbai": ("India", "Asia")},
    }
    cities = {name: dict(zip(("Country", "Continent"), known)) for name, known in places.items()}
    wordings = {
        "Country": ["%s is a city in the country of", "The city of %s is in the country of"],
        "Continent": ["%s is a city on the continent of", "The city of %s is on the continent of"],
    }
    files: dict[str, object] = {
        "ravel_city_attribute_to_prompts.json": {**wordings, "Language": []},
        "ravel_city_entity_attributes.json": cities,
        "ravel_nobel_prize_winner_attribute_to_prompts.json": {
            "Gender": ["%s is a"],
            "Field": [],
            "Country of Birth": [],
        },
        "ravel_nobel_prize_winner_entity_attributes.json": {"Marie Curie": {"Gender": "no such value"}},
    }
    hub_copy(tmp_path, monkeypatch, files)
    few = Settings(min_prompts=4, n_pairs=6, num_epochs=1, n_generated_tokens=2)
    setup = ravel.prepare(tiny_context, few)
    assert list(setup.tables) == ["city"]
    assert setup.known["nobel_prize_winner"] == {"Gender": 0}
    scores = ravel.score(tiny_context, setup, save_sae(tmp_path, identity(576)), few)
    assert [row["entities"] for row in scores.details["attributes"]] == ["city", "city"]
    assert set(scores.metrics) == set(ravel.METRICS)


def test_without_a_network_the_hubs_prompts_are_asked_for_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_context: Context
) -> None:
    hub_copy(tmp_path, monkeypatch, {})
    with pytest.raises(LabError, match=r"cannot read the data set adamkarvonen/ravel_prompts: .*network") as caught:
        ravel.prepare(tiny_context, Settings())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "disk"}, "source is 'hub' or 'embedded'"),
        ({"n_pairs": 0}, "n_pairs must be at least 1"),
        ({"train_share": 1.0}, "train_share must be between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tiny_context: Context, settings: Settings, change: dict[str, object], message: str
) -> None:
    with pytest.raises(LabError, match=message):
        ravel.prepare(tiny_context, dataclasses.replace(settings, **change))  # type: ignore[arg-type]
