"""The numbers of a paper: what its references show, where each comes from, and the appendix that they link to."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.audit.document import make_document
from agent.audit.evidence import NOISE, Evidence
from agent.base.errors import AgentError
from agent.results.expressions import parse_expression
from agent.results.read import RunResult, Value, shown, shown_spread


@dataclass(frozen=True)
class Number:
    """One reference and what is shown for it.

    Args:
        reference: As the paper has it, `\\res{run_3}{core.l0}`, `\\verdict{run_3}{core.l0}` or `\\num{...}`.
        value: The number behind it.
        shown: What the paper shows, in TeX.
        sources: The runs and baselines that it comes from.
        seeds: Their seeds.
        weights: The hashes of the SAEs that were scored.
        evaluators: The hashes of the evaluators.
    """

    reference: str
    value: float
    shown: str
    sources: list[str]
    seeds: list[int]
    weights: list[str]
    evaluators: list[str]


def numbers_of(text: str, evidence: Evidence) -> list[Number]:
    """The numbers that a paper refers to, each once; references that lead nowhere are left to the audit.

    Args:
        text: The paper's source.
        evidence: The campaign.
    """
    found: dict[str, Number] = {}
    for reference in make_document(text, "tex", Path("paper.tex")).references:
        try:
            expression = parse_expression(reference.expression)
            value = expression.value(evidence.lookup)
        except AgentError:
            continue
        term = expression.terms[0]
        own = evidence.lookup(term.source, term.metric)
        text_shown = in_tex(own) if expression.plain and own else _plain_in_tex(value)
        if reference.written.startswith("\\verdict"):
            text_shown = _verdict(term.source, term.metric, evidence)
        # The noise floor is made from the runs of its baseline.
        terms = [evidence.reference if one.source == NOISE else one.source for one in expression.terms]
        sources = list(dict.fromkeys(terms))
        evaluations = {one.metric.partition(".")[0] for one in expression.terms}
        results = [result for source in sources for result in results_of(source, evidence)]
        found[reference.written] = Number(
            reference.written,
            value,
            text_shown,
            sources,
            sorted({int(result.training["seed"]) for result in results if "seed" in result.training}),
            [result.weights for result in results],
            sorted({str(r.evaluator[name]["evaluator"]) for r in results for name in evaluations & set(r.evaluator)}),
        )
    return list(found.values())


def filled(text: str, numbers: list[Number]) -> str:
    """A paper with what its references show in their place, for a reader of the source."""
    for number in numbers:
        text = text.replace(number.reference, number.shown)
    return text


def results_of(source: str, evidence: Evidence) -> list[RunResult]:
    """The results behind a source: one a seed."""
    if source in evidence.runs:
        return list(evidence.runs[source].runs)
    groups = {**evidence.groups, **evidence.fresh}
    if source in groups:
        return list(groups[source].runs)
    return [run for group in evidence.groups.values() for run in group.runs if run.name == source]


def _verdict(run: str, metric: str, evidence: Evidence) -> str:
    """A verdict in the words that follow "is": "worse than topk"."""
    base = evidence.base_of(run)
    judged = evidence.judge(run, metric, base)
    verdict = judged.verdict
    joined = {
        "improved": "improved over",
        "worse": "worse than",
        "no effect": f"within {_power(shown(judged.smallest))} of",
        "undecided": "undecided beside",
        "within noise": "within noise of",
    }
    return f"{joined.get(verdict, f'{verdict} with' if 'compar' in verdict else f'{verdict} beside')} {escaped(base)}"


def in_tex(value: Value) -> str:
    """A score as a paper shows it: sensible digits, and the spread over seeds where there is one."""
    text = f"{value.value:g}" if value.given else shown(value.value)
    if value.sd and value.n > 1:
        return f"{_power(text)} $\\pm$ {_power(shown_spread(value.sd, value.value))}"
    return _power(text)


def _plain_in_tex(value: float) -> str:
    """A computed number at three digits: what it is computed from has four."""
    return _power(f"{value:#.3g}".rstrip("."))


def _power(text: str) -> str:
    mantissa, _, exponent = text.partition("e")
    text = f"${mantissa} \\times 10^{{{int(exponent)}}}$" if exponent else mantissa.replace(",", "{,}")
    return f"$-${text[1:]}" if text.startswith("-") else text


def write_numbers(folder: Path, numbers: list[Number]) -> None:
    """Write `numbers.tex`, which LaTeX reads, and `numbers.json`, which says where each comes from."""
    from agent.base.files import write_atomically

    lines = ["% Made from results; edits are overwritten."]
    for number in numbers:
        name = re.sub(r"\s+", " ", number.reference)
        inner = re.findall(r"\{([^{}]*)\}", name)
        key = f"num@{inner[0]}" if name.startswith("\\num") else "@".join((name[1 : name.index("{")].strip(), *inner))
        lines.append(f"\\saenumber{{\\detokenize{{{key}}}}}{{\\detokenize{{{number.sources[0]}}}}}{{{number.shown}}}")
    write_atomically(folder / "numbers.tex", "\n".join(lines) + "\n")
    data = json.dumps([asdict(number) for number in numbers], indent=1, ensure_ascii=False)
    write_atomically(folder / "numbers.json", data + "\n")


def appendix(evidence: Evidence, names: list[str]) -> str:
    """The appendix in TeX: run, seed, weights, evaluators and a few scores of everything that was run.

    Args:
        evidence: The campaign.
        names: The metrics to show.
    """
    rows = []
    for group in (*evidence.groups.values(), *evidence.fresh.values()):
        for place, result in enumerate(group.runs):
            label = escaped(result.name)
            anchor = f"\\saesource{{{group.name}}}{{{label}}}" if not place else label
            rows.append(f"\\saesource{{{result.name}}}{{}}{anchor} & {_provenance(result)} \\\\")
    for name, status in evidence.statuses.items():
        seeds = evidence.runs[name].runs if name in evidence.runs else ()
        provenance = _provenance(seeds[0]) if seeds else f"--- & {status} & ---"
        rows.append(f"\\saesource{{{name}}}{{{escaped(name)}}} & {provenance} \\\\")
        rows += [f"{escaped(seed.name)} & {_provenance(seed)} \\\\" for seed in seeds[1:]]
    return "\n".join(
        [
            "\\section{Where each number comes from}",
            "\\label{app:runs}",
            "Every number in this paper links here. Weights and evaluators are named by their hashes.",
            "\\begin{longtable}{llll}",
            "\\toprule run & seed & weights & evaluators \\\\ \\midrule \\endhead",
            *rows,
            "\\bottomrule",
            "\\end{longtable}",
            "Scores with their verdicts beside the baseline; $\\sim$ is undecided, $=$ no effect that would matter.",
            "{\\footnotesize\\setlength{\\tabcolsep}{4pt}",
            *_scores(evidence, names),
            "}",
            "",
        ]
    )


def _provenance(result: RunResult) -> str:
    evaluators = ", ".join(f"{escaped(n)} {str(key['evaluator'])[:12]}" for n, key in result.evaluator.items())
    return f"{result.training.get('seed', '---')} & \\texttt{{{result.weights[:16]}}} & {evaluators}"


def _scores(evidence: Evidence, names: list[str]) -> list[str]:
    sources = [*evidence.groups, *evidence.runs]
    lines = [
        f"\\begin{{longtable}}{{l{'r' * len(names)}}}",
        "\\toprule run & " + " & ".join(escaped(name.partition(".")[2].removeprefix("mean_")) for name in names),
        "\\\\ \\midrule \\endhead",
    ]
    for source in sources:
        cells = [_score(source, name, evidence) for name in names]
        lines.append(" & ".join([escaped(source), *cells]) + " \\\\")
    return [*lines, "\\bottomrule", "\\end{longtable}"]


def _score(source: str, name: str, evidence: Evidence) -> str:
    """A score, and for a run the verdict beside its baseline."""
    value = evidence.lookup(source, name)
    if value is None:
        return "---"
    if source not in evidence.runs:
        return in_tex(value)
    verdict = evidence.judge(source, name, evidence.base_of(source)).verdict
    said = {"undecided": "$\\sim$", "within noise": "$\\sim$", "no effect": "$=$"}.get(verdict, verdict)
    return f"{in_tex(value)}, {said}"


def escaped(text: str) -> str:
    """Text as TeX shows it."""
    special = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return re.sub(r"[#$%&_{}\\~^]", lambda found: special.get(found[0], f"\\{found[0]}"), text)
