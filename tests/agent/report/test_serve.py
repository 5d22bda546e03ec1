"""The review server gives its pages to a browser on this machine, and nothing else to anybody."""

import base64
import hashlib
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from agent.campaign.record import Record
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.idea import load_idea
from agent.report.review.page import write_report
from agent.report.review.serve import make_server
from tests.agent.campaigns import IDEA, TINY

SECRET = "what nobody may read"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A campaign that has just begun, with what a run might leave and a user might put there."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(profile=str(TINY), model="replay:x")
    path = Workspace.create(load_idea(IDEA), settings, home / "runs").path
    outside = home / "outside"
    outside.mkdir()
    for secret in (outside / "x.txt", home / "x.txt", path / ".env", path / ".env.txt", path / ".git" / "x.txt"):
        secret.write_text(SECRET)
    (outside / "ledger.jsonl").write_bytes((path / "ledger.jsonl").read_bytes())
    (home / "ledger.jsonl").write_bytes((path / "ledger.jsonl").read_bytes())
    (path / "transcript.jsonl").write_text(SECRET)
    run = path / "run_1"
    run.mkdir()
    (run / "log.txt").write_text("a log\n")
    (run / "page.html").write_text("<script>alert(1)</script>")
    (run / "page.svg").write_text("<svg><script>alert(1)</script></svg>")
    for name, target in {
        "out.txt": outside / "x.txt",
        "out": outside,
        "hidden.txt": path / ".git" / "x.txt",
        "asked.txt": path / "transcript.jsonl",
        "page.txt": run / "page.html",
        "circle.txt": run / "circle.txt",
        "lost.txt": run / "nowhere",
    }.items():
        (run / name).symlink_to(target)
    os.mkfifo(run / "pipe.txt")
    (path.parent / "linked").symlink_to(outside)
    (path.parent / ".new_half").mkdir()
    (path.parent / ".new_half" / "ledger.jsonl").write_text("")
    return path


@pytest.fixture(scope="module", params=["one", "all"])
def served(request, folder):
    """The port of a server for the campaign, or for all campaigns, and how the campaign's addresses begin there."""
    server = make_server(folder if request.param == "one" else folder.parent)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_address[1], "" if request.param == "one" else f"/{folder.name}"
    server.shutdown()
    server.server_close()


