"""What a model says of its runs before the loop writes it down, and what a text cannot take from the notes."""

from pathlib import Path

import pytest

from agent.audit import audit, make_document
from agent.audit.evidence import gather
from agent.audit.said import faults_of_analysis, faults_of_captions, faults_of_expectation, without_claims
from agent.campaign.events import Edited, Plotted
from agent.campaign.ledger import Ledger
from agent.campaign.record import Record
from bench.writeup.cases import Bench, unpack

FALSE = "Run 2 improves explained variance over TopK by twelve percent and removes absorption altogether."


@pytest.mark.parametrize(
    "text",
    [
        "Explained variance is {run_2:core.explained_variance}, beside {topk:core.explained_variance}.",
        "It falls by {topk:core.explained_variance - run_2:core.explained_variance}.",
        "Run 2 changes explained variance by {percent(run_2:core.explained_variance, topk:core.explained_variance)}%.",
        "Nothing on absorption leaves the noise; next would be a weight of 0.5 with another seed.",
        "With ten times the weight the penalty competes with the reconstruction, which was expected.",
    ],
)
def test_an_honest_analysis_is_taken(recorded: Bench, text: str) -> None:
    assert faults_of_analysis(text, recorded.evidence, about=2) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Explained variance is 0.7379.", "{run_2:core.explained_variance}"),
        ("It improves explained variance.", "is worse"),
        ("Run 2 reduces absorption.", "within noise"),
        ("Explained variance is {0 * run_2:core.explained_variance}.", "move the value"),
        (FALSE, "improves"),
    ],
)
def test_an_analysis_that_goes_beyond_the_results_is_not(recorded: Bench, text: str, said: str) -> None:
    found = faults_of_analysis(text, recorded.evidence, about=2)
    assert any(said in line for line in found)


def test_a_prediction_expects_and_does_not_report(recorded: Bench) -> None:
    expected = (
        "core.explained_variance down by 0.001..0.01\nA shrinking term costs reconstruction; run 7 should lose 1%."
    )
    assert faults_of_expectation(expected, recorded.evidence) == []
    assert faults_of_expectation(f"core.explained_variance up\n{FALSE}", recorded.evidence)
    assert faults_of_expectation("core.explained_variance up\nRun 7 improves explained variance.", recorded.evidence)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("Weaker penalty: a fifth of the weight", "Weaker penalty: a fifth of the weight"),
        ("A learning rate a hundred times as high", "A learning rate a hundred times as high"),
        ("Reduce absorption by a nested loss", "Reduce absorption by a nested loss"),
        ("Longer warmup: run 1 improves explained variance by twelve percent", "Longer warmup"),
        ("A penalty that lowers absorption at no cost", "A penalty"),
        ("Improves explained variance over TopK", ""),
    ],
)
def test_the_line_that_names_a_change_claims_nothing(recorded: Bench, change: str, kept: str) -> None:
    assert without_claims(change, recorded.evidence) == kept


def test_captions_claim_nothing_that_verdicts_do_not_bear_out(recorded: Bench) -> None:
    figures = recorded.evidence.record.state.figures
    assert figures
    assert faults_of_captions(figures, recorded.evidence) == []
    assert faults_of_captions({"a.png": FALSE}, recorded.evidence)


@pytest.fixture(scope="module")
def boastful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded campaign in whose ledger a change, a prediction and a figure's description boast."""
    folder = unpack(tmp_path_factory.mktemp("boastful") / "campaign")
    ledger = Record.open(folder).folder.ledger
    events = []
    for event in ledger.events:
        if isinstance(event, Edited) and event.run == 2:
            event = event.model_copy(update={"change": FALSE, "prediction": f"core.explained_variance up\n{FALSE}"})
        if isinstance(event, Plotted):
            event = event.model_copy(update={"figures": {**event.figures, "headline.png": FALSE}})
        events.append(event)
    ledger.path.unlink()
    told = Ledger(ledger.path)
    for event in events:
        told.append(event)
    return folder


@pytest.mark.parametrize("form", ["tex", "md", "txt"])
def test_what_the_model_wrote_is_no_evidence(boastful: Path, form: str) -> None:
    title = "\\section{Results}" if form == "tex" else "## Results"
    document = make_document(f"{title}\n\n{FALSE}\n", form, boastful / f"said.{form}")  # type: ignore[arg-type]
    assert audit(document, gather(Record.open(boastful)), {}, whole=False).claims
