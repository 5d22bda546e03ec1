"""Events with all their fields, for tests that care about some of them."""

from typing import Any

from agent.campaign.events import (
    BaselinesMade,
    Completed,
    Confirming,
    ConfirmTrained,
    Edited,
    Ended,
    Event,
    Failed,
    GivenUp,
    Matched,
    PlotEdited,
    Ran,
    Refereed,
    Refused,
    Scored,
    SeedsDrawn,
    SeedsRevealed,
    Smoked,
    SmokeFailed,
    Started,
)
from agent.campaign.repeats import Looked, SeedTrained
from agent.campaign.settings import Settings

FIELDS: dict[type[Event], dict[str, Any]] = {
    Started: {"idea": "i", "commit": "t", "settings": Settings()},
    BaselinesMade: {"keys": {"topk": "k"}, "runs": ["topk_seed0"], "conditions": {"template": "t", "facts": {}}},
    Refused: {"run": 1, "call": 1, "fault": "format", "feedback": "f", "held": [], "reply": "", "said": {}},
    Edited: {
        "run": 1, "commit": "c", "parent": "p", "code": "k", "change": "x", "prediction": "", "predictions": [],
        "analysis": "", "call": 1,
    },
    Smoked: {"run": 1, "seconds": 1.0, "weights": ["a", "b"], "settings": {}, "later": []},
    SmokeFailed: {"run": 1, "attempt": 1, "reason": "r", "output": "o", "seconds": 1.0, "kept": "run_1_smoke_1"},
    Failed: {"run": 1, "attempt": 1, "reason": "r", "output": "o", "seconds": 1.0, "kept": "run_1_failed_1"},
    Ran: {"run": 1, "seconds": 1.0, "idle": [], "files": {"sae/sae.json": "h"}, "sandbox": "landlock"},
    Scored: {
        "run": 1, "seconds": 1.0, "sandbox": "landlock", "sae": "w", "against": "topk",
        "verdicts": {"core.explained_variance": "within noise"}, "match": None,
    },
    Matched: {
        "run": 1, "k": 24, "key": "k", "runs": ["topk_l0_24_seed0"], "against": "topk_l0_24",
        "verdicts": {"core.explained_variance": "improved"},
    },
    SeedTrained: {
        "run": 1, "seed": 7, "seconds": 1.0, "failure": "", "output": "", "kept": "run_1_seed7", "files": {},
    },
    Looked: {
        "run": 1, "seeds": 1, "wanted": 3, "most": 6, "reason": "r", "against": "topk", "match": [],
        "failure": "",
        "verdicts": {"core.explained_variance": "undecided"},
    },
    Refereed: {"run": 1, "model": "m", "findings": ["f"], "failure": "", "tokens": 10, "dollars": 0.5, "call": 1},
    GivenUp: {"run": 1, "reason": "failed 4 times"},
    Ended: {"reason": "the model said ALL_COMPLETED", "analysis": "", "call": 2},
    SeedsDrawn: {"seeds": "0" * 64},
    SeedsRevealed: {"secret": "ab"},
    Confirming: {"run": 1, "against": "topk", "seeds": [3], "reason": "best"},
    ConfirmTrained: {"seed": 3, "seconds": 1.0, "failure": "", "output": "", "kept": "run_1_confirm_seed3"},
    PlotEdited: {"commit": "q", "analysis": "", "call": 3},
    Completed: {"runs": 1, "scored": 1, "differences": []},
}  # fmt: skip


def an(event: type[Event], **changed: Any) -> Event:
    """An event of a class, with other values for some fields."""
    return event(**{**FIELDS[event], **changed})
