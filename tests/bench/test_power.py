"""The simulated campaigns: what they claim when nothing works, and when one run does."""

import json

from bench.power import Plan, main, simulate


def test_without_an_effect_little_is_called_improved_and_next_to_nothing_confirmed():
    found = simulate(Plan(), 0.0, campaigns=60)
    assert found.false_improved < 0.05
    assert found.confirmed + found.false_confirmed < 0.1
    assert 10 < found.trainings < 20


def test_a_large_effect_is_found_and_more_seeds_find_more(capsys):
    assert main(["--campaigns", "30", "--effects", "3", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["improved"] > 0.8
    once = simulate(Plan(most=1, baseline=3), 3.0, campaigns=30)
    assert once.improved < found["improved"]


def test_the_table_has_a_line_for_each_effect(capsys):
    assert main(["--campaigns", "2", "--effects", "0,2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["effect", "0", "2"]
