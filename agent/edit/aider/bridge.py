"""A door for another program to the campaign's model: OpenAI's chat completions on loopback.

The other program gets neither a key nor a way past the budgets: every question goes through our `Model`, so it is a
line of the transcript, is retried as ours are, and can be replayed. The door opens to a token made for this one use.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent.base.errors import AgentError
from agent.models.base import Model, Reply, Request

MODEL_NAME = "campaign"


class Bridge:
    """Serves one model to one program; a context manager.

    Attributes:
        token: what the program must send as its key.
        replies: what the model answered so far.
        failure: the error that stopped the model, if one did; every later question is refused.
    """

    def __init__(self, model: Model, *, purpose: str, max_tokens: int | None = None) -> None:
        """Nothing is served yet.

        Args:
            model: who answers.
            purpose: the purpose of the calls, for the transcript.
            max_tokens: the longest reply; what the program asks for when None.
        """
        self.token = secrets.token_urlsafe(24)
        self.replies: list[Reply] = []
        self.failure: AgentError | None = None
        self._model = model
        self._purpose = purpose
        self._max_tokens = max_tokens
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Bridge:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=5)

    @property
    def url(self) -> str:
        """The base address, to be given to the program."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def answer(self, body: Mapping[str, Any]) -> Reply:
        """Ask the model what the program asks.

        Args:
            body: the request of the chat completions interface.

        Raises:
            AgentError: as the model does; kept in `failure` too.
        """
        with self._one_at_a_time:
            if self.failure is not None:
                raise self.failure
            try:
                reply = self._model.ask(request_of(body, purpose=self._purpose, max_tokens=self._max_tokens))
            except AgentError as error:
                self.failure = error
                raise
            self.replies.append(reply)
            return reply


def request_of(body: Mapping[str, Any], *, purpose: str, max_tokens: int | None = None) -> Request:
    """A chat as one request: the leading system messages are the fixed part, the rest is written out by roles.

    Args:
        body: the request of the chat completions interface.
        purpose: for the transcript.
        max_tokens: the longest reply; the body's when None.
    """
    messages = [(str(message.get("role")), _text(message.get("content"))) for message in body.get("messages") or []]
    fixed = 0
    while fixed < len(messages) and messages[fixed][0] == "system":
        fixed += 1
    rest = messages[fixed:]
    prompt = rest[0][1] if len(rest) == 1 else "\n\n".join(f"[{role}]\n{text}" for role, text in rest)
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    return Request(
        system="\n\n".join(text for _, text in messages[:fixed]),
        prompt=prompt,
        max_tokens=max_tokens if max_tokens is not None else asked if isinstance(asked, int) else None,
        purpose=purpose,
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def _handler(bridge: Bridge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *unused: object) -> None:
            pass

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            given = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            if not secrets.compare_digest(given.encode(), bridge.token.encode()):
                self._send_error(401, "this door has another token")
            elif not self.path.rstrip("/").endswith("/chat/completions"):
                self._send_error(404, "only chat completions are served")
            else:
                self._answer(raw)

        def _answer(self, raw: bytes) -> None:
            try:
                body = json.loads(raw)
                reply = bridge.answer(body)
            except (ValueError, AttributeError) as error:
                self._send_error(400, f"not a request: {error}")
            except AgentError as error:
                # A status that no client tries again: our own model has done so already.
                self._send_error(400, str(error))
            else:
                self._send_reply(reply, streamed=bool(body.get("stream")))

        def _send_reply(self, reply: Reply, *, streamed: bool) -> None:
            usage = {"prompt_tokens": reply.tokens_in, "completion_tokens": reply.tokens_out}
            whole = {"id": "reply", "created": int(time.time()), "model": MODEL_NAME}
            usage["total_tokens"] = reply.tokens_in + reply.tokens_out
            if not streamed:
                choice = {"index": 0, "message": {"role": "assistant", "content": reply.text}}
                choices: Sequence[Any] = [{**choice, "finish_reason": reply.finish}]
                body = {**whole, "object": "chat.completion", "choices": choices, "usage": usage}
                self._send(200, "application/json", json.dumps(body).encode())
                return
            first = {"index": 0, "delta": {"role": "assistant", "content": reply.text}, "finish_reason": None}
            last = {"index": 0, "delta": {}, "finish_reason": reply.finish}
            chunks = [{**whole, "object": "chat.completion.chunk", "choices": [choice]} for choice in (first, last)]
            chunks.append({**whole, "object": "chat.completion.chunk", "choices": [], "usage": usage})
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
            self._send(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())

        def _send_error(self, status: int, message: str) -> None:
            body = {"error": {"message": message, "type": "invalid_request_error", "code": None}}
            self._send(status, "application/json", json.dumps(body).encode())

        def _send(self, status: int, kind: str, data: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except ConnectionError:
                self.close_connection = True

    return Handler
