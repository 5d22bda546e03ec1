"""`python -m agent.writeup` on a recorded campaign, the model a script."""

import json
import re
import shutil
from pathlib import Path

import pytest

from agent.audit.__main__ import main as audit
from agent.results.read import shown
from agent.writeup.__main__ import main
from agent.writeup.latex import has_latex
from bench.writeup.cases import Bench
from tests.agent.writeup.papers import ORDER, REVIEW, block, replies, script, texts

needs_latex = pytest.mark.skipif(not has_latex(), reason="no latexmk and pdflatex here")


def write(recorded: Bench, folder: Path, lines: list[str], *options: str) -> tuple[int, Path]:
    model = script(folder / "script.jsonl", lines)
    code = main([str(recorded.folder), "--model", model, "--writeups", str(folder / "writeups"), *options])
    return code, folder / "writeups" / recorded.folder.name


def prompts(paper: Path) -> list[dict]:
    lines = (json.loads(line) for line in (paper / "transcript.jsonl").read_text().splitlines())
    return [{"purpose": line["purpose"], "prompt": line["request"]["prompt"]} for line in lines]


def test_a_paper_is_written_and_every_number_says_where_it_is_from(recorded: Bench, tmp_path: Path) -> None:
    code, paper = write(recorded, tmp_path, replies(), "--no-compile")
    assert code == 0
    text = (paper / "paper.tex").read_text()
    assert all(f"% {name}" in text for name in ORDER[1:])
    numbers = {number["reference"]: number for number in json.loads((paper / "numbers.json").read_text())}
    own = numbers["\\res{run_2}{core.explained_variance}"]
    assert own["value"] == recorded.evidence.runs["run_2"].metrics["core.explained_variance"].value
    assert own["shown"] == "0.7379"
    assert own["weights"] == [recorded.evidence.runs["run_2"].runs[0].weights]
    assert own["seeds"] == [0]
    assert own["evaluators"]
    base = numbers["\\res{topk}{core.explained_variance}"]
    assert base["shown"] == "0.7463 $\\pm$ 0.0002"
    assert base["seeds"] == [0, 1]
    assert json.loads((paper / "review.json").read_text()) == REVIEW
    assert not any(json.loads((paper / "audit.json").read_text()).values())
    assert audit([str(paper / "paper.tex"), "--run", str(recorded.folder)]) == 0


def test_the_html_page_links_each_number_and_loads_nothing(recorded: Bench, tmp_path: Path) -> None:
    _, paper = write(recorded, tmp_path, replies(), "--no-compile")
    page = (paper / "paper.html").read_text()
    assert "<a href='#source-run_2'>0.7379</a>" in page
    assert "<a href='#source-topk'>0.7463 ± 0.0002</a>" in page
    assert all(f"id='{target}'" in page for target in set(re.findall(r"href='#([^']+)'", page)))
    assert not re.search(r"(?:src|href)='(?!#|data:)", page)
    assert "\\res" not in page
    # A table is one, its caption and its number are there, and nothing is referred to that is not resolved.
    assert "<figcaption>Table 1: Scores of the runs.</figcaption><table>" in page
    assert "<tr><td>run_2</td><td><a href='#source-run_2'>0.7379</a></td>" in page
    assert "&lt;ref&gt;" not in page


def test_what_the_audit_finds_is_refused_with_its_place(recorded: Bench, tmp_path: Path) -> None:
    good = texts()["results"]
    typed = block("results", good.replace("\\res{run_5}{core.explained_variance}.", "0.744."))
    claims = block("results", good.replace("within noise of the baseline.", "and improves on the baseline."))
    # Written anew twice, where an edit would do: a model may.
    code, paper = write(recorded, tmp_path, replies({"results": [typed, claims]}), "--no-compile")
    assert code == 0
    asked = [line["prompt"] for line in prompts(paper) if line["purpose"] == "writeup_draft_results"]
    assert len(asked) == 3
    assert "0.744 is typed" in asked[1]
    assert "\\res{run_5}{core.explained_variance}" in asked[1]
    assert "'improves'" in asked[2]
    assert "0.744" not in asked[2]


