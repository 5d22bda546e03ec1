"""The two languages of the model server, and the words for what it is asked and told to do wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Protocol

STALL_SECONDS = 20.0


@dataclass(frozen=True)
class Fault:
    """The fault of one call.

    Attributes:
        kind: "status", "cut", "end" (the stream ends early but cleanly), "empty", "malformed", "stall", "length",
            "stream_error", "context", "drop" (the connection closes without a word), "silent" (a stream that opens
            and closes).
        status: for "status".
        headers: more headers of the response.
        message: the error's text.
        seconds: for "stall".
        error: the error's type, for "stream_error" and "status".

    `{key}` in the message, the type and the headers becomes the key of the request, as some servers echo it.
    """

    kind: str
    status: int = 500
    headers: tuple[tuple[str, str], ...] = ()
    message: str = "told to fail"
    seconds: float = STALL_SECONDS
    error: str = "server_error"

    def told(self, key: str) -> Fault:
        """The fault as it is told to who came with a key."""
        headers = tuple((name, value.replace("{key}", key)) for name, value in self.headers)
        message, error = (text.replace("{key}", key) for text in (self.message, self.error))
        return replace(self, headers=headers, message=message, error=error)


def fault(text: str) -> Fault:
    """A fault by its short name: a status such as `429`, `429@2` (retry-after: 2), or a kind such as `cut`."""
    head, _, wait = text.partition("@")
    if head.isdigit():
        return Fault("status", status=int(head), headers=(("retry-after", wait),) if wait else ())
    if head == "stall" and wait:
        return Fault("stall", seconds=float(wait))
    return Fault(head)


@dataclass
class Call:
    """One request as the server got it."""

    path: str
    key: str
    headers: dict[str, str]
    body: dict[str, Any]
    fault: str = ""

    @property
    def prompt(self) -> str:
        return "".join(_text(message["content"]) for message in self.body["messages"] if message["role"] == "user")

    @property
    def system(self) -> str:
        if "system" in self.body:
            return _text(self.body["system"])
        return "".join(_text(message["content"]) for message in self.body["messages"] if message["role"] == "system")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def count_tokens(text: str) -> int:
    """The server's token count: a token is four characters."""
    return -(-len(text) // 4)


class Server(Protocol):
    """The part of the server that a speaker needs."""

    usage: bool
    piece: int

    def reply_to(self, call: Call) -> str: ...

    def cached_before(self, system: str) -> bool: ...

    def wait(self, seconds: float) -> None: ...


class Speaker:
    """One answer in one of the two languages; the faults inside a stream are the same in both."""

    def __init__(self, handler: Any, server: Server, call: Call, planned: Fault | None) -> None:
        self.handler = handler
        self.server = server
        self.call = call
        self.fault = planned
        self.kind = planned.kind if planned is not None else ""
        self.reply = "" if self.kind == "empty" else server.reply_to(call)
        limit = call.body.get("max_tokens") or call.body.get("max_completion_tokens")
        self.cut_off = self.kind == "length" or (limit is not None and count_tokens(self.reply) > limit)
        if self.cut_off:
            self.reply = self.reply[: 4 * limit if limit else len(self.reply) // 2]

    def answer(self) -> None:
        if self.kind == "stall" and self.fault is not None:
            self.server.wait(self.fault.seconds)
        if not self.call.body.get("stream"):
            self.handler.send_json(200, self.whole())
            return
        self.handler.start_stream()
        if self.kind == "silent":
            self.handler.close_connection = True
            return
        self.opening()
        pieces = [
            self.reply[start : start + self.server.piece] for start in range(0, len(self.reply), self.server.piece)
        ]
        for number, piece in enumerate(pieces):
            if number >= len(pieces) // 2 and self._break_off():
                return
            self.piece(piece)
        if not pieces and self._break_off():
            return
        self.closing()
        self.handler.end_stream()

    def _break_off(self) -> bool:
        if self.kind == "cut":
            self.handler.close_connection = True
            return True
        if self.kind == "end":
            self.handler.end_stream()
            return True
        if self.kind == "malformed":
            self.handler.send_raw(self.malformed())
            self.handler.end_stream()
            return True
        if self.kind == "stream_error" and self.fault is not None:
            self.handler.send_raw(self.error(self.fault))
            self.handler.end_stream()
            return True
        return False

    def whole(self) -> dict[str, Any]:
        raise NotImplementedError

    def opening(self) -> None:
        raise NotImplementedError

    def piece(self, text: str) -> None:
        raise NotImplementedError

    def closing(self) -> None:
        raise NotImplementedError

    def error(self, planned: Fault) -> str:
        raise NotImplementedError

    def malformed(self) -> str:
        raise NotImplementedError


class OpenAISpeaker(Speaker):
    def _usage(self) -> dict[str, Any]:
        known = self.server.cached_before(self.call.system)
        prompt, output = count_tokens(self.call.system + self.call.prompt), count_tokens(self.reply)
        cached = count_tokens(self.call.system) if known else 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> None:
        body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": self.call.body["model"]}
        self.handler.send_raw(f"data: {json.dumps({**body, 'choices': choices, **more})}\n\n")

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.reply}
        finish = "length" if self.cut_off else "stop"
        body = {"id": "c", "object": "chat.completion", "created": 0, "model": self.call.body["model"]}
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        return {**body, "choices": choices, "usage": self._usage()}

    def opening(self) -> None:
        self._chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def piece(self, text: str) -> None:
        self._chunk([{"index": 0, "delta": {"content": text}, "finish_reason": None}])

    def closing(self) -> None:
        self._chunk([{"index": 0, "delta": {}, "finish_reason": "length" if self.cut_off else "stop"}])
        if self.server.usage and (self.call.body.get("stream_options") or {}).get("include_usage"):
            self._chunk([], usage=self._usage())
        self.handler.send_raw("data: [DONE]\n\n")

    def error(self, planned: Fault) -> str:
        return f"data: {json.dumps({'error': {'type': planned.error, 'message': planned.message}})}\n\n"

    def malformed(self) -> str:
        return 'data: {"choices": [{"delta": {"content": "ha\n\n'


class AnthropicSpeaker(Speaker):
    def _usage(self) -> dict[str, Any]:
        system = self.call.body.get("system")
        marked = isinstance(system, list) and any("cache_control" in part for part in system)
        fixed = count_tokens(self.call.system) if marked else 0
        known = marked and self.server.cached_before(self.call.system)
        return {
            "input_tokens": count_tokens(self.call.system + self.call.prompt) - fixed,
            "cache_creation_input_tokens": 0 if known else fixed,
            "cache_read_input_tokens": fixed if known else 0,
            "output_tokens": 1,
        }

    def _event(self, body: dict[str, Any]) -> None:
        self.handler.send_raw(f"event: {body['type']}\ndata: {json.dumps(body)}\n\n")

    def _message(self, usage: dict[str, Any], text: str | None, stop: str | None) -> dict[str, Any]:
        content = [] if text is None else [{"type": "text", "text": text}]
        body = {"id": "m", "type": "message", "role": "assistant", "model": self.call.body["model"]}
        return {**body, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def _stop(self) -> str:
        return "max_tokens" if self.cut_off else "end_turn"

    def whole(self) -> dict[str, Any]:
        usage = {**self._usage(), "output_tokens": count_tokens(self.reply)}
        return self._message(usage, self.reply, self._stop())

    def opening(self) -> None:
        self._event({"type": "message_start", "message": self._message(self._usage(), None, None)})
        self._event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        self._event({"type": "ping"})

    def piece(self, text: str) -> None:
        self._event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})

    def closing(self) -> None:
        self._event({"type": "content_block_stop", "index": 0})
        delta = {"stop_reason": self._stop(), "stop_sequence": None}
        self._event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": count_tokens(self.reply)}})
        self._event({"type": "message_stop"})

    def error(self, planned: Fault) -> str:
        body = {"type": "error", "error": {"type": planned.error, "message": planned.message}}
        return f"event: error\ndata: {json.dumps(body)}\n\n"

    def malformed(self) -> str:
        return 'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"te\n\n'
