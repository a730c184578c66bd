"""Measures the package on one GPU, row by row, in at most eight minutes.

    python benchmarks/gpu.py [--output FILE] [--only ROW ...] [--seconds 480]   # on a machine with a CUDA device
    python benchmarks/gpu.py --tiny                                             # the same code, small, on any machine

Each row runs in a process of its own with a time limit, so a row that fails, hangs or runs out of memory prints its
reason and the others go on. `--output` writes a JSON file after every row, and beside it a log of what the rows print.
Weights, texts and pictures are synthetic.
"""

import os

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path

import torch
from _gpu.processes import Outcome, Row, cuda_is_there, run_row

ROWS = (
    Row("card", "", 40),
    Row("tests", "all pass", 150),
    Row("synchronisations", "none but the one that logs", 60),
    Row("training", ">= 0.9x of plain CLIP", 90),
    Row("head", "loading <= 10 %, >= 50x", 90),
    Row("ranking", "<= 2x of one product", 60),
    Row("linking", ">= 10x of the CPU", 90),
    Row("captions", ">= 8x of one at a time", 90),
    Row("encoding", "GPU busy >= 60 %", 100),
    Row("compiling", "measured", 120),
)


def preload() -> None:
    """Imports what the rows need, once for all of them; none of it touches the GPU."""

    import dim.linking.linker
    import dim.training.loop  # noqa: F401


def line(outcome: Outcome) -> str:
    """One line of the table."""
    met = {True: "met", False: "missed", None: ""}[outcome.met]
    return f"{outcome.name:<17}{outcome.seconds:>6.0f} s  {met:<7} {outcome.summary}  [target: {outcome.target or '-'}]"


def main() -> int:
    """Prints the table; returns 1 if a row failed."""
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small sizes, also without a GPU: checks the script only")
    some = "rows, in any order: " + ", ".join(names)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW", help=some)
    parser.add_argument("--seconds", type=float, default=480, help="for all rows together (%(default)s)")
    parser.add_argument("--output", type=Path, help="also write the results to this JSON file")
    arguments = parser.parse_args()
    if not (arguments.tiny or cuda_is_there()):
        print("skipped: there is no CUDA device; --tiny runs the same code on the CPU")
        return 0
    began = time.perf_counter()
    preload()
    kind = "tiny sizes" if arguments.tiny else "full sizes"
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, {kind}; "
          f"imports {time.perf_counter() - began:.0f} s\n", flush=True)  # fmt: skip
    log = arguments.output.with_suffix(".log") if arguments.output else None
    outcomes: list[Outcome] = []
    for row in (ROWS[names.index(name)] for name in arguments.only):
        left = arguments.seconds - (time.perf_counter() - began)
        outcomes.append(run_row(row, arguments.tiny, min(row.seconds, left), log))
        print(line(outcomes[-1]), flush=True)
        if arguments.output:
            results = {outcome.name: asdict(outcome) for outcome in outcomes}
            arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"\n{time.perf_counter() - began:.0f} s in all")
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
