"""What the tests of the knowledge base run as processes of their own: a writer, and an encoder that can be killed."""

import json
import sys
import time
from pathlib import Path

from dim.encoding.loading import load_dim
from dim.kb import KnowledgeBase


def write(uri: str, who: str, start: str) -> None:
    """Eight batches with a row of its own, a row that both add, and one that both change."""
    kb = KnowledgeBase.open(uri)
    Path(start + who).touch()
    while not Path(start).exists():
        time.sleep(0.005)
    for number in range(8):
        kb.upsert([{"id": f"{who}{number}", "name": f"{who} {number}"}, {"id": f"both{number}", "name": f"by {who}"}])
        kb.upsert([{"id": "shared", "name": f"{who} {number}"}])
    kb.delete([f"old {who}"])


def encode(uri: str, model: str) -> None:
    """Encodes in parts of two rows, and says when the first are written."""
    kb = KnowledgeBase.open(uri)
    network, processor = load_dim(model)
    real = kb.write_vectors

    def slow(vectors: object) -> None:
        real(vectors)
        print("written", flush=True)
        time.sleep(0.5)

    kb.write_vectors = slow
    print(kb.encode(network, processor, part_rows=2), flush=True)


def share(uri: str, model: str) -> None:
    """Encodes with whatever processes were launched."""
    from accelerate import PartialState

    processes = PartialState(cpu=True).num_processes
    kb = KnowledgeBase.open(uri)
    count = kb.encode(*load_dim(model), part_rows=4, batch_size=2)
    print(f"{processes} processes, {count} rows", flush=True)


def upsert(uri: str) -> None:
    """One large batch."""
    kb = KnowledgeBase.open(uri)
    rows = [{"id": f"Q{number}", "name": f"new {number}", "description": "x " * 50} for number in range(60_000)]
    print("begins", flush=True)
    kb.upsert(rows)
    print("done", flush=True)


def edit(uri: str, commits: str) -> None:
    """Changes ten rows in each commit, one after the other, and prints the last change of each row."""
    kb, last = KnowledgeBase.open(uri), {}
    count = len([name for name in kb.ids if name.startswith("Q")])
    print("begins", flush=True)
    for number in range(int(commits)):
        rows = [(10 * number + one) % count for one in range(10)]
        kb.upsert([{"id": f"Q{row}", "name": f"name {row}", "type": f"change {number}"} for row in rows])
        last |= {f"Q{row}": f"change {number}" for row in rows}
    print(json.dumps(last), flush=True)


if __name__ == "__main__":
    {"write": write, "edit": edit, "encode": encode, "share": share, "upsert": upsert}[sys.argv[1]](*sys.argv[2:])