def test_one_fault_costs_one_edit_and_stays_named_while_an_edit_fails(recorded: Bench, tmp_path: Path) -> None:
    good = texts()["results"]
    wrong = good.replace("\\res{run_5}{core.explained_variance}.", "0.744.")
    (line,) = [line for line in wrong.splitlines() if "0.744" in line]
    unmatched = block("results", "Something else.", "A line that nobody wrote.")
    mended = block("results", line.replace("0.744.", "\\res{run_5}{core.explained_variance}."), line)
    lines = replies({"results": [block("results", wrong), unmatched]})
    lines[lines.index(block("results", good))] = mended
    code, paper = write(recorded, tmp_path, lines, "--no-compile")
    assert code == 0
    assert (paper / "sections" / "results.tex").read_text().strip() == good.strip()
    asked = [line["prompt"] for line in prompts(paper) if line["purpose"] == "writeup_draft_results"]
    assert [line in prompt for prompt in asked] == [False, True, True]
    assert ["0.744 is typed" in prompt for prompt in asked] == [False, True, True]
    assert "Your last reply was refused" in asked[2]


def test_a_draft_that_was_left_with_faults_is_not_let_be(recorded: Bench, tmp_path: Path) -> None:
    good = texts()["setup"]
    bad = f"{good}\nOur penalty reduces absorption."
    mended = block("setup", "We ask about absorption.", "Our penalty reduces absorption.")
    lines = replies({"setup": [block("setup", bad)] * 2})
    place = lines.index(block("setup", good))
    lines[place] = block("setup", bad)
    lines.insert(place + 2, mended)
    code, paper = write(recorded, tmp_path, lines, "--no-compile")
    assert code == 0
    asked = [line["prompt"] for line in prompts(paper) if line["purpose"] == "writeup_refine_setup"]
    assert len(asked) == 2
    assert all("'reduces'" in prompt for prompt in asked)


def test_a_writer_has_what_a_section_is_about(recorded: Bench, tmp_path: Path) -> None:
    _, paper = write(recorded, tmp_path, replies(), "--no-compile")
    first = json.loads((paper / "transcript.jsonl").read_text().splitlines()[0])["request"]["system"]
    evidence = recorded.evidence
    assert "residual stream after layer" in first
    assert "Analysis at the time: " in first
    assert "competition_weight=0.05" in first
    margin = evidence.judge("run_1", "core.explained_variance", "topk").margin
    floor = evidence.lookup("noise", "core.explained_variance")
    assert margin == pytest.approx(floor.value if floor else None)
    assert f"core.explained_variance ±{shown(margin or 0)}" in first
    by = {line["purpose"]: line["prompt"] for line in prompts(paper)}
    assert evidence.template in by["writeup_draft_method"]
    assert "Labels in other sections: " in by["writeup_draft_conclusion"]
    assert '"corpus"' in by["writeup_draft_setup"]
    # The reviewer sees what a reader sees.
    assert "0.7379" in by["writeup_review"]
    assert "\\res{" not in by["writeup_review"]


def test_no_prompt_holds_the_paper_twice(recorded: Bench, tmp_path: Path) -> None:
    _, paper = write(recorded, tmp_path, replies(), "--no-compile")
    marks = {name: text.split("\n")[-1] for name, text in texts().items()}
    for line in prompts(paper):
        for mark in marks.values():
            assert line["prompt"].count(mark) <= 1


def test_a_missing_run_is_mended_at_the_end(recorded: Bench, tmp_path: Path) -> None:
    good = texts()["results"]
    sentence = "We leave out \\texttt{run\\_3}, because its L0 of \\res{run_3}{core.l0} makes it not comparable."
    short = good.replace(f"{sentence}\n", "")
    assert short != good
    lines = replies(after=[block("results", f"\\end{{table}}\n{sentence}", "\\end{table}")])
    lines[lines.index(block("results", good))] = block("results", short)
    code, paper = write(recorded, tmp_path, lines, "--no-compile")
    assert code == 0
    (asked,) = (line["prompt"] for line in prompts(paper) if line["purpose"] == "writeup_mend_results")
    assert "run_3 was scored" in asked


