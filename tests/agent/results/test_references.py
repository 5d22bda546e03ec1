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


def test_values_are_filled_in_with_all_their_sources():
    known = {("run_2", "core.l0"): Value(24.0), ("topk", "core.l0"): Value(16.0)}

    def found(source, metric):
        return known.get((source, metric))

    text = "By {run_2:core.l0 - topk:core.l0}, {percent(run_2:core.l0, topk:core.l0)}%."
    assert fill(text, found) == "By 8 [run_2, topk], 50% [run_2, topk]."
    assert dangling(text, found) == []
    assert "move the value" in dangling("{0 * run_2:core.l0}", found)[0]


def test_what_leads_nowhere_is_found_and_marked():
    text = "{run_9:core.l0} and {set: braces} and {a:b} and f'{x:.3f}'"
    assert dangling(text, lookup) == ["{run_9:core.l0}"]
    assert "no such result" in fill(text, lookup)
    assert "{set: braces} and {a:b} and f'{x:.3f}'" in fill(text, lookup)