def raw(port, request):
    """The status and all bytes of the answer to a request as it is."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    found = re.match(rb"HTTP/1\.0 (\d+)", answer)
    return int(found[1]) if found else 0, answer


def get(port, target, *headers, method="GET"):
    lines = [f"{method} {target} HTTP/1.1", *(headers or [f"Host: 127.0.0.1:{port}"]), "", ""]
    return raw(port, "\r\n".join(lines).encode("latin-1"))


UP = ["..", "%2e%2e", ".%2e", "%2E%2E", "%252e%252e", "..%00", "..;", "%c0%ae%c0%ae", "%uff0e%uff0e", "....", "..%5c.."]
BETWEEN = ["/", "%2f", "//", "/./", "%5c", "\\", "%252f"]


@pytest.mark.parametrize("up", UP)
@pytest.mark.parametrize("between", BETWEEN)
def test_no_way_up_leads_out(served, up, between):
    port, start = served
    for levels in range(1, 5):
        for end in ("x.txt", "outside/x.txt", "etc/hostname", "ledger.jsonl", ""):
            status, answer = get(port, f"{start}/{(up + between) * levels}{end}")
            assert status in (400, 404), (up, between, levels, end)
            assert SECRET.encode() not in answer


@pytest.mark.parametrize(
    "target",
    [
        "/run_1/out.txt",
        "/run_1/out/x.txt",
        "/run_1/hidden.txt",
        "/run_1/asked.txt",
        "/run_1/page.txt",
        "/run_1/circle.txt",
        "/run_1/lost.txt",
        "/run_1/pipe.txt",
        "/run_1/page.svg",
        "/run_1",
        "/run_1/",
        "/run_1/log.txt/x.txt",
        "/.env",
        "/.env.txt",
        "/%2eenv.txt",
        "/.git/x.txt",
        "/.git/config",
        "/.lock",
        "/transcript.jsonl",
        "/ledger.jsonl",
        f"/{'a' * 5000}.txt",
        f"/{'a/' * 3000}x.txt",
        "/notes.txt%00",
        "/notes.txt%00.txt",
        "/notes%FF.txt",
        "/~root/x.txt",
        "file:///etc/hostname",
        "*",
        "notes.txt",
    ],
)
def test_what_is_no_page_is_not_there(served, target):
    port, start = served
    status, answer = get(port, f"{start}{target}" if target.startswith("/") else target)
    assert status == 404
    assert SECRET.encode() not in answer


@pytest.mark.parametrize("target", ["/linked/", "/linked/x.txt", "/.new_half/", "/../ledger.jsonl", "/..", "/../x.txt"])
def test_only_campaigns_of_the_folder_are_there(folder, target):
    server = make_server(folder.parent)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        assert get(server.server_address[1], target)[0] == 404
    finally:
        server.shutdown()
        server.server_close()


def test_what_is_there_is_shown_and_never_acts(served):
    port, start = served
    for target, kind, content in [
        ("/notes.txt", b"text/plain", b""),
        ("/experiment.py", b"text/plain", b"import"),
        ("/idea.json", b"application/json", b'"Name"'),
        ("/run_1/log.txt?x=1", b"text/plain", b"a log"),
        ("/run_1/page.html", b"text/plain", b"<script>alert(1)</script>"),
        ("/report.html", b"text/html", b"Skip to the runs"),
    ]:
        status, answer = get(port, start + target)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert status == 200
        assert re.search(rb"Content-Type: " + kind + rb"(;|\r)", head), target
        assert content in body
        assert b"X-Content-Type-Options: nosniff" in head
        assert b"Cross-Origin-Resource-Policy: same-origin" in head
        assert b"Access-Control" not in head


def test_only_our_script_may_run(served):
    port, start = served
    for target in (f"{start}/report.html", f"{start}/notes.txt", "/"):
        head, _, body = get(port, target)[1].partition(b"\r\n\r\n")
        policy = re.search(rb"Content-Security-Policy: (.*)\r", head)[1].decode()
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        rule = re.search(r"script-src ([^;]*)", policy)[1]
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rule)
        for script in re.findall(rb"<script>(.*?)</script>", body, re.DOTALL) if b"<html" in body else []:
            assert f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" == rule


def test_the_page_on_disk_has_the_same_rule(folder):
    made = Path(write_report(Record.open(folder))).read_text()
    (rule,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made)
    script = re.search(r"<script>(.*?)</script>", made, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert made.count("<script") == 1
    assert f"script-src &#39;sha256-{digest}&#39;" in rule
    assert not re.search(r"<[^>]*\son\w+=|javascript:", made)


HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1",
    "localhost",
    "127.0.0.1:{port}.evil.example",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example:{port}",
    "localhost.:{port}",
    "127.0.0.1:1",
    "127.1:{port}",
    "127.0.0.2:{port}",
    "0.0.0.0:{port}",
    "2130706433:{port}",
    "[::1]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "user@127.0.0.1:{port}",
    "127.0.0.1:{port}, evil.example",
    "127.0.0.1:0{port}",
    "",
]


@pytest.mark.parametrize("host", HOSTS)
def test_no_other_name_is_answered(served, host):
    port, start = served
    for target in ("/", f"{start}/notes.txt", f"{start}/nothing"):
        assert get(port, target, f"Host: {host.format(port=port)}")[0] == 403


def test_a_name_has_to_be_there_once(served):
    port, _ = served
    own = f"Host: 127.0.0.1:{port}"
    assert get(port, "/", own)[0] == get(port, "/", f"host:localhost:{port}")[0] == 200
    assert get(port, "/", own, "Host: evil.example")[0] == 403
    assert get(port, "/", "Host: evil.example", own)[0] == 403
    assert get(port, "/", "X: y")[0] == 403
    assert raw(port, b"GET /\r\n\r\n")[1].endswith(b"its own address only\n")
    assert get(port, f"http://127.0.0.1:{port}/", own)[0] == 404
    assert get(port, "http://evil.example/", own)[0] == 404
    assert get(port, f"//evil.example:{port}/notes.txt", own)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "PROPFIND"])
def test_there_is_no_other_method(served, folder, method):
    port, start = served
    before = sorted(folder.iterdir())
    assert get(port, f"{start}/notes.txt", method=method)[0] == 501
    assert sorted(folder.iterdir()) == before


def test_head_tells_the_same_without_the_content(served):
    port, start = served
    asked, told = (get(port, f"{start}/notes.txt", method=method)[1] for method in ("GET", "HEAD"))
    lines = [line for line in asked.partition(b"\r\n\r\n")[0].split(b"\r\n") if not line.startswith(b"Date")]
    assert [line for line in told.split(b"\r\n") if line and not line.startswith(b"Date")] == lines
    assert get(port, f"{start}/run_1/out.txt", method="HEAD")[0] == 404


def test_endless_requests_end(served):
    port, _ = served
    own = f"Host: 127.0.0.1:{port}"
    assert get(port, f"/{'a' * 70_000}", own)[0] == 414
    assert get(port, "/", own, *(f"X-{number}: y" for number in range(200)))[0] == 431
    assert get(port, "/", own, f"X: {'y' * 70_000}")[0] == 431
    assert b"Bad request" in raw(port, b"\x16\x03\x01 \x00\xff\r\n\r\n")[1]
    assert get(port, "/", own)[0] == 200


def test_it_listens_on_loopback_alone(served):
    port, _ = served
    bound = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {fields[1] for fields in bound if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port}
    assert addresses == {f"0100007F:{port:04X}"}
    if Path("/proc/net/tcp6").exists():
        assert not re.search(rf":{port:04X} \S+ 0A", Path("/proc/net/tcp6").read_text())


def test_a_file_that_can_no_longer_be_read_is_not_there(served, folder, monkeypatch):
    port, start = served

    def gone(path):
        raise FileNotFoundError(2, "gone", str(path))

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert get(port, f"{start}/notes.txt")[0] == 404
