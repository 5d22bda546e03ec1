"""The end of a campaign: the best run confirmed on fresh seeds, and what chance alone would give of the rest."""

from agent.campaign.record import Record
from agent.report.tables import change_cells, columns, headlines, sign
from agent.results.compare import Comparison
from agent.results.tally import Tally


def confirmation_text(record: Record) -> list[str]:
    """Paragraphs: what was confirmed and how, the figures before and after, the verdict; none before it is decided."""
    plan = record.state.confirmation
    if plan is None or not plan.closed:
        return []
    if plan.run is None:
        return [f"Nothing was confirmed: {plan.reason}."]
    about = f"run_{plan.run} had {plan.reason}. It was trained again with seeds {', '.join(map(str, plan.seeds))}"
    found = record.confirmed()
    if found is None:
        failure = plan.result.failure if plan.result else ""
        return [f"{about}, which did not come to an end: {failure}. It is not confirmed."]
    chosen = record.verdict(record.state.runs[plan.run - 1])
    row = found.row(record.goal)
    verdict = row.verdict if row else "not scored"
    outcome = "confirmed" if verdict == "improved" else "not confirmed"
    pairs = f" ({row.pairs} pairs of equal seeds)" if row and row.pairs else ""
    return [
        f"{about}, which had no part in choosing it, beside {plan.against} with the same seeds.",
        _table(found, chosen, headlines(record)),
        f"{record.goal}: {outcome}; on fresh seeds it is {verdict}{pairs}.",
    ]


def chance_text(record: Record) -> str:
    """A warning of picking from many comparisons; nothing where none was made."""
    count = record.tally()
    if not count.made:
        return ""
    named = ", ".join(f"{metric} of {run}" for run, metric in count.kept)
    return (
        f"{count.made} comparisons of a headline metric with its baseline were made, and {count.outside} have an "
        f"interval that leaves out 0; if no change had any effect, about {count.expected:.1f} would. With false "
        f"discoveries held to 5% (Benjamini and Hochberg) these are left: {named or 'none'}. One of them is a lead; "
        f"what is confirmed on fresh seeds is a finding.{_best_of(record, count)}"
    )


def _best_of(record: Record, count: Tally) -> str:
    """The runs whose goal improved, judged as the best of all; nothing for campaigns of version 0.1.0."""
    if record.settings.goal is None:
        return ""
    runs = ", ".join(count.goal) or "none"
    return f" Judged as the best of all runs (Holm, 5%), these improved in the goal, {record.goal}: {runs}."


def _table(found: Comparison, chosen: Comparison, names: list[str]) -> str:
    """The best run twice: as it was chosen, and on fresh seeds.

    Args:
        found: On fresh seeds.
        chosen: As it was judged before.
        names: The metrics, in their order.
    """
    rows = [["metric", "", "chosen", "verdict", found.run.name, found.baseline.name, "change", "verdict"]]
    for name in names:
        row, before = found.row(name), chosen.row(name)
        if row is None or before is None:
            continue
        base = str(row.baseline) if row.baseline else ""
        rows.append(
            [name, sign(row.value), str(before.value), before.verdict, str(row.value), base, *change_cells(row)]
        )
    return columns(rows)
