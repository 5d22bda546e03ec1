"""The review of a real campaign: what its reader sees, served and from disk."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from http.client import HTTPConnection

import pytest
from git import Repo

from agent.campaign.record import Record
from agent.report.review.page import report_page
from agent.report.review.serve import make_server
from agent.review import main
from tests.agent.campaigns import ROOT
from tests.pace import idle_seconds


@pytest.fixture(scope="module")
def folder(campaign, tmp_path_factory):
    """A copy of the scripted campaign, among others that can't be read."""
    runs = tmp_path_factory.mktemp("reviewed")
    copy = runs / campaign[0].name
    shutil.copytree(campaign[0], copy, symlinks=True)
    damaged = runs / "20200101-000000_damaged"
    shutil.copytree(copy, damaged, symlinks=True)
    (damaged / "ledger.jsonl").write_text("not a ledger\n")
    return copy


@pytest.fixture(scope="module")
def page(folder):
    return report_page(Record.open(folder))


@pytest.fixture
def served(folder):
    server = make_server(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def get(port, address, host=None, method="GET"):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, address, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_campaign_left_its_report(campaign, page):
    written = (campaign[0] / "report.html").read_text()
    assert written == page
    assert "report.html" in (campaign[0] / ".gitignore").read_text()


def test_every_run_stands_in_the_page_with_all_that_happened(folder, page):
    campaign = Record.open(folder)
    for run in campaign.state.runs:
        assert f'<article id="run_{run.number}"' in page
    assert page.count("nothing was run</summary>") == sum(len(run.refused) for run in campaign.state.runs)
    failures = [attempt.failure for run in campaign.state.runs for attempt in run.attempts if attempt.failure]
    assert failures, "the scripted campaign has an attempt that fails"
    assert all(failure.kept in page for failure in failures)
    assert campaign.idea.Title in page


def test_a_runs_diff_is_gits(folder, page):
    campaign = Record.open(folder)
    for run in campaign.state.scored:
        section = page.split(f'id="diff_{run.number}"')[1].split("</table>")[0]
        diff = Repo(folder).git.diff(run.attempts[0].parent, run.last.commit, "--numstat", "--", "experiment.py")
        added, removed = map(int, diff.split()[:2])
        rows = re.findall(r'<tr class="(changed|gone|new)">', section)
        assert rows.count("changed") + rows.count("new") == added
        assert rows.count("changed") + rows.count("gone") == removed


def test_scores_in_the_page_are_those_on_disk(folder, page):
    results = json.loads((folder / "run_1" / "results.json").read_text())
    value = results["entries"]["core"]["metrics"]["explained_variance"]["value"]
    row = page.split('<a href="#run_1">')[1].split("</tr>")[0]
    assert f'data-order="{value}"' in row


def test_a_score_has_the_noise_of_its_baseline_around_it(page):
    chart = page.split('aria-label="absorption_fraction"')[1].split("</svg>")[0]
    assert chart.count('class="band"') == 1, "only of the baseline that the runs are judged against"


def test_it_needs_nothing_beside_it(page):
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert not re.findall(r"@import|<link (?!rel=\"icon\")", page)
    assert len(page.encode()) < 3_000_000


def test_making_it_is_quick(folder):
    assert idle_seconds(lambda: report_page(Record.open(folder))) < 1


def test_a_campaign_that_has_not_begun_has_a_page(folder, tmp_path):
    young = tmp_path / "young"
    shutil.copytree(folder, young, symlinks=True)
    first = (young / "ledger.jsonl").read_text().splitlines()[0]
    (young / "ledger.jsonl").write_text(first + "\n")
    shutil.rmtree(young / "run_0")
    made = report_page(Record.open(young))
    assert "The baselines are not there yet" in made
    assert "<dd>baselines</dd>" in made


def test_the_command_writes_the_page_and_the_index(folder, capsys):
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert main([str(folder.parent)]) == 0
    index = (folder.parent / "index.html").read_text()
    assert f'href="{folder.name}/report.html"' in index
    assert re.search(r"20200101-000000_damaged</b> can(&#39;|')t be read: .*line 1 is damaged", index)


@pytest.mark.parametrize("made", [[], ["experiment.py"]])
def test_a_folder_that_is_no_campaign_is_refused_in_one_line(tmp_path, capsys, made):
    for name in made:
        (tmp_path / name).write_text("")
    target = tmp_path if made else tmp_path / "missing"
    assert main([str(target)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_server_shows_the_page_and_what_it_links_to(served, folder):
    status, body = get(served, "/")
    assert status == 200
    assert "data-live" in body
    assert get(served, "/version")[0] == 200
    assert get(served, "/notes.txt")[1] == (folder / "notes.txt").read_text()
    assert get(served, "/figures/training.csv")[0] == 200
    assert get(served, "/", method="HEAD") == (200, "")


@pytest.mark.parametrize(
    "address",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/run_1/../../20200101-000000_damaged/notes.txt",
        "/.git/config",
        "/transcript.jsonl",
        "/ledger.jsonl",
        "/.lock",
        "/run_1/sae/weights.safetensors",
        "/notes.txt%00.png",
        "/link.txt",
    ],
)
def test_the_server_gives_out_nothing_else(served, folder, address):
    link = folder / "link.txt"
    if not link.is_symlink():
        link.symlink_to(folder.parent / "20200101-000000_damaged" / "notes.txt")
    assert get(served, address)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example:{port}"])
def test_the_server_answers_to_its_own_name_only(served, host):
    assert get(served, "/", host.replace("{port}", str(served)))[0] == 403
    assert get(served, "/", f"localhost:{served}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_server_only_reads(served, method):
    assert get(served, "/notes.txt", method=method)[0] == 501


def test_a_taken_port_is_said_in_one_line(served, folder, capsys):
    assert main([str(folder), "--serve", "--port", str(served)]) == 2
    assert "give another --port" in capsys.readouterr().err


def test_the_served_command_says_where_and_stops_at_ctrl_c(folder):
    command = [sys.executable, "-m", "agent.review", str(folder.parent), "--serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
            assert "Campaigns" in get(port, "/")[1]
            assert "Run by run" in get(port, f"/{folder.name}/report.html")[1]
            assert get(port, f"/{folder.name}/../{folder.name}/.git/config")[0] == 404
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        finally:
            process.kill()
