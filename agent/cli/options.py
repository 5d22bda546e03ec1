"""The options of `python -m agent.launch`; only what is quick to import is imported here."""

import argparse
from pathlib import Path

from agent.base.places import IDEAS, RUNS
from agent.compute.executor import EXECUTORS
from agent.results.sequential import LOOKS


def with_settings() -> list[str]:
    """The executors that have settings, each an option's name."""
    return [name for name, kind in EXECUTORS.items() if kind.settings]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number, 1 or more, not {text!r}")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m agent.launch`."""
    parser = argparse.ArgumentParser(
        prog="python -m agent.launch",
        description="Have a language model try an idea for a sparse autoencoder: edit, gate, run, score, record.",
    )
    parser.add_argument(
        "--idea",
        action="append",
        metavar="NAME",
        help="an idea of the ideas folder, without .json; may be given several times; `all` for every one",
    )
    parser.add_argument("--list", action="store_true", help="show the ideas and stop")
    parser.add_argument(
        "--resume",
        action="append",
        type=Path,
        metavar="RUN_DIR",
        help="go on with a campaign that was stopped; may be given several times; `all` for those not done",
    )
    parser.add_argument(
        "--jobs",
        type=_count,
        metavar="N",
        help="how many campaigns go on at a time (default: as many as there are GPUs for, all on a cluster)",
    )
    parser.add_argument(
        "--model",
        default="auto",
        help="PROVIDER:NAME, for example anthropic:NAME, openai:NAME or openai:NAME@BASE_URL; replay:PATH; script (the "
        "idea's own); or auto (default): the first provider whose key is set, else the script",
    )
    parser.add_argument(
        "--referee",
        metavar="MODEL",
        help="another model, which reads each run's change; what it finds stands in the notes and decides nothing "
        "(default: none)",
    )
    parser.add_argument(
        "--profile", default="smollm2", help="a bundled profile or the path of a .toml (default: smollm2)"
    )
    parser.add_argument("--editor", default="blocks", choices=("blocks", "aider"), help="who applies the edits")
    parser.add_argument("--max-runs", type=int, metavar="N", help="the most runs (default: 10)")
    parser.add_argument("--evals", metavar="LIST", help="evaluations, with commas (default: the profile's)")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU where there is one)")
    parser.add_argument("--gpus", type=int, metavar="N", help="GPUs for each run, where there are any (default: 1)")
    parser.add_argument(
        "--executor", choices=tuple(EXECUTORS), help="where runs are run: on this machine or a cluster (default: local)"
    )
    for name in with_settings():
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="FILE.toml",
            help=f"what is asked for, with --executor {name} (default: {name}.toml, if any)",
        )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="for one run (default: the profile's)")
    parser.add_argument(
        "--no-sandbox", action="store_true", help="run what the model writes with all your rights (not advised)"
    )
    parser.add_argument(
        "--goal",
        metavar="METRIC[:SMALLEST]",
        help="what a run is to improve, and the smallest effect that matters (default: the idea's, else the profile's)",
    )
    parser.add_argument(
        "--guard",
        action="append",
        metavar="METRIC[:MARGIN]",
        help="what a run must not make worse, and by how much it may; again for more; none for no guard",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        choices=LOOKS,
        help="the most seeds that a run gets where its first is promising (default: the profile's)",
    )
    parser.add_argument(
        "--confirm", type=int, metavar="N", help="fresh seeds for the run that improved most (default: 3; 0: none)"
    )
    parser.add_argument(
        "--matched",
        action=argparse.BooleanOptionalAction,
        help="train a baseline at the L0 of a run that reached another one; without, it gets no verdict (default: yes)",
    )
    parser.add_argument(
        "--stale-ok",
        action=argparse.BooleanOptionalAction,
        help="go on with baselines that something changed since, without verdicts; else they are made again",
    )
    parser.add_argument("--budget-usd", type=float, metavar="USD", help="stop before a call once this much is spent")
    parser.add_argument("--budget-tokens", type=int, metavar="N", help="stop before a call once this many are used")
    parser.add_argument("--ideas", type=Path, default=IDEAS, help="the folder of ideas")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder that campaigns are made in")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--quiet", action="store_true", help="only the result and errors")
    style.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    return parser
