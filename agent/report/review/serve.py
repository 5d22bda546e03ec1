"""Serves the review of a campaign, or of all campaigns, to a browser on this machine while the loop goes on.

Read-only: it answers GET and HEAD, listens on loopback, refuses other Host headers (so that no foreign web page can
reach it by a name of its own) and gives out nothing from outside the folder.
"""

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from agent.base.errors import AgentError
from agent.campaign.record import Record
from agent.report.review.page import INDEX, POLICY, REPORT, index_page, report_page
from lab.errors import LabError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
HTTP_PORT = 80
# What a reader may want of a campaign, and as what it is shown: a page that a run left as its source, so that nothing
# in it acts. The rest of the folder (transcripts, git, locks) is nobody's page.
SHOWN = {
    ".png": "image/png",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".json": "application/json",
    ".html": "text/plain",
    ".py": "text/plain",
    ".pdf": "application/pdf",
}
# Whoever connects and says nothing is not waited for longer, seconds.
PATIENCE = 30.0


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
    """The page at each address."""

    def __init__(self, root: Path, single: bool) -> None:
        self.root = root
        self.single = single

    def find(self, address: str) -> tuple[str, Callable[[], bytes]] | None:
        """The type and the maker of what an address shows; None when it shows nothing."""
        parts = [part for part in unquote(address).split("/") if part]
        if any(part.startswith(".") or "\0" in part or "\\" in part for part in parts):
            return None
        folder = self.root
        if not self.single:
            if not parts or parts == [INDEX]:
                return "text/html", lambda: index_page(self.root, live=True).encode()
            if parts == ["version"]:
                return "text/plain", lambda: self._version(self.root.glob("*/ledger.jsonl"))
            folder, parts = self.root / parts[0], parts[1:]
            if folder.resolve() != folder or not (folder / "ledger.jsonl").is_file():
                return None
        if not parts or parts == [REPORT]:
            return "text/html", lambda: report_page(Record.open(folder), live=True).encode()
        if parts == ["version"]:
            return "text/plain", lambda: self._version([folder / "ledger.jsonl"])
        return self._file(folder, parts)

    def _file(self, folder: Path, parts: list[str]) -> tuple[str, Callable[[], bytes]] | None:
        path = folder.joinpath(*parts)
        # A link leads to what its name does not say, even within the folder.
        if path.suffix not in SHOWN or path.resolve() != path or not path.is_file():
            return None
        return SHOWN[path.suffix], path.read_bytes

    @staticmethod
    def _version(ledgers: Iterable[Path]) -> bytes:
        sizes = sorted((path.parent.name, path.stat().st_size) for path in ledgers)
        return repr(sizes).encode()


class _Handler(BaseHTTPRequestHandler):
    site: _Site
    server_version = "sae-scientist"
    timeout = PATIENCE
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if not self._from_here():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this server answers to its own address only\n", body)
            return
        status, kind, content = self._made()
        self._send(status, kind, content, body)

    def _made(self) -> tuple[HTTPStatus, str, bytes]:
        try:
            # A whole address is what a proxy is asked for, which this is not.
            found = self.site.find(self.path.partition("?")[0]) if self.path.startswith("/") else None
            if found is not None:
                kind, make = found
                return HTTPStatus.OK, kind, make()
        except (AgentError, LabError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n".encode()
        except (OSError, RuntimeError) as error:  # gone meanwhile, a name too long, links in a circle
            log.debug("%s: %s", self.path, error)
        return HTTPStatus.NOT_FOUND, "text/plain", b"nothing here\n"

    def _from_here(self) -> bool:
        _, port = cast(tuple[str, int], self.server.server_address)
        names = {f"{name}:{port}" for name in (HOST, "localhost")} | (
            {HOST, "localhost"} if port == HTTP_PORT else set()
        )
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and hosts[0] in names

    def _send(self, status: HTTPStatus, kind: str, content: bytes, body: bool) -> None:
        text = kind.startswith("text/") or kind.endswith("json")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        # No page from elsewhere may show it in a frame, or take in what is here as its own picture or script.
        self.send_header(
            "Content-Security-Policy", f"{POLICY}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
