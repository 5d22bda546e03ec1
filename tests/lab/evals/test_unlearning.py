"""Unlearning on the real small model: against the whole model run with the clamped stream, and its rules alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lab.artifact import Artifact
from lab.errors import LabError
from lab.evals import questions, unlearning, unlearning_sets
from lab.evals.base import Context
from lab.evals.questions import Exam
from lab.evals.unlearning import Settings, top_latents, unlearned
from lab.evals.unlearning_sets import Setup
from lab.subject import Subject
from tests.lab.conftest import ReluSae, SaveSae, identity

QUICK = Settings(
    source="embedded",
    permutations=2,
    texts=12,
    asked=10,
    batch_size=16,
    skip_outliers=True,
    retain_thresholds=(0.02, 0.5),
    n_features=(100,),
    multipliers=(60.0,),
)


@pytest.fixture(scope="module")
def setup(tiny_context: Context) -> Setup:
    return unlearning.prepare(tiny_context, QUICK)


@pytest.fixture
def sae(tmp_path: Path, save_sae: SaveSae) -> Artifact:
    return save_sae(tmp_path, identity(576))


def whole_model_answer(subject: Subject, exam: Exam, row: int, changed: Tensor) -> int:
    """The option the model takes for one question, all of it run at once with `changed` [length, d_model] put in."""
    length = int(exam.length[row])
    tokens = torch.cat([exam.before, exam.tokens[row, :length]])[None]

    def put(module: object, inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[0, -length:] = changed
        return output

    handle = subject.model.base_model.layers[subject.layer].register_forward_hook(put)
    try:
        logits = subject.logits(tokens)[0, -1]
    finally:
        handle.remove()
    return int(logits[exam.options].amax(-1).argmax())


def test_accuracies_are_those_of_the_whole_model_with_clamped_latents(
    setup: Setup, sae: Artifact, tiny_context: Context
) -> None:
    scores = unlearning.score(tiny_context, setup, sae, QUICK)
    forget, retain = (
        torch.stack([sae.encode(row[None])[0] > 0 for row in text]).double().mean(0)
        for text in (setup.forget_text, setup.retain_text)
    )
    rows = {row["retain_threshold"]: row for row in scores.details["settings"]}
    order = sorted(range(sae.d_sae), key=lambda i: (-float(forget[i]), i))
    latents = [i for i in order if float(retain[i]) < 0.5 and float(forget[i]) > 0][:100]
    right: list[bool] = []
    for part in setup.parts:
        for row in range(0, len(part.exam), 4):
            length = int(part.exam.length[row])
            resid = part.resid[row, :length].clone()
            for place in range(length):
                if part.touched[row, place]:
                    acts = sae.encode(resid[place][None])
                    error = resid[place] - sae.decode(acts)[0]
                    clamped = acts.clone()
                    for latent in latents:
                        if acts[0, latent] > 0:
                            clamped[0, latent] = -60.0
                    resid[place] = sae.decode(clamped)[0] + error
            answer = whole_model_answer(tiny_context.subject, part.exam, row, resid)
            right.append(answer == int(part.exam.answer[row]))
    run = unlearning._Clamped(setup, sae, QUICK)
    found = [run._right(index, tuple(latents), 60.0)[::4] for index in range(len(setup.parts))]
    assert torch.cat(found).tolist() == right
    assert rows[0.5]["forget_accuracy"] < 1, "strong clamping must break answers, or the comparison says nothing"
    assert scores.metrics == {"unlearning_embedded_score": unlearned(rows.values(), QUICK.min_retained)}
    assert set(scores.metrics) | set(scores.details["undefined"]) == set(unlearning.METRICS)
    assert scores == unlearning.score(tiny_context, setup, sae, QUICK)


def test_the_score_is_the_largest_loss_that_keeps_the_rest() -> None:
    rows = [
        {"forget_accuracy": 1.0, "retain_accuracy": 1.0},
        {"forget_accuracy": 0.7, "retain_accuracy": 0.99},
        {"forget_accuracy": 0.1, "retain_accuracy": 0.98},
    ]
    assert unlearned(rows, 0.99) == pytest.approx(0.3)
    assert unlearned(rows, 0.5) == pytest.approx(0.9)
    assert unlearned(rows[2:], 0.99) == 0.0


def test_an_sae_that_is_silent_unlearns_nothing(
    setup: Setup, tiny_context: Context, tmp_path: Path, save_sae: SaveSae
) -> None:
    scores = unlearning.score(tiny_context, setup, save_sae(tmp_path, "silent"), QUICK)
    assert scores.metrics == {"unlearning_embedded_score": 0.0}
    assert {row["latents"] for row in scores.details["settings"]} == {0}


def test_a_latent_for_one_country_unlearns_that_country(
    setup: Setup, tiny_context: Context, tmp_path: Path, save_sae: SaveSae
) -> None:
    """The best linear direction between the texts, as the one latent that fires on the forget text."""
    forget, retain = setup.forget_text, setup.retain_text
    sample = torch.cat([forget, retain])
    centre = sample.mean(0)
    covariance = (sample - centre).T @ (sample - centre) / len(sample) + 10 * torch.eye(576)
    direction = torch.linalg.solve(covariance, forget.mean(0) - retain.mean(0))
    limit = float(((retain - centre) @ direction).quantile(0.98))
    module = ReluSae(
        torch.stack([forget.mean(0) - retain.mean(0), -forget.mean(0)]),
        W_enc=torch.stack([direction, torch.zeros(576)], dim=1),
    )
    module.b_enc.data = torch.tensor([-limit - float(centre @ direction), -1.0])
    settings = dataclasses.replace(QUICK, min_retained=0.0, multipliers=(400.0,))
    scores = unlearning.score(tiny_context, setup, save_sae(tmp_path, module), settings)
    worst = min(scores.details["settings"], key=lambda row: row["forget_accuracy"])
    assert worst["forget_accuracy"] < worst["retain_accuracy"]


def test_kept_questions_are_answered_right_by_the_untouched_model(setup: Setup, tiny_context: Context) -> None:
    for part in setup.parts:
        for row in range(0, len(part.exam), 6):
            clean = part.resid[row, : int(part.exam.length[row])]
            assert whole_model_answer(tiny_context.subject, part.exam, row, clean) == int(part.exam.answer[row])


def test_top_latents_are_ranked_and_bounded() -> None:
    forget = torch.tensor([0.5, 0.9, 0.0, 0.2, 0.9])
    retain = torch.tensor([0.0, 0.01, 0.0, 0.0, 0.5])
    assert top_latents(forget, retain, 0.01).tolist() == [0, 3]
    assert top_latents(forget, retain, 0.02).tolist() == [1, 0, 3]
    assert top_latents(forget, retain, 1.0).tolist() == [1, 4, 0, 3]


def test_a_question_of_four_options_follows_its_permutation(tiny_subject: Subject) -> None:
    rows = [{"question": "Which is a fruit?", "choices": ["stone", "apple", "cloud", "salt"], "answer": 1}]
    orders = questions.orders(24)
    assert len(set(orders)) == 24
    assert orders[0] == (0, 1, 2, 3)
    template = tiny_subject.tokenizer.chat_template
    tiny_subject.tokenizer.chat_template = "{% for m in messages %}<user>{{ m.content }}</user>\n{% endfor %}"
    try:
        for order in orders[::7]:
            exam = questions.letters(tiny_subject, rows, "plants", order, group=3)
            text = tiny_subject.tokenizer.decode(exam.tokens[0, : int(exam.length[0])])
            right = "ABCD"[int(exam.answer[0])]
            assert f"\n{right}. apple" in text
            assert text.startswith("<user>The following are multiple choice questions (with answers) about plants.\n")
            assert text.endswith("Answer: (")
            assert exam.options.shape == (4, 2)
    finally:
        tiny_subject.tokenizer.chat_template = template


def test_texts_are_joined_and_cut_into_blocks_whose_plain_tokens_count(tiny_subject: Subject) -> None:
    texts = [f"Text number {index} tells of the sea and of ships that cross it." for index in range(30)]
    settings = Settings(dataset_size=3, seq_len=16, batch_size=8)
    found = unlearning_sets._blocks(tiny_subject, [*texts, "too short to count"], settings)
    assert found.shape[1] == 576
    assert 3 * 16 - 6 <= len(found) < 3 * 16, "each text ends with a special token, which does not count"
    assert torch.equal(found, unlearning_sets._blocks(tiny_subject, [*texts, "too short to count"], settings))
    with pytest.raises(LabError, match="shorter than seq_len 4096"):
        unlearning_sets._blocks(tiny_subject, texts, dataclasses.replace(settings, seq_len=4096))


def test_a_model_that_knows_too_little_is_told_so(setup: Setup) -> None:
    few = Setup(setup.ctx, setup.forget_text, setup.retain_text, setup.parts[1:], setup.groups, setup.forget)
    with pytest.raises(LabError, match="it answers 0 questions on United_States right"):
        unlearning_sets._checked(few)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "elsewhere"}, "'hub' or 'embedded'"),
        ({"forget": "Atlantis"}, "none of Australia"),
        ({"permutations": 0}, "at least 1"),
    ],
)
def test_senseless_settings_are_errors(tiny_context: Context, change: dict[str, object], message: str) -> None:
    with pytest.raises(LabError, match=message):
        unlearning.prepare(tiny_context, dataclasses.replace(QUICK, **change))  # type: ignore[arg-type]


def test_the_hub_without_a_network_is_one_clear_line(
    tiny_context: Context, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LabError, match=r"cannot read the data set cais/wmdp: .*HF_TOKEN") as caught:
        questions.read_rows("cais/wmdp", "wmdp-bio", "test")
    assert "\n" not in str(caught.value)
