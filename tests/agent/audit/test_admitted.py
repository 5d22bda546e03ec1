"""A paper's sentences about its runs are admitted with results or verdicts, or where they only describe."""

import pytest

from agent.audit import Findings, audit, make_document
from bench.writeup.cases import Bench


def found_in(recorded: Bench, text: str, section: str = "Results", form: str = "tex") -> Findings:
    heading = f"\\section{{{section}}}\n" if form == "tex" else f"## {section}\n\n"
    document = make_document(f"{heading}{text}\n", form, recorded.folder / f"x.{form}")  # type: ignore[arg-type]
    return audit(document, recorded.evidence, recorded.bibliography, whole=False)


EXPLAINED = r"\res{run_1}{core.explained_variance}"


@pytest.mark.parametrize(
    "text",
    [
        f"The explained variance of run 1 is {EXPLAINED}.",
        f"Run 1 has an explained variance of {EXPLAINED}, beside \\res{{topk}}{{core.explained_variance}} for TopK.",
        r"Explained variance of run 1: \verdict{run_1}{core.explained_variance}.",
        "Run 1 and TopK are trained on the same batches.",
        "Whether run 1 would hold at another layer is left open.",
        "We ask whether the penalty causes the effect.",
        r"The L0 of run 1 is \res{run_1}{settings.k}.",
        "We train every SAE with the same seeds.",
        "Scores of the baseline and of all runs.",
        "Sparse autoencoders write activations as sums of few directions.",
    ],
)
def test_what_describes_or_refers_is_let_in(recorded: Bench, text: str) -> None:
    assert found_in(recorded, text).clean


@pytest.mark.parametrize(
    "text",
    [
        "Run 1 charms its readers.",
        "Run 1 leaves explained variance unharmed and does away with absorption.",
        "Our penalty pays off.",
        "TopK cannot match run 1.",
        "No baseline comes near run 1.",
        "Every seed of run 1 lies above every seed of TopK.",
        "Run 1 > TopK in explained variance.",
        r"\emph{Run 1} $\succ$ \emph{TopK}.",
        r"run\_1 $\gg$ topk",
        "In run 1 absorption is rare.",
        "Results are excellent.",
        "One should use run 1.",
        "The hypothesis is confirmed.",
        "These numbers prove the hypothesis.",
        "The penalty causes the effect.",
        "The effect is due to the penalty.",
        "All seeds agree.",
        "Absorption disappears.",
        "The confirmation on fresh seeds succeeded.",
        r"The explained variance of run 1 is \res{run_1}{settings.k}.",
        f"Run 1 is splendid with its {EXPLAINED} of explained variance.",
    ],
)
def test_what_judges_without_a_result_is_not(recorded: Bench, text: str) -> None:
    assert not found_in(recorded, text).clean


@pytest.mark.parametrize(
    "text",
    [
        "Two annotators preferred the latents of run 1.",
        "A paired t-test favours run 1.",
        "GPT-4 rates the latents of run 1 highly.",
        "Closer inspection of the latents of run 1 shows clear concepts.",
        "The effect of run 1 is statistically significant.",
        "We looked through forty latents of run 1 by hand.",
    ],
)
def test_evidence_that_no_ledger_holds_wants_a_source(recorded: Bench, text: str) -> None:
    said = [item.reason for item in found_in(recorded, text).claims]
    assert any("no result here holds such evidence" in reason for reason in said), said


def test_what_the_field_knows_is_cited(recorded: Bench) -> None:
    key = next(iter(recorded.bibliography))
    assert found_in(recorded, f"Annotators find such latents easier to read \\cite{{{key}}}.").clean


@pytest.mark.parametrize("section", ["Background", "Related work", "Method", "Experimental set-up"])
def test_sections_that_report_nothing_may_say_how_things_are_done(recorded: Bench, section: str) -> None:
    assert found_in(recorded, "The variant of run 1 shrinks what competes.", section).clean


@pytest.mark.parametrize(
    "cell", ["better", "best", "wins", "beats TopK", "improves explained variance", r"\checkmark", "superior"]
)
def test_a_cell_does_not_judge_in_words_of_its_own(recorded: Bench, cell: str) -> None:
    rows = f"run & explained variance \\\\ run\\_1 & {cell} \\\\ topk & \\res{{topk}}{{core.explained_variance}}"
    assert not found_in(recorded, f"\\begin{{tabular}}{{ll}} {rows} \\end{{tabular}}").clean


def test_a_cell_holds_results_and_verdicts(recorded: Bench) -> None:
    verdict = r"\verdict{run_1}{core.explained_variance}"
    rows = f"run & explained variance & verdict \\\\ run\\_1 & {EXPLAINED} & {verdict}"
    assert found_in(recorded, f"\\begin{{tabular}}{{lll}} {rows} \\end{{tabular}}").clean


def test_a_fault_names_its_place_and_what_to_write(recorded: Bench) -> None:
    (item,) = found_in(recorded, "A first line.\nRun 1 charms its readers.").claims
    assert item.line == 3
    assert "'charms'" in item.reason
    assert item.suggestion == r"\verdict{run_1}{METRIC}"
