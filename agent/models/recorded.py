"""A model whose every call is a line of the transcript, and which never pays for the same call twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.base.keys import scrub
from agent.models.base import CallFailed, Model, Reply, Request
from agent.models.budget import Budget, BudgetLimits
from agent.models.transcript import Transcript, reply_from, spent_on


class Recorded:
    """Wraps a model: budget before a call, transcript after it, and recorded replies in place of calls on resume."""

    def __init__(
        self,
        model: Model,
        transcript: Transcript,
        *,
        budget: Budget | None = None,
        start: int | None = None,
        in_order: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Take up the transcript where it stands.

        Args:
            model: who answers what the transcript does not.
            transcript: the campaign's; its lines after `start` may answer calls of the resumed campaign.
            budget: asked before each real call, and told after it; no limit when None.
            start: the number of the last line whose reply the campaign's finished turns have used (`Reply.call`).
            in_order: answer with the lines after `start` whatever is asked, as a script would; needs `start`.
            check: called before each real call; raises when the user wants to stop.
        """
        self.model = model
        self.transcript = transcript
        self._budget = budget or Budget(BudgetLimits(), [])
        answered = (line for line in transcript.lines() if isinstance(line.get("reply"), str))
        self._pending = [line for line in answered if int(line.get("n") or 0) > (start or 0)]
        self._in_order = in_order and start is not None
        self._check = check

    @property
    def name(self) -> str:
        return self.model.name

    def ask(self, request: Request) -> Reply:
        """Answer from the transcript if it holds this very request, else call the model and record the call.

        Raises:
            BudgetExceeded: when a budget is used up; no call was made.
            AgentError: when the model gave no whole reply; the failure is recorded with what it cost. Or when the disk
                has no room for a reply, before it is paid for.
        """
        # A key that strayed into a prompt, out of a run's output say, is not for the provider either.
        request = replace(request, system=scrub(request.system), prompt=scrub(request.prompt))
        line = self._take(request)
        if line is not None:
            return replace(reply_from(line), recorded=True)
        self.transcript.check_room()
        with self._budget.call(self._check):
            try:
                reply = self.model.ask(request)
            except CallFailed as failure:
                self.transcript.append_failure(request, self.name, str(failure), failure.cost)
                self._budget.add(spent_on(failure.cost))
                raise
            self._budget.add(spent_on(reply))
            return self.transcript.append(request, replace(reply, text=scrub(reply.text)))

    def _take(self, request: Request) -> dict[str, Any] | None:
        for position, line in enumerate(self._pending):
            same = line.get("fingerprint") == request.fingerprint and line.get("purpose") == request.purpose
            if same or self._in_order:
                del self._pending[: position + 1]
                return line
        return None
