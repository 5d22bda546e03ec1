"""A model server for tests: it speaks OpenAI's chat completions and Anthropic's messages, and fails on request.

It listens on loopback only. Faults are taken from a plan, one a call; when the plan is at its end every call is
answered. To run it by hand: `python -m tests.servers.model_server --reply TEXT --faults 429,cut,500`.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.speakers import AnthropicSpeaker, Call, Fault, OpenAISpeaker, count_tokens, fault

__all__ = ["Call", "Fault", "ModelServer", "count_tokens", "fault"]

Replies = Sequence[str] | Callable[[Call], str]


@dataclass
class ModelServer:
    """A running server; use it as a context manager.

    Attributes:
        replies: the answers in order (the last is repeated), or a function of the call.
        faults: the plan, one entry a call; None is no fault.
        key: the only key that is accepted; any when empty.
        usage: whether token counts are sent.
        piece: characters in a piece of a streamed reply.
    """

    replies: Replies = ("a reply",)
    faults: Sequence[Fault | None] = ()
    key: str = ""
    usage: bool = True
    piece: int = 7
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = 0
        self._cached: set[str] = set()
        self._stopped = threading.Event()

    def __enter__(self) -> ModelServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=5)

    @property
    def url(self) -> str:
        """The base address for Anthropic's client."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """The base address for OpenAI's client."""
        return f"{self.url}/v1"

    def receive(self, call: Call) -> Fault | None:
        """Note the call and take the next fault of the plan."""
        with self._lock:
            self.calls.append(call)
            number = len(self.calls) - 1
            planned = self.faults[number] if number < len(self.faults) else None
            call.fault = planned.kind if planned is not None else ""
            return planned

    def reply_to(self, call: Call) -> str:
        """The text of the next answer."""
        if callable(self.replies):
            return self.replies(call)
        with self._lock:
            text = self.replies[min(self._answered, len(self.replies) - 1)]
            self._answered += 1
            return text

    def cached_before(self, system: str) -> bool:
        """Tell whether this system text was sent before; it is remembered from now on."""
        with self._lock:
            known = system in self._cached
            self._cached.add(system)
            return known

    def wait(self, seconds: float) -> None:
        """Say nothing for a while, or until the server is stopped."""
        self._stopped.wait(seconds)


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *unused: object) -> None:
            pass

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
            call = Call(self.path, key, headers, json.loads(raw))
            planned = server.receive(call)
            planned = planned.told(call.key) if planned is not None else None
            try:
                self._answer(call, planned)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _answer(self, call: Call, planned: Fault | None) -> None:
            kind = planned.kind if planned is not None else ""
            if server.key and call.key != server.key:
                self._error(call, 401, "authentication_error", f"incorrect API key provided: {call.key}")
            elif planned is not None and kind == "status":
                self._error(call, planned.status, planned.error, planned.message, planned.headers)
            elif kind == "context":
                self._context_error(call)
            elif kind == "drop":
                self.close_connection = True
            elif call.path == "/v1/chat/completions":
                OpenAISpeaker(self, server, call, planned).answer()
            elif call.path == "/v1/messages":
                AnthropicSpeaker(self, server, call, planned).answer()
            else:
                self._error(call, 404, "not_found_error", f"no such path: {call.path}")

        def _context_error(self, call: Call) -> None:
            if call.path == "/v1/messages":
                self._error(call, 400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
            else:
                text = "This model's maximum context length is 4096 tokens; your messages have 9000."
                self._error(call, 400, "context_length_exceeded", text)

        def _error(
            self, call: Call, status: int, error: str, message: str, headers: Sequence[tuple[str, str]] = ()
        ) -> None:
            inner = {"type": error, "code": error, "message": message}
            self.send_json(status, {"type": "error", "error": inner}, headers)

        def send_json(self, status: int, body: Any, headers: Sequence[tuple[str, str]] = ()) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def start_stream(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()

        def send_raw(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def end_stream(self) -> None:
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()

    return Handler


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the address is printed first."""
    parser = argparse.ArgumentParser(description="a local model server that fails on request")
    parser.add_argument("--reply", action="append", default=[], help="an answer; may be given several times")
    parser.add_argument("--replies", help="a JSON-lines file whose lines have `reply`")
    parser.add_argument("--faults", default="", help="one a call, such as 429,429@2,500,cut,empty,malformed,stall@20")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after this time")
    options = parser.parse_args(arguments)
    replies = list(options.reply)
    if options.replies:
        with open(options.replies, encoding="utf-8") as file:  # noqa: PTH123
            replies += [json.loads(line)["reply"] for line in file if line.strip()]
    plan = [None if name in ("", "ok") else fault(name) for name in options.faults.split(",")] if options.faults else []
    with ModelServer(replies or ["a reply"], plan) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        try:
            time.sleep(options.seconds)
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
