"""Every case of the benchmark's corpus comes out right."""

from pathlib import Path

import pytest

import bench.edit
from bench.edit.cases import Case, load_cases
from bench.edit.engines import ours
from bench.edit.judge import Answer, judge
from bench.edit.real import real_cases

CASES = load_cases(Path(bench.edit.__file__).parent / "cases")

TRANSCRIPT = """
#### What shall we try?

I change two things.

train.py
```python
<<<<<<< SEARCH
lr = 0.1
=======
lr = 0.2
=======
>>>>>>> REPLACE
```

```python
<<<<<<< SEARCH
steps = 1
=======
steps = 2
>>>>>>> REPLACE
```

> Tokens: 63k sent, 1.3k received. Cost: $0.21 message, $0.21 session.
> Applied edit to train.py

#### Go on.

ALL_COMPLETED

> Tokens: 1k sent, 3 received. Cost: $0.21 message, $0.21 session.
"""


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    answer = ours(case)
    assert judge(case, answer, codes=True) == "right", (answer.codes, answer.files)


def test_replies_of_a_transcript_become_cases(tmp_path: Path) -> None:
    file = tmp_path / "chat.txt"
    file.write_text(TRANSCRIPT, encoding="utf-8")
    (case,) = real_cases(file)
    assert b"lr = 0.1\n" in case.before["train.py"]
    assert b"lr = 0.2\n# line 0" in case.after["train.py"]
    assert judge(case, ours(case), codes=True) == "right"


def test_the_judge_tells_wrong_places_from_losses_and_refusals() -> None:
    case = Case("x", "y", ["reply"], {"a": b"1"}, {"a": b"2"})
    refused = Case("x", "y", ["reply"], {"a": b"1"}, expect="MISSING")
    verdicts = [
        judge(case, Answer({"a": b"2"}, False), codes=False),
        judge(case, Answer({"a": b"3"}, False), codes=False),
        judge(case, Answer({"a": b"3"}, True), codes=False),
        judge(case, Answer({"a": b"1"}, False), codes=False),
        judge(case, Answer({"a": b"1"}, True), codes=False),
        judge(refused, Answer({"a": b"2"}, False), codes=False),
        judge(refused, Answer({"a": b"1"}, False), codes=False),
        judge(refused, Answer({"a": b"1"}, True), codes=False),
        judge(refused, Answer({"a": b"1"}, True, frozenset({"AMBIGUOUS"})), codes=True),
    ]
    assert verdicts == ["right", "wrong_place", "half", "lost", "refused", "wrong_place", "lost", "right", "lost"]
