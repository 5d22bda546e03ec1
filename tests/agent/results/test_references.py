"""Numbers are references, filled in from results."""

from agent.results.read import Value
from agent.results.references import dangling, fill

KNOWN = {
    ("run_2", "core.explained_variance"): Value(0.85714, "higher"),
    ("topk", "core.delta_ce"): Value(0.0781, "lower", "nats", sd=0.0012, n=3),
}


def lookup(source, metric):
    return KNOWN.get((source, metric))


def test_filled_in_with_unit_spread_and_source():
    text = fill("EV {run_2:core.explained_variance}, CE {topk:core.delta_ce}.", lookup)
    assert text == "EV 0.8571 [run_2], CE 0.07810 ± 0.00120 nats [topk]."


def test_what_leads_nowhere_is_found_and_marked():
    text = "{run_9:core.l0} and {set: braces} and {a:b} and f'{x:.3f}'"
    assert dangling(text, lookup) == ["{run_9:core.l0}"]
    assert "no such result" in fill(text, lookup)
    assert "{set: braces} and {a:b} and f'{x:.3f}'" in fill(text, lookup)
