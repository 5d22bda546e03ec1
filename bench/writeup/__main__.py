"""The command line: `python -m bench.writeup [--json]`."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from bench.writeup.cases import Bench, load_faults, load_honest

PAGES = 8
WORDS_A_PAGE = 550


def main(argv: list[str] | None = None) -> int:
    """Plant the faults, add the honest sentences, and say what the audit made of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.writeup", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        faults, honest = load_faults(), load_honest()
        missed = [fault for fault in faults if not bench.finds(fault)]
        alarms = {sentence.text: said for sentence in honest if (said := bench.false_alarms(sentence))}
        alarms |= {name: said for name, said in bench.said_of_bases().items() if said}
        seconds = audit_seconds(bench)
    result = {
        "faults": len(faults),
        "found": len(faults) - len(missed),
        "clean": len(honest),
        "false_alarms": len(alarms),
        "audit_seconds": round(seconds, 3),
    }
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return 0
    for fault in missed:
        sys.stdout.write(f"missed ({fault.kind}): {fault.replaced[0][1]!r}\n")
    for text, said in alarms.items():
        sys.stdout.write(f"false alarm: {text!r}: {'; '.join(said)}\n")
    sys.stdout.write("  ".join(f"{key} {value}" for key, value in result.items()) + "\n")
    return 0


def audit_seconds(bench: Bench) -> float:
    """Processor time of the audit of a paper of eight pages, the campaign read before."""
    paper = bench.texts["paper.tex"]
    start, end = paper.index("\\section{Introduction}"), paper.index("\\bibliographystyle")
    body = paper[start:end]
    long = paper[:start] + body * (1 + PAGES * WORDS_A_PAGE // len(body.split())) + paper[end:]
    began = time.process_time()
    bench.audit("paper.tex", long)
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
