"""A server of OpenAlex's works search, on loopback, with a plan of faults."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WORK = {
    "id": "https://openalex.org/W1",
    "doi": "https://doi.org/10.1000/x_1",
    "display_name": "Sparse dictionaries & their {uses}",
    "publication_year": 2023,
    "authorships": [{"author": {"display_name": "Ana Müller"}}, {"author": {"display_name": "Bo Li"}}],
    "primary_location": {"source": {"display_name": "Journal of Tests"}},
}
WITHOUT_YEAR: dict[str, object] = {
    "id": "https://openalex.org/W2",
    "display_name": "No year",
    "authorships": [],
    "publication_year": None,
}


@dataclass
class OpenAlex:
    """A running server; use it as a context manager.

    Attributes:
        faults: the statuses of the first answers; 200 is none.
        queries: what was searched.
    """

    faults: list[int] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    def __enter__(self) -> OpenAlex:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._http.server_port}"


def _handler(server: OpenAlex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            assert parts.path == "/works", parts.path
            server.queries.append(parse_qs(parts.query)["search"][0])
            status = server.faults.pop(0) if server.faults else 200
            body = json.dumps({"results": [WORK, WITHOUT_YEAR], "meta": {"count": 2}}).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *unused: object) -> None:
            pass

    return Handler