def test_a_paper_with_a_fault_left_is_not_done(
    recorded: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = texts()["conclusion"]
    bad = block("conclusion", good.replace("we find no effect", "our method reduces absorption, but we find no effect"))
    # Where a fault is left, NO_CHANGE is refused twice more, when the section is refined and beside the whole.
    lines = replies({"conclusion": [bad, bad]}, after=["NO_CHANGE"] * 4 + ["I see no fault."] * 15)
    lines[lines.index(block("conclusion", good))] = bad
    code, paper = write(recorded, tmp_path, lines, "--no-compile")
    assert code == 1
    said = capsys.readouterr().out
    assert "left: conclusion: 'reduces': does not hold" in said
    assert len([line for line in prompts(paper) if line["purpose"] == "writeup_mend_conclusion"]) == 15


def test_a_null_result_says_so_in_title_or_abstract(recorded: Bench, tmp_path: Path) -> None:
    dressed = block("abstract", "\\title{A competition penalty}\nWe add a penalty and measure absorption.")
    code, paper = write(recorded, tmp_path, replies({"abstract": [dressed]}), "--no-compile")
    assert code == 0
    asked = [line["prompt"] for line in prompts(paper) if line["purpose"] == "writeup_draft_abstract"]
    assert "what was not found" in asked[0]
    assert "this is a null result" in asked[1]


def test_started_again_it_asks_nothing_twice(recorded: Bench, tmp_path: Path) -> None:
    code, paper = write(recorded, tmp_path, replies(), "--no-compile")
    before, text = prompts(paper), (paper / "paper.tex").read_text()
    again, _ = write(recorded, tmp_path, replies(), "--no-compile")
    assert (code, again) == (0, 0)
    assert prompts(paper) == before
    assert (paper / "paper.tex").read_text() == text


def test_a_script_that_ends_is_one_line(recorded: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = write(recorded, tmp_path, replies()[:3], "--no-compile")
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_latex_there_is_a_page_and_a_line(
    recorded: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    git = shutil.which("git")
    assert git
    (programs / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(programs))
    code, paper = write(recorded, tmp_path, replies())
    assert code == 0
    assert (paper / "paper.html").is_file()
    assert not (paper / "paper.pdf").exists()
    assert "apt install texlive-latex-base" in capsys.readouterr().out


@needs_latex
def test_the_paper_compiles_and_its_numbers_link(recorded: Bench, tmp_path: Path) -> None:
    code, paper = write(recorded, tmp_path, replies())
    assert code == 0
    assert (paper / "paper.pdf").read_bytes().startswith(b"%PDF")
    log = (paper / "paper.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "has been referenced but does not exist" not in log
    assert "multiply defined" not in log


@needs_latex
def test_what_latex_stumbles_over_goes_back_to_the_model(recorded: Bench, tmp_path: Path) -> None:
    good = texts()["setup"]
    last = good.splitlines()[-1]
    lines = replies(after=[block("setup", last, f"{last} \\nosuchcommand")])
    lines[lines.index(block("setup", good))] = block("setup", f"{good} \\nosuchcommand")
    code, paper = write(recorded, tmp_path, lines)
    assert code == 0
    (asked,) = (line["prompt"] for line in prompts(paper) if line["purpose"] == "writeup_mend_setup")
    assert "Undefined control sequence" in asked
    assert (paper / "paper.pdf").is_file()


def test_a_referee_reads_the_finished_paper_against_the_code(recorded: Bench, tmp_path: Path, capsys) -> None:
    found = "`run_2` is said to train with a hinge, and the diff has none."
    lines = [json.dumps({"findings": [found, "Two."]})]
    referee = script(tmp_path / "referee.jsonl", lines)
    code, paper = write(recorded, tmp_path, replies(), "--no-compile", "--referee", referee)
    assert code == 0
    assert f"  referee: replay:referee.jsonl, 0 tokens, $0.000; decides nothing\n  referee: {found}\n" in (
        capsys.readouterr().out
    )
    kept = json.loads((paper / "referee.json").read_text())
    assert (kept["model"], kept["findings"], kept["failure"]) == ("replay:referee.jsonl", [found, "Two."], "")
    (asked,) = [json.loads(line) for line in (paper / "referee.jsonl").read_text().splitlines()]
    # Numbers as a reader sees them, and the code of every run.
    assert "0.7379" in asked["request"]["prompt"]
    record = recorded.evidence.record
    assert all(f"# What {run} changed" in asked["request"]["prompt"] for run in recorded.evidence.runs)
    assert record.folder.at(record.state.template, "experiment.py") in asked["request"]["prompt"]
    assert "referee" not in (paper / "transcript.jsonl").read_text()


def test_a_referee_of_a_paper_is_another_model(recorded: Bench, tmp_path: Path, capsys) -> None:
    code, _ = write(recorded, tmp_path, replies(), "--no-compile", "--referee", f"replay:{tmp_path / 'script.jsonl'}")
    assert code == 2
    assert capsys.readouterr().err.startswith("error: --referee: name another model than the one that writes")
