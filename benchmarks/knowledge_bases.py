"""How a knowledge base grows by changes, and how fast they are.

    python benchmarks/knowledge_bases.py [--plot FILE.png]

Swelling: 1,000 changes of 100 rows each into 100,000 entities with vectors, then a compaction; bytes on disk against a
fresh build of the same rows, and the time of a change at the beginning and at the end. Size: changes of 1,000 rows
(half of them new) into 10,000 to 1,000,000 entities, the median of five, with names alone and with vectors.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine

from dim.kb import KnowledgeBase
from dim.kb.compaction import bytes_of, compact
from dim.kb.encode import encoded
from dim.kb.rows import VECTOR_COLUMNS

WIDTH = 384
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def rows(numbers: range | list[int], word: str = "entity") -> list[dict]:
    """Made-up entities."""
    return [{"id": f"Q{n}", "name": f"{word} {n}", "description": f"the {n}th of its kind, of {n % 97} parts"}
            for n in numbers]  # fmt: skip


def build(folder: Path, count: int, width: int) -> KnowledgeBase:
    """A knowledge base of made-up entities, encoded by random vectors where `width` is not 0."""
    shutil.rmtree(folder, ignore_errors=True)
    table = folder.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows(range(count))), table)
    kb = KnowledgeBase.create(folder, table)
    if width:
        kb.set_width(width)
        encode(kb, width)
        kb.finish()
    return kb


def encode(kb: KnowledgeBase, width: int) -> None:
    """Gives every row a random vector."""
    generator, columns = np.random.default_rng(0), [name for name in kb.schema.names if name not in VECTOR_COLUMNS]
    for start in range(0, len(kb), 65_536):
        part = kb.take(np.arange(start, min(start + 65_536, len(kb))), columns)
        kb.write_vectors(encoded(part, generator.standard_normal((len(part), width), np.float32), "made up"))


def timed(action: Callable[[], object]) -> float:
    """Seconds of an action."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def swelling(work: Path, entities: int, changes: int) -> None:
    """Prints the table of many small changes."""
    kb, draw, seconds = build(work / "kb", entities, WIDTH), random.Random(0), []
    for number in range(changes):
        some = rows(draw.sample(range(entities), 100), f"change {number}")
        seconds.append(timed(partial(kb.upsert, some)))
        if number % 256 == 255:
            kb.finish()  # as the service does
    swollen = bytes_of(kb)
    taken = timed(partial(compact, kb, keep=timedelta(0)))
    compacted, fresh = bytes_of(kb), bytes_of(build(work / "again", entities, WIDTH))
    first, last = (1e3 * statistics.median(part) for part in (seconds[:50], seconds[-50:]))
    lines = {
        "a fresh build": f"{fresh / 1e6:,.0f} MB",
        "after the changes": f"{swollen / 1e6:,.0f} MB",
        f"after the compaction, which took {taken:.1f} s": f"{compacted / 1e6:,.0f} MB, {compacted / fresh:.2f}x",
        "a change, the first 50 and the last 50": f"{first:.0f} and {last:.0f} ms, {last / first:.2f}x",
    }
    print(f"\n| {changes:,} changes of 100 rows into {entities:,} entities with vectors of {WIDTH} | |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in lines.items()))


def sizes(work: Path, counts: tuple[int, ...], plot: Path | None) -> None:
    """Prints, and plots, the time of a change of 1,000 rows by the number of entities."""
    found: dict[str, list[float]] = {}
    print("\n| change of 1,000 rows, ms | " + " | ".join(f"{count:,}" for count in counts) + " | slowest / fastest |")
    for name, width in (("names", 0), (f"vectors of {WIDTH}", WIDTH)):
        for count in counts:
            kb, draw, taken = build(work / "kb", count, width), random.Random(0), []
            for number in range(6):
                new = range(count + 500 * number, count + 500 * (number + 1))
                some = rows([*draw.sample(range(count), 500), *new], f"change {number}")
                taken.append(timed(partial(kb.upsert, some)))
            found.setdefault(name, []).append(1e3 * statistics.median(taken[1:]))
        cells = " | ".join(f"{value:.0f}" for value in found[name])
        print(f"| {name} | {cells} | {max(found[name]) / min(found[name]):.1f}x |", flush=True)
    if plot is not None:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
        for name, values in found.items():
            axes.plot(counts, values, marker="o", label=name)
        axes.set(xscale="log", xlabel="entities", ylabel="change of 1,000 rows, ms", ylim=(0, None))
        axes.legend()
        figure.savefig(plot, dpi=150)


def main() -> None:
    """Runs both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="a PNG file of the second table")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the script")
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sizes(work, (1_000, 2_000) if arguments.small else SIZES, arguments.plot)
        swelling(work, 1_000 if arguments.small else 100_000, 20 if arguments.small else 1_000)


if __name__ == "__main__":
    main()
