"""aider's own parser and matcher on cases; runs under the Python of aider's environment, with nothing of ours imported.

Each line of standard input is a JSON object with ``files`` (base64 by path), ``replies`` and ``editable``; each line of
standard output is one with ``files``, ``refused`` and ``seconds``. No network is used.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ.setdefault("OPENAI_API_KEY", "unused")


def main() -> None:
    """Answer cases until the end of input."""
    from aider import models
    from aider.coders import Coder
    from aider.io import InputOutput

    # Prices are looked up on the network unless a table is there.
    models.model_info_manager.content = {"gpt-4o": {"max_input_tokens": 128_000}}
    models.model_info_manager._cache_loaded = True
    out = os.fdopen(os.dup(1), "w")
    model = models.Model("gpt-4o")
    for line in sys.stdin:
        case = json.loads(line)
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
            root = Path(name).resolve()
            _write(root, case["files"])
            os.chdir(root)
            names = [str(root / path) for path in case["editable"]]
            console = InputOutput(yes=True, pretty=False, fancy_input=False, output=io.StringIO())
            coder = Coder.create(main_model=model, edit_format="diff", io=console, fnames=names, use_git=False)
            coder.root = str(root)
            answer = _answer(coder, case["replies"])
            answer["files"] = _read(root)
            os.chdir("/")
        out.write(json.dumps(answer) + "\n")
        out.flush()


def _answer(coder: Any, replies: list[str]) -> dict[str, Any]:
    seconds, refused = 0.0, False
    for reply in replies:
        coder.partial_response_content = reply
        coder.reflected_message = None
        errors = coder.io.num_error_outputs
        start = time.perf_counter()
        coder.apply_updates()
        seconds += time.perf_counter() - start
        # An answer to the model, or at least a word to the user.
        refused = bool(coder.reflected_message) or coder.io.num_error_outputs > errors
    return {"refused": refused, "seconds": seconds}


def _write(root: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(content))


def _read(root: Path) -> dict[str, str]:
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and not file.name.startswith(".aider")]
    return {file.relative_to(root).as_posix(): base64.b64encode(file.read_bytes()).decode() for file in files}


if __name__ == "__main__":
    main()
