"""Serves the review of a campaign, or of all campaigns, to a browser on this machine while the loop goes on.

Read-only: it answers GET and HEAD, listens on loopback, refuses other Host headers (so that no foreign web page can
reach it by a name of its own) and gives out nothing from outside the folder.
"""

import logging
import mimetypes
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

from agent.errors import AgentError
from agent.report.review.page import INDEX, REPORT, index_page, open_campaign, report_page

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
# What a reader may want of a campaign; the rest of the folder (transcripts, git, locks) is nobody's page.
SHOWN = {".png", ".csv", ".txt", ".json", ".html", ".py", ".pdf"}


def make_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server for a campaign's folder, or for the folder of all campaigns.

    Args:
        folder: Either.
        port: Where it listens; 0 takes a free one.

    Returns:
        The server, not yet serving; `server_address` has its port.

    Raises:
        AgentError: The port is taken, or the folder is neither.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise AgentError(f"no such folder: {folder}")
    single = (root / "ledger.jsonl").is_file()

    class Handler(_Handler):
        site = _Site(root, single)

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise AgentError(f"cannot listen on {HOST}:{port} ({error}); give another --port") from error


class _Site:
    """What each address shows."""

    def __init__(self, root: Path, single: bool) -> None:
        self.root = root
        self.single = single

    def find(self, address: str) -> tuple[str, Callable[[], bytes]] | None:
        """The type and the maker of what an address shows; None when it shows nothing."""
        parts = [part for part in unquote(address).split("/") if part]
        folder = self.root
        if not self.single:
            if not parts or parts == [INDEX]:
                return "text/html", lambda: index_page(self.root, live=True).encode()
            if parts == ["version"]:
                return "text/plain", lambda: self._version(self.root.glob("*/ledger.jsonl"))
            folder, parts = self.root / parts[0], parts[1:]
            if folder.parent != self.root or not (folder / "ledger.jsonl").is_file():
                return None
        if not parts or parts == [REPORT]:
            return "text/html", lambda: report_page(open_campaign(folder), live=True).encode()
        if parts == ["version"]:
            return "text/plain", lambda: self._version([folder / "ledger.jsonl"])
        return self._file(folder, parts)

    def _file(self, folder: Path, parts: list[str]) -> tuple[str, Callable[[], bytes]] | None:
        path = folder.joinpath(*parts)
        if any(part.startswith(".") or "\0" in part or "\\" in part for part in parts) or path.suffix not in SHOWN:
            return None
        real = path.resolve()
        if not real.is_relative_to(folder.resolve()) or not real.is_file():
            return None
        return mimetypes.guess_type(real.name)[0] or "text/plain", real.read_bytes

    @staticmethod
    def _version(ledgers: Iterable[Path]) -> bytes:
        sizes = sorted((path.parent.name, path.stat().st_size) for path in ledgers)
        return repr(sizes).encode()


class _Handler(BaseHTTPRequestHandler):
    site: _Site
    server_version = "sae-scientist"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if not self._from_here():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this server answers to its own address only\n", body)
            return
        found = self.site.find(urlsplit(self.path).path)
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing here\n", body)
            return
        kind, make = found
        try:
            self._send(HTTPStatus.OK, kind, make(), body)
        except AgentError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n".encode(), body)

    def _from_here(self) -> bool:
        _, port = cast(tuple[str, int], self.server.server_address)
        return self.headers.get("Host") in {f"{name}:{port}" for name in (HOST, "localhost")}

    def _send(self, status: HTTPStatus, kind: str, content: bytes, body: bool) -> None:
        text = kind.startswith("text/") or kind.endswith("json")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
            "script-src 'unsafe-inline'; connect-src 'self'",
        )
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
