"""Ideas are checked before anything is made; list files of other systems are taken apart."""

import json

import pytest

from agent.base.errors import AgentError
from agent.base.places import IDEAS
from agent.idea import import_ideas, list_ideas, load_idea, main

GOOD = {
    "Name": "an_idea",
    "Title": "A title",
    "Experiment": "Do it",
    "Technical_Details": "x = y",
    "Implementation_Plan": ["first", "second"],
    "Interestingness": 7,
}


def write(folder, name, data):
    (folder / f"{name}.json").write_text(data if isinstance(data, str) else json.dumps(data))


def test_the_bundled_ideas_are_whole():
    names = list_ideas(IDEAS)
    assert {
        "hierarchical_orthogonal_sae",
        "ratio_ranked_orthogonal_sae",
        "sparsity_guided_orthogonality",
        "adaptive_temporal_consistency",
    } <= set(names)
    for name in names:
        assert load_idea(name).Name == name


def test_steps_become_text_and_other_fields_are_kept(tmp_path):
    write(tmp_path, "an_idea", GOOD)
    idea = load_idea("an_idea", tmp_path)
    assert idea.Implementation_Plan == "first\nsecond"
    assert idea.model_dump()["Interestingness"] == 7


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{not json", "is not JSON"),
        ([1, 2], "one JSON object"),
        ({**GOOD, "Title": ""}, "Title"),
        ({key: value for key, value in GOOD.items() if key != "Experiment"}, "Experiment"),
        ({**GOOD, "Name": "../evil"}, "Name"),
        ({**GOOD, "Name": "other"}, "make it 'an_idea'"),
        ({**GOOD, "Technical_Details": 5}, "Technical_Details"),
    ],
)
def test_a_damaged_idea_is_one_line(tmp_path, data, said):
    write(tmp_path, "an_idea", data)
    with pytest.raises(AgentError, match=said) as raised:
        load_idea("an_idea", tmp_path)
    assert "\n" not in str(raised.value)


def test_an_idea_with_a_key_is_refused_and_the_key_not_repeated(tmp_path, capsys):
    idea = {**GOOD, "Notes": {"use": ["sk-0123456789abcdefghij"]}}
    (tmp_path / "a.json").write_text(json.dumps({**idea, "Name": "a"}))
    with pytest.raises(AgentError, match="Notes holds what looks like a key") as caught:
        load_idea("a", tmp_path)
    assert "0123456789" not in str(caught.value)
    assert main(["import", str(tmp_path / "a.json"), "--to", str(tmp_path / "to")]) == 2
    assert "Notes holds" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_an_unknown_name_lists_those_there_are(tmp_path):
    write(tmp_path, "an_idea", GOOD)
    with pytest.raises(AgentError, match="there are: an_idea"):
        load_idea("anidea", tmp_path)


def test_a_list_is_taken_apart(tmp_path):
    source = tmp_path / "ideas.json"
    source.write_text(json.dumps([GOOD, {**GOOD, "Name": "Second Idea!"}]))
    folder = tmp_path / "ideas"
    folder.mkdir()
    assert import_ideas(source, folder) == ["an_idea", "second_idea"]
    assert load_idea("second_idea", folder).Title == "A title"


def test_a_list_with_a_fault_writes_nothing(tmp_path, capsys):
    source = tmp_path / "ideas.json"
    source.write_text(json.dumps([GOOD, {**GOOD, "Name": "two", "Title": None}]))
    folder = tmp_path / "ideas"
    folder.mkdir()
    assert main(["import", str(source), "--to", str(folder)]) == 2
    assert "idea 2" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_taken_name_is_not_replaced(tmp_path):
    write(tmp_path, "an_idea", {**GOOD, "Title": "Mine"})
    source = tmp_path / "list.txt"
    source.write_text(json.dumps(GOOD))
    with pytest.raises(AgentError, match="is there already"):
        import_ideas(source, tmp_path)
    assert load_idea("an_idea", tmp_path).Title == "Mine"
