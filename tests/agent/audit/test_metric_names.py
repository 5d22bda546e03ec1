"""Names of metrics in texts: those of every evaluation of the lab, and of one that the lab does not have."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.audit import Findings, audit, make_document
from agent.audit.evidence import Evidence
from agent.audit.load import load_evidence
from agent.audit.mentions import Reader
from agent.audit.metric_names import MetricNames
from bench.writeup.cases import Bench, unpack
from lab import evals

NEW = {"value": 0.0, "better": "lower", "unit": "", "headline": True}


@pytest.fixture(scope="module")
def reader(recorded: Bench) -> Reader:
    return Reader(recorded.evidence)


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A campaign whose runs are far worse than their baselines in evaluations that were added to it.

    Two are the lab's, as results have them that were written before metrics had names; one the lab has never heard of.
    """
    folder = unpack(Path(tmp_path_factory.mktemp("worse")) / "campaign")
    for path in folder.glob("run_*/**/results.json"):
        results = json.loads(path.read_text())
        value = 0.30 + 0.001 * int(path.parent.name[-1]) if "seed" in path.parent.name else 0.60
        for evaluation, metric, named in (
            ("meta_structure", "decoder_fraction_variance_explained", {}),
            ("mdl", "description_length", {}),
            ("crowding", "mean_angle", {"names": ["crowding of directions", "crowd … together"]}),
        ):
            entry: dict[str, Any] = json.loads(json.dumps(results["entries"]["core"]))
            entry["metrics"] = {metric: {**NEW, "value": value, **named}}
            results["entries"][evaluation] = entry
        path.write_text(json.dumps(results))
    return load_evidence(folder)


def said_of(evidence: Evidence, text: str) -> Findings:
    return audit(make_document(f"{text}\n", "md", evidence.folder / "notes.md"), evidence, {}, whole=False)


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("the CE loss recovered", "core.ce_loss_score"),
        ("an increase in the cross-entropy", "core.delta_ce"),
        ("the mean KL divergence", "core.kl_div_with_sae"),
        ("KL divergence scores", "core.kl_div_score"),
        ("the fraction of the variance explained", "core.explained_variance"),
        ("it explained 80% of the variance", "core.explained_variance"),
        ("FVU", "core.fraction_variance_unexplained"),
        ("mean-squared error", "core.mse"),
        ("the ratio of the norms", "core.l2_ratio"),
        ("L_0", "core.l0"),
        ("a smaller share of dense latents", "core.freq_over_10_percent"),
        ("maximum decoder cosine similarity", "core.average_max_decoder_cosine_sim"),
        ("the mean absorption fraction score", "absorption.mean_absorption_fraction_score"),
        ("full-absorption rate", "absorption.mean_full_absorption_score"),
        ("the probe's F1", "absorption.mean_letter_f1"),
        ("k=5 sparse probing accuracy", "sparse_probing.sae_top_5_test_accuracy"),
        ("probing accuracy", "sparse_probing.sae_top_1_test_accuracy"),
        ("SCR@20", "scr.scr_metric_threshold_20"),
        ("spurious correlation removal score at 50 latents", "scr.scr_metric_threshold_50"),
        ("TPP with 10 latents", "tpp.tpp_threshold_10_total_metric"),
        ("unlearning scores", "unlearning.unlearning_score"),
        ("RAVEL disentanglement score", "ravel.disentanglement_score"),
        ("the isolation score", "ravel.isolation_score"),
        ("the meta-structure score", "meta_structure.decoder_fraction_variance_explained"),
        ("the meta-SAE explains 30% of the decoder", "meta_structure.decoder_fraction_variance_explained"),
        ("minimum description length", "mdl.description_length"),
        ("auto-interpretability score", "autointerp.autointerp_score"),
        ("the training time", "training.seconds"),
    ],
)
def test_a_metric_is_known_by_the_names_that_papers_give_it(reader: Reader, text: str, metric: str) -> None:
    (mention,) = reader.metrics(text)
    assert mention.names[0] == metric


@pytest.mark.parametrize("name", evals.metrics())
def test_every_metric_is_known_by_its_own_name(reader: Reader, name: str) -> None:
    for text in (name, name.partition(".")[2].replace("_", " ")):
        (mention,) = reader.metrics(f"the {text} of run_1")
        assert name in mention.names


def test_every_metric_that_tables_show_has_another_name() -> None:
    shown = {name: metric for name, metric in evals.metrics().items() if metric.headline}
    assert {name.partition(".")[0] for name in shown} == set(evals.TABLE)
    assert not [name for name, metric in shown.items() if not metric.names]


@pytest.mark.parametrize(
    "claim",
    [
        "run_1 has a better meta-structure score than topk.",
        "run_1 improves the meta-structure score over topk.",
        "The meta-SAE explains less of the decoder of run_1 than of topk.",
        "run_1 has a better description length than topk.",
        "run_1 reduces the MDL of topk.",
        "run_1 improves the crowding of directions over topk.",
        "run_1 lowers the mean angle.",
        "The latents of run_1 crowd less together than those of topk.",
    ],
)
def test_a_claim_about_any_evaluation_needs_its_verdict(worse: Evidence, claim: str) -> None:
    (item,) = said_of(worse, claim).claims
    assert "beside topk is worse" in item.reason


@pytest.mark.parametrize(
    "claim",
    ["run_1 worsens the meta-structure score.", "run_1 has a worse crowding of directions than topk."],
)
def test_a_claim_that_the_verdict_bears_out_stands(worse: Evidence, claim: str) -> None:
    assert said_of(worse, claim).clean


def test_a_number_is_tied_to_the_metric_by_any_of_its_names(worse: Evidence) -> None:
    assert said_of(worse, "The crowding of directions of run_1 is 0.600, its description length 0.600.").clean
    (item,) = said_of(worse, "The crowding of directions of run_1 is 0.300.").unsupported
    assert "crowding.mean_angle" in item.reason


def test_of_several_metrics_with_one_name_all_are_meant_and_the_longest_name_counts() -> None:
    names = MetricNames({"a.rate": ("spread",), "b.width": ("spread", "wide spread")})
    longest = max(names.find("the wide spread scores"), key=lambda found: found[1] - found[0])
    assert longest == (4, 22, ("b.width",))
    assert ("a.rate", "b.width") in {metrics for _, _, metrics in names.find("a mean spread")}
