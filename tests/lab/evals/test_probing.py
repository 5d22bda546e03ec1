"""Sparse probing, SCR and TPP on the real model, against plain loops that encode every text anew for every question."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from lab import labelled
from lab.artifact import Artifact
from lab.errors import LabError
from lab.evals import ablation, pooled, scr, sparse_probing, tpp
from lab.evals.base import Context, Scores, read_settings
from lab.evals.pooled import Wanted
from lab.evals.tasks import Tasks, Training, one_vs_rest, train_probes
from lab.settings import Profile
from lab.subject import Subject
from tests.lab.conftest import ReluSae, SaveSae

CONTEXT = 32
CLOSE = {"rtol": 1e-4, "atol": 1e-3}
EVALUATIONS = {"sparse_probing": sparse_probing, "scr": scr, "tpp": tpp}


def settings_of(profile: Profile, name: str, **changes: Any) -> Any:
    found = read_settings(EVALUATIONS[name], name, profile.evals[name])  # type: ignore[arg-type]
    return dataclasses.replace(found, **{"skip_outliers": False, **changes})


def dense_sae(seed: int = 0, width: int = 90) -> ReluSae:
    """Latents fire on zeros too, so that padding counts."""
    generator = torch.Generator().manual_seed(seed)
    sae = ReluSae(torch.randn(width, 576, generator=generator), b_enc=-1.0)
    sae.b_enc.data[: width // 2] = 0.3
    sae.b_dec.data = torch.randn(576, generator=generator) * 0.3
    return sae


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    from lab.artifact import save

    acts = torch.randn(64, 576, generator=torch.Generator().manual_seed(1)) * 5
    folder = tmp_path_factory.mktemp("sae") / "sae"
    return save(folder, dense_sae(), input_scale=1.0, meta={"architecture": "relu"}, sample_acts=acts)


@dataclass(frozen=True)
class Plain:
    """Texts of a set, each run alone: residuals [CONTEXT, 576], zero where nothing counts, and the places that do."""

    x: list[Tensor]
    mask: list[Tensor]
    sae: Artifact

    @classmethod
    def of(cls, subject: Subject, texts: list[str], sae: Artifact) -> Plain:
        x, mask = [], []
        for text in texts:
            ids = torch.tensor([subject.tokenizer(text)["input_ids"][:CONTEXT]])
            counts = torch.zeros(CONTEXT, dtype=torch.bool)
            counts[: ids.shape[1]] = ~torch.isin(ids[0], subject.special_ids)
            resid = torch.zeros(CONTEXT, 576)
            resid[: ids.shape[1]] = subject.residuals(ids)[0].float()
            x.append(resid * counts[:, None])
            mask.append(counts)
        return cls(x, mask, sae)

    def mean_residual(self, row: int) -> Tensor:
        return self.x[row].sum(0) / self.mask[row].sum()

    def mean_latents(self, row: int) -> Tensor:
        return self.sae.encode(self.x[row][self.mask[row]]).mean(0)

    def ablated(self, row: int, latents: list[int]) -> Tensor:
        f = self.sae.encode(self.x[row])
        error = self.x[row] - self.sae.decode(f)
        f[:, latents] = 0
        return (self.sae.decode(f) + error).sum(0) / self.mask[row].sum()


PlainOf = Callable[[pooled.Pooled], Plain]


@pytest.fixture(scope="module")
def plain_of(tiny_subject: Subject, sae: Artifact) -> PlainOf:
    """The same texts in the same rows, found by reading the set again; those of one set once."""
    kept: dict[Wanted, Plain] = {}

    def of(found: pooled.Pooled) -> Plain:
        if found.wanted not in kept:
            kept[found.wanted] = read_again(tiny_subject, found, sae)
        return kept[found.wanted]

    return of


def read_again(subject: Subject, found: pooled.Pooled, sae: Artifact) -> Plain:
    wanted = found.wanted
    data = labelled.load(
        wanted.name,
        train_size=wanted.train_size,
        test_size=wanted.test_size,
        seed=wanted.seed,
        classes=wanted.classes,
    )
    texts = [""] * len(found.count)
    for label, train, test in zip(found.classes, found.train, found.test):
        for rows, split in ((train, data.train), (test, data.test)):
            assert len(rows) == len(split[label]) // (2 if label in wanted.halved else 1)
            for row, text in zip(rows.tolist(), split[label]):
                texts[row] = text
    assert len(set(texts)) == len(texts)
    return Plain.of(subject, texts, sae)


def right(plain: Plain, rows: Tensor, weight: Tensor, bias: Tensor, latents: list[int]) -> float:
    """Accuracy of one probe, text by text; the first half of the rows is positive."""
    said = [float(plain.ablated(row, latents) @ weight + bias) > 0 for row in rows.tolist()]
    return sum(answer == (place < len(rows) // 2) for place, answer in enumerate(said)) / len(rows)


def plain_effect(plain: Plain, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    half = len(rows) // 2
    sides = [torch.stack([plain.mean_latents(row) for row in part.tolist()]) for part in (rows[:half], rows[half:])]
    return sides[0].mean(0) - sides[1].mean(0), plain.sae.W_dec @ weight


def test_sparse_probing_is_what_sklearn_finds_on_means(
    tiny_context: Context, tiny_profile: Profile, sae: Artifact, plain_of: PlainOf
) -> None:
    from sklearn.linear_model import LogisticRegression

    settings = settings_of(tiny_profile, "sparse_probing", sets=("sae-probes:97_news_class",))
    setup = sparse_probing.prepare(tiny_context, settings)
    scores = sparse_probing.score(tiny_context, setup, sae, settings)
    found, tasks = setup.sets[0], setup.tasks[0]
    plain = plain_of(found)
    rows = range(len(plain.x))
    inputs = {"llm": found.mean, "sae": pooled.latents(tiny_context, found, sae).mean}
    torch.testing.assert_close(inputs["llm"], torch.stack([plain.mean_residual(row) for row in rows]), **CLOSE)
    torch.testing.assert_close(inputs["sae"], torch.stack([plain.mean_latents(row) for row in rows]), **CLOSE)
    for who, x in inputs.items():
        for k in (1, 2, 5):
            accuracies = []
            for train, test in zip(tasks.train, tasks.test):
                y_train, y_test = ([1] * (len(r) // 2) + [0] * (len(r) // 2) for r in (train, test))
                half = len(train) // 2
                best = (x[train[:half]].mean(0) - x[train[half:]].mean(0)).abs().argsort(descending=True)[:k]
                probe = LogisticRegression(max_iter=1000).fit(x[train][:, best].numpy(), y_train)
                accuracies.append(probe.score(x[test][:, best].numpy(), y_test))
            expected = sum(accuracies) / len(accuracies)
            assert scores.metrics[f"{who}_top_{k}_test_accuracy"] == pytest.approx(expected), (who, k)
    assert scores.metrics["sae_test_accuracy"] > 0.6
    assert scores.metrics["llm_test_accuracy"] > 0.65
    assert set(scores.metrics) == {
        name for name in sparse_probing.METRICS if "top" not in name or int(name.split("_")[2]) in (1, 2, 5)
    }


def test_tpp_is_what_ablating_text_by_text_gives(
    tiny_context: Context, tiny_profile: Profile, sae: Artifact, plain_of: PlainOf
) -> None:
    settings = settings_of(tiny_profile, "tpp", n_values=(2, 20, 500))
    setup = tpp.prepare(tiny_context, settings)
    scores = tpp.score(tiny_context, setup, sae, settings)
    trained = setup.sets[0]
    plain, tasks, probe = plain_of(trained.pooled), trained.tasks, trained.probe
    probes = list(zip(probe.weight, probe.bias))
    clean = [right(plain, rows, *probes[j], []) for j, rows in enumerate(tasks.test)]
    for n in (2, 20):
        totals, intended_falls = [], []
        for i in range(len(probes)):
            rise, along = plain_effect(plain, tasks.train[i], probes[i][0])
            effect = rise.clamp(min=0) * along
            most = min(n, int((effect > 0).sum()))
            chosen = effect.argsort(descending=True)[:most].tolist()
            falls = [clean[j] - right(plain, rows, *probes[j], chosen) for j, rows in enumerate(tasks.test)]
            others = [fall for j, fall in enumerate(falls) if j != i]
            totals.append(falls[i] - sum(others) / len(others))
            intended_falls.append(falls[i])
        mean = sum(totals) / len(totals)
        assert scores.metrics[f"tpp_threshold_{n}_total_metric"] == pytest.approx(mean, abs=1e-9)
        intended = scores.metrics[f"tpp_threshold_{n}_intended_diff_only"]
        assert intended == pytest.approx(sum(intended_falls) / len(intended_falls), abs=1e-9)
        unintended = scores.metrics[f"tpp_threshold_{n}_unintended_diff_only"]
        assert intended - unintended == pytest.approx(mean, abs=1e-9)
    assert scores.metrics["tpp_threshold_20_total_metric"] != 0
    assert scores.details["undefined"]["tpp_threshold_500_total_metric"] == "the SAE has 90 latents"


def test_scr_is_what_ablating_text_by_text_gives(
    tiny_context: Context, tiny_profile: Profile, sae: Artifact, plain_of: PlainOf
) -> None:
    settings = settings_of(tiny_profile, "scr", n_values=(20,))
    setup = scr.prepare(tiny_context, settings)
    scores = scr.score(tiny_context, setup, sae, settings)
    trained = setup.sets[0]
    plain, tasks, probe = plain_of(trained.pooled), trained.tasks, trained.probe
    probes = list(zip(probe.weight, probe.bias))
    before = [right(plain, rows, *probes[2], []) for rows in tasks.test[:2]]
    for n in (20,):
        gains = {}
        for direction, spurious, wanted in ((1, 0, 1), (2, 1, 0)):
            difference, along = plain_effect(plain, tasks.train[spurious], probes[spurious][0])
            chosen = (difference * along).abs().argsort(descending=True)[:n].tolist()
            clean = right(plain, tasks.test[wanted], *probes[wanted], [])
            changed = right(plain, tasks.test[wanted], *probes[2], chosen)
            room = clean - before[wanted]
            gains[direction] = (changed - before[wanted]) / room if room >= 0.001 else 0.0
            found = scores.metrics[f"scr_dir{direction}_threshold_{n}"]
            assert found == pytest.approx(gains[direction], abs=1e-9)
        assert before[0] != before[1]
        expected = gains[1] if before[1] < before[0] else gains[2]
        assert scores.metrics[f"scr_metric_threshold_{n}"] == pytest.approx(expected, abs=1e-9)


def test_the_confounded_task_holds_only_the_diagonal(tiny_context: Context, tiny_profile: Profile) -> None:
    setup = scr.prepare(tiny_context, settings_of(tiny_profile, "scr"))
    trained = setup.sets[0]
    ac, ad, bc, bd = (set(rows.tolist()) for rows in trained.pooled.train)
    second, first, both = (set(rows[: len(rows) // 2].tolist()) for rows in trained.tasks.train)
    assert len(second & ac) == len(second & bc) == len(second) // 2
    assert len(first & ac) == len(first & ad) == len(first) // 2
    assert both <= ac
    assert len(ad) == len(bc) == len(ac) // 2 == len(bd) // 2


def everything(ctx: Context, profile: Profile, sae: Artifact) -> dict[str, Scores]:
    found = {}
    for name, module in EVALUATIONS.items():
        settings = settings_of(profile, name)
        found[name] = module.score(ctx, module.prepare(ctx, settings), sae, settings)
    return found


def test_two_calls_agree(tiny_context: Context, tiny_profile: Profile, sae: Artifact) -> None:
    again = Context(tiny_profile, "cpu")
    first = everything(tiny_context, tiny_profile, sae)
    assert first == everything(again, tiny_profile, sae)
    assert "subject" not in vars(again), "set-up came from the cache, so no model was loaded"
    for name, scores in first.items():
        assert scores.metrics
        assert set(scores.metrics) <= set(EVALUATIONS[name].METRICS)


def test_a_dead_latent_and_the_order_of_latents_change_nothing(
    tiny_context: Context, tiny_profile: Profile, sae: Artifact, save_sae: SaveSae, tmp_path: Path
) -> None:
    expected = everything(tiny_context, tiny_profile, sae)
    base = dense_sae()
    wide = ReluSae(torch.cat([base.W_dec.detach(), torch.eye(576)[:1]]))
    wide.W_enc.data = torch.cat([base.W_enc.detach(), torch.zeros(576, 1)], dim=1)
    wide.b_enc.data = torch.cat([base.b_enc.detach(), torch.tensor([-1.0])])
    wide.b_dec.data = base.b_dec.data
    turned = dense_sae()
    order = torch.randperm(90, generator=torch.Generator().manual_seed(7))
    turned.W_dec.data, turned.W_enc.data = base.W_dec.data[order], base.W_enc.data[:, order].contiguous()
    turned.b_enc.data = base.b_enc.data[order]
    for which, module in (("dead", wide), ("turned", turned)):
        found = everything(tiny_context, tiny_profile, save_sae(tmp_path / which, module))
        for name, scores in expected.items():
            # The probe on all latents draws its first weights in their order.
            accuracy = {key: abs(found[name].metrics[key] - value) for key, value in scores.metrics.items()}
            assert accuracy.pop("sae_test_accuracy", 0.0) < 0.05, (which, name)
            assert max(accuracy.values()) < 1e-6, (which, name)


def test_texts_are_run_and_encoded_once_for_all(
    tiny_context: Context, tiny_profile: Profile, sae: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    probing = sparse_probing.prepare(tiny_context, settings_of(tiny_profile, "sparse_probing"))
    perturbing = tpp.prepare(tiny_context, settings_of(tiny_profile, "tpp"))
    assert probing.sets[0].wanted == perturbing.sets[0].pooled.wanted
    first = pooled.latents(tiny_context, probing.sets[0], sae)
    assert pooled.latents(tiny_context, perturbing.sets[0].pooled, sae) is first
    direct = sae.encode(probing.sets[0].resid[: int(first.count[0])]).sum(0)
    torch.testing.assert_close(first.total[0], direct)
    monkeypatch.setattr("lab.evals.pooled._LATENTS", {"cpu": 1000})
    parts = pooled.latents(Context(tiny_profile, "cpu"), probing.sets[0], sae)
    torch.testing.assert_close(parts.total, first.total)


def test_outliers_are_left_out_where_that_is_asked(tiny_context: Context, tiny_profile: Profile) -> None:
    kept, left = (
        sparse_probing.prepare(tiny_context, settings_of(tiny_profile, "sparse_probing", skip_outliers=skip)).sets[0]
        for skip in (False, True)
    )
    assert int((kept.count - left.count).min()) >= 1, "position 0 of every text"
    norms = left.resid.float().norm(dim=1)
    assert norms.max() < 6 * norms.median() < kept.resid.float().norm(dim=1).max()


@pytest.mark.parametrize("l1", [0.0, 0.01])
def test_probes_trained_together_are_those_of_torchs_adamw(l1: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 7, generator=generator)
    rows = torch.stack([torch.randperm(60, generator=generator)[:40] for _ in range(3)])
    tasks = Tasks(("a", "b", "c"), rows[:, :30], rows[:, 30:])
    how = Training(batch_size=8, epochs=6, lr=0.05, l1=l1, patience=2)
    probe, accuracies = train_probes(x, tasks, how, seed=5)
    order = torch.Generator().manual_seed(5)
    start = (torch.rand(3, 8, generator=order) * 2 - 1) / 7**0.5
    epochs = [[torch.randperm(30, generator=order) for _ in range(3)] for _ in range(6)]
    for task in range(3):
        weight, bias = start[task, :7].clone().requires_grad_(), start[task, 7:].clone().requires_grad_()
        adam = torch.optim.AdamW([weight, bias], lr=0.05)
        best, waited, kept = 0.0, 0, None
        for epoch in range(6):
            for batch in epochs[epoch][task].split(8):
                logits = x[tasks.train[task][batch]] @ weight + bias
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, (batch < 15).float())
                adam.zero_grad()
                (loss + l1 * weight.abs().sum()).backward()
                adam.step()
            said = (x[tasks.test[task]] @ weight + bias > 0) == (torch.arange(10) < 5)
            found = said.float().mean().item()
            if found > best:
                best, waited, kept = found, 0, weight.detach().clone()
            else:
                waited += 1
            if waited >= 2:
                break
        assert kept is not None
        assert accuracies[task].item() == pytest.approx(best)
        torch.testing.assert_close(probe.weight[task], kept, atol=1e-5, rtol=1e-4)


def test_negatives_come_equally_from_the_other_classes(tiny_context: Context, tiny_profile: Profile) -> None:
    setup = sparse_probing.prepare(tiny_context, settings_of(tiny_profile, "sparse_probing"))
    found = setup.sets[0]
    tasks = one_vs_rest(found, 42)
    assert torch.equal(tasks.train, setup.tasks[0].train)
    assert not torch.equal(tasks.train, one_vs_rest(found, 43).train)
    half = tasks.train.shape[1] // 2
    for index, rows in enumerate(tasks.train):
        assert set(rows[:half].tolist()) == set(found.train[index].tolist())
        counts = [int(torch.isin(rows[half:], other).sum()) for other in found.train]
        assert counts[index] == 0
        assert sum(counts) == half
        assert max(counts) <= -(-half // 3)


def write_set(folder: Path, labels: list[str], texts: list[str]) -> str:
    for split, part in (("train", texts[:20]), ("test", texts[20:])):
        lines = [json.dumps({"text": text, "label": label}) for label in labels for text in part]
        (folder / f"made.{split}.jsonl").write_text("\n".join(lines))
    return f"folder:{folder}/made"


WORDS = [f"The number {i} is written here" for i in range(35)]


def test_what_is_undefined_is_left_out_and_named(
    tiny_context: Context, tiny_profile: Profile, sae: Artifact, tmp_path: Path, empty_cache: Path
) -> None:
    """The same texts under every label: each probe is right on half of them, so no direction is the worse one."""
    name = write_set(tmp_path, ["a / c", "a / d", "b / c", "b / d"], WORDS)
    settings = settings_of(tiny_profile, "scr", pairs=(f"{name}: a / b, c / d",), n_values=(2, 100))
    scores = scr.score(tiny_context, scr.prepare(tiny_context, settings), sae, settings)
    assert scores.metrics == {"scr_dir1_threshold_2": 0.0, "scr_dir2_threshold_2": 0.0}
    assert scores.details["undefined"] == {
        "scr_metric_threshold_2": "the biased probe is as good in both directions, in every pair",
        **{f"scr_{kind}_threshold_100": "the SAE has 90 latents" for kind in ("dir1", "metric", "dir2")},
    }


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (sparse_probing, {"k_values": (3,)}, "sparse_probing.k_values: 3 is none of 1, 2, 5, 10"),
        (sparse_probing, {"patience": 0}, "patience must be at least 1"),
        (sparse_probing, {"context_length": 0}, "context_length must be at least 1"),
        (sparse_probing, {"sets": ("sae-probes:no_set",)}, "has no set 'no_set'"),
        (tpp, {"n_values": (3,)}, "tpp.n_values: 3 is none of 2, 5, 10"),
        (tpp, {"probe_epochs": 0}, "evals.tpp: probe_batch_size and probe_epochs must be at least 1"),
        (scr, {"pairs": ("sae-probes:reviews: yelp, positive",)}, "must read 'SET: a / b, c / d'"),
        (scr, {"pairs": ("sae-probes:reviews: yelp / bbc, positive / negative",)}, "has no class 'bbc / positive'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line(
    tiny_context: Context, tiny_profile: Profile, module: ModuleType, changes: dict[str, Any], message: str
) -> None:
    settings = settings_of(tiny_profile, module.__name__.rpartition(".")[2], **changes)
    with pytest.raises(LabError, match=message) as error:
        module.prepare(tiny_context, settings)
    assert "\n" not in str(error.value)


def test_one_class_and_texts_without_tokens_are_one_line(
    tiny_context: Context, tiny_profile: Profile, tmp_path: Path, empty_cache: Path
) -> None:
    one = settings_of(tiny_profile, "sparse_probing", sets=(write_set(tmp_path, ["only"], WORDS),))
    with pytest.raises(LabError, match="has one class"):
        sparse_probing.prepare(tiny_context, one)
    blank = write_set(tmp_path, ["a", "b"], ["<|im_end|>"] * 35)
    with pytest.raises(LabError, match="no text has a token that counts"):
        sparse_probing.prepare(tiny_context, dataclasses.replace(one, sets=(blank,)))
    mixed = write_set(tmp_path, ["a", "b"], ["a", *WORDS[1:]])
    found = pooled.prepare(tiny_context, Wanted(mixed, 40, 30, 42, CONTEXT, True))
    assert [len(rows) for rows in found.train] == [19, 19], "a text of one token has only position 0, which is left out"


def test_latents_without_an_effect_are_not_taken_away() -> None:
    assert ablation.strongest(torch.tensor([0.0, 3.0, -5.0, 1.0, 2.0]), 5).tolist() == [1, 4, 3]
    assert ablation.strongest(torch.zeros(5), 3).tolist() == []
