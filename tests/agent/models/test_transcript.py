"""The transcript: appended to, read back, replayed, resumed; budgets computed from it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.errors import AgentError
from agent.models import (
    Budget,
    BudgetExceeded,
    BudgetLimits,
    CallFailed,
    Model,
    Recorded,
    ReplayModel,
    Reply,
    Request,
    Spent,
    Transcript,
    make_model,
)
from agent.models.transcript import append_line, read_lines, spent_by

KEY = "sk-ant-marked-0123456789"


class Counting:
    """A model that numbers its answers; some of them fail."""

    name = "counting"

    def __init__(self, failing: tuple[int, ...] = (), seconds: float = 0.0) -> None:
        self.calls = 0
        self.failing = failing
        self.seconds = seconds

    def ask(self, request: Request) -> Reply:
        self.calls += 1
        time.sleep(self.seconds)
        if self.calls in self.failing:
            raise CallFailed("no luck", Reply("", tokens_lost=7, dollars=0.5))
        return Reply(f"answer {self.calls}", 100, 10, 0, 0.01, model=self.name)


def script(path: Path, *replies: str) -> Path:
    path.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in replies))
    return path


def test_a_call_is_a_line_with_all_that_is_asked_for(tmp_path: Path) -> None:
    model = Recorded(Counting(), Transcript(tmp_path / "t.jsonl"))
    reply = model.ask(Request("fixed", "changing", purpose="repair"))
    (line,) = read_lines(tmp_path / "t.jsonl")
    assert reply.call == line["n"] == 1
    assert (line["purpose"], line["model"], line["reply"]) == ("repair", "counting", "answer 1")
    assert line["request"]["system"] == "fixed"
    assert line["request"]["prompt"] == "changing"
    for name in ("time", "tokens_in", "tokens_out", "tokens_cached", "dollars", "seconds", "tries", "finish"):
        assert name in line


def test_a_failed_call_is_a_line_too_and_counts(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "t.jsonl")
    model = Recorded(Counting(failing=(1,)), transcript)
    with pytest.raises(CallFailed):
        model.ask(Request("s", "p"))
    model.ask(Request("s", "p"))
    first, second = transcript.lines()
    assert "reply" not in first
    assert first["error"] == "no luck"
    assert second["n"] == 2
    assert transcript.spent() == Spent(2, 117, 0.51, 0)


def test_keys_never_reach_the_transcript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", 'marked"quoted\\key')

    class Leaking(Counting):
        def ask(self, request: Request) -> Reply:
            assert KEY not in request.system
            return replace(super().ask(request), text=f'the key is\n{KEY} and marked"quoted\\key')

    model = Recorded(Leaking(), Transcript(tmp_path / "t.jsonl"))
    request = Request(f"a\n{KEY}", "b Bearer abcdefghijklmnopqrst")
    reply = model.ask(request)
    again = Recorded(Leaking(), Transcript(tmp_path / "t.jsonl")).ask(request)
    raw = (tmp_path / "t.jsonl").read_text()
    for secret in (KEY, "quoted", "abcdefghijklmnopqrst"):
        assert secret not in raw
        assert secret not in reply.text
    assert again.recorded
    assert again.text == reply.text


def test_what_was_asked_before_is_not_paid_twice(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    before = Recorded(Counting(), Transcript(path))
    for prompt in "abc":
        before.ask(Request("s", prompt))
    inner = Counting()
    model = Recorded(inner, Transcript(path), start=1)
    assert model.ask(Request("s", "b")).recorded
    assert not model.ask(Request("s", "c", purpose="other")).recorded
    assert model.ask(Request("s", "c")).text == "answer 3"
    assert not model.ask(Request("s", "a")).recorded
    assert inner.calls == 2
    assert [line["n"] for line in read_lines(path)] == [1, 2, 3, 4, 5]


def test_the_same_question_twice_gets_both_answers(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    for _ in range(2):
        model = Recorded(Counting(), Transcript(path))
        assert [model.ask(Request("s", "p")).text for _ in range(2)] == ["answer 1", "answer 2"]
    assert len(read_lines(path)) == 2


def limited(model: Model, path: Path, limits: BudgetLimits) -> Recorded:
    transcript = Transcript(path)
    return Recorded(model, transcript, budget=Budget(limits, [transcript]))


def test_a_budget_stops_before_the_call_and_more_lets_it_go_on(tmp_path: Path) -> None:
    path, inner = tmp_path / "t.jsonl", Counting()
    model = limited(inner, path, BudgetLimits(tokens=150))
    model.ask(Request("s", "1"))
    model.ask(Request("s", "2"))
    with pytest.raises(BudgetExceeded, match="150 tokens is used up"):
        model.ask(Request("s", "3"))
    assert inner.calls == 2
    resumed = limited(inner, path, BudgetLimits(tokens=150))
    assert resumed.ask(Request("s", "2")).recorded
    with pytest.raises(BudgetExceeded):
        resumed.ask(Request("s", "3"))
    limited(inner, path, BudgetLimits(tokens=1000)).ask(Request("s", "3"))
    assert inner.calls == 3


def test_a_budget_in_dollars(tmp_path: Path) -> None:
    model = limited(Counting(), tmp_path / "t.jsonl", BudgetLimits(usd=0.015))
    model.ask(Request("s", "1"))
    model.ask(Request("s", "2"))
    with pytest.raises(BudgetExceeded, match="--budget-usd"):
        model.ask(Request("s", "3"))


def test_a_shared_budget_counts_the_others(tmp_path: Path) -> None:
    transcripts = [Transcript(tmp_path / f"{name}.jsonl") for name in "ab"]
    budget = Budget(BudgetLimits(tokens=250), transcripts)
    first, second = (Recorded(Counting(), transcript, budget=budget) for transcript in transcripts)
    for model in (first, second, first):
        model.ask(Request("s", "p"))
    with pytest.raises(BudgetExceeded):
        second.ask(Request("s", "p"))
    resumed = Recorded(Counting(), transcripts[1], budget=Budget(BudgetLimits(tokens=250), transcripts), start=1)
    with pytest.raises(BudgetExceeded):
        resumed.ask(Request("s", "q"))


def test_calls_side_by_side_pass_the_budget_by_the_last_call_only(tmp_path: Path) -> None:
    """Each call uses 110 tokens: the tenth passes the budget, however many threads ask at a time."""
    transcripts = [Transcript(tmp_path / f"{number}.jsonl") for number in range(8)]
    budget = Budget(BudgetLimits(tokens=1000), transcripts)

    def spend(transcript: Transcript) -> None:
        model = Recorded(Counting(seconds=0.01), transcript, budget=budget)
        with suppress(BudgetExceeded):
            for number in range(100):
                model.ask(Request("s", str(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(spend, transcripts))
    assert sum((transcript.spent() for transcript in transcripts), Spent()).tokens == 1100


@pytest.mark.parametrize("limits", [{"usd": 0.0}, {"usd": -1.0}, {"tokens": 0}, {"usd": float("nan")}])
def test_a_budget_of_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(AgentError, match="above 0"):
        BudgetLimits(**limits)  # type: ignore[arg-type]


def test_an_unknown_price_needs_a_budget_in_tokens() -> None:
    spec = "openai:llama@http://127.0.0.1:1/v1"
    with pytest.raises(AgentError, match=r"price of openai:llama@.* is unknown.*--budget-tokens"):
        make_model(spec, environ={}, limits=BudgetLimits(usd=1.0))
    make_model(spec, environ={}, limits=BudgetLimits(usd=1.0, tokens=1000))


def test_a_script_answers_in_order_and_then_ends(tmp_path: Path) -> None:
    path = script(tmp_path / "s.jsonl", "one", "two")
    model = ReplayModel(path)
    assert [model.ask(Request("s", "p")).text for _ in range(2)] == ["one", "two"]
    with pytest.raises(AgentError, match="at its end: all 2 replies"):
        model.ask(Request("s", "p"))


def test_a_script_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path, record = script(tmp_path / "s.jsonl", "one", "two", "three"), tmp_path / "t.jsonl"
    spec = f"replay:{path}"
    first = make_model(spec, transcript=record, environ={}, start=0)
    assert [first.ask(Request("s", prompt)).text for prompt in "ab"] == ["one", "two"]
    # The second reply was recorded, but the launcher died before the turn was written down; the prompt has changed.
    resumed = make_model(spec, transcript=record, environ={}, start=1)
    assert [resumed.ask(Request("s", prompt)).text for prompt in "BC"] == ["two", "three"]
    assert len(read_lines(record)) == 3


def test_a_transcript_is_a_script(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    model = Recorded(Counting(failing=(2,)), Transcript(path))
    model.ask(Request("s", "a"))
    with pytest.raises(CallFailed):
        model.ask(Request("s", "b"))
    model.ask(Request("s", "b"))
    replay = make_model(f"replay:{path}", environ={})
    replies = [replay.ask(Request("other", "prompts")) for _ in range(2)]
    assert [reply.text for reply in replies] == ["answer 1", "answer 3"]
    assert [reply.dollars for reply in replies] == [0.0, 0.0]
    assert replies[0].tokens_in == 100


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no file to replay"), ("", "no replies"), ('{"reply": 3}\n', "no replies")]
)
def test_a_script_without_replies_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "s.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AgentError, match=said):
        ReplayModel(path)


def test_a_torn_last_line_is_left_out_said_and_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"n": 1, "reply": "one"}\n{"n": 2, "rep')
    assert [line["n"] for line in read_lines(path)] == [1]
    assert "torn" in caplog.text
    append_line(path, '{"n": 2}')
    assert path.read_bytes() == b'{"n": 1, "reply": "one"}\n{"n": 2}\n'


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"n": 1}')
    append_line(path, '{"n": 2}')
    assert [line["n"] for line in read_lines(path)] == [1, 2]


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(AgentError, match="line 2: not JSON"):
        read_lines(path)


def test_a_full_disk_leaves_nothing_half(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="cannot write /dev/full"):
        append_line(Path("/dev/full"), "x" * 100)


def test_unknown_prices_are_counted_as_unknown() -> None:
    lines = [{"tokens_in": 5, "dollars": None}, {"tokens_in": 6, "dollars": 0.25}]
    assert spent_by(lines) == Spent(2, 11, 0.25, 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(), max_size=5), st.binary(max_size=40).filter(lambda tail: b"\n" not in tail))
def test_whatever_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], tail: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "t.jsonl"
    for text in texts:
        append_line(path, json.dumps({"text": text}))
    with path.open("ab") as file:
        file.write(tail)
    append_line(path, json.dumps({"text": "last"}))
    found = [line["text"] for line in read_lines(path) if "text" in line]
    assert found == [*texts, "last"]


def test_no_question_is_paid_for_whose_answer_could_not_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting()
    model = Recorded(counting, Transcript(tmp_path / "t.jsonl"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(AgentError, match=r"only 1\.0 MB are left for .*t\.jsonl; free some space"):
        model.ask(Request(system="s", prompt="p", purpose="run_1"))
    assert counting.calls == 0
