"""Starting campaigns as a user does, for the tests."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "profiles" / "tiny.toml"
IDEA = "hierarchical_orthogonal_sae"


def launch(*arguments, cwd=None, **kwargs):
    command = [sys.executable, "-m", "agent.launch", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd or ROOT, capture_output=True, text=True, timeout=600, check=False, **kwargs)
