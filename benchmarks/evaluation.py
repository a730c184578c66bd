"""Benchmarks the evaluation: speed and memory of ranks over a whole knowledge base, and of the fuzzy baseline.

    python benchmarks/evaluation.py                        # 5,000 mentions x 20,000 entities x 512
    python benchmarks/evaluation.py --large                # 5,000 x 1,000,000 from a memory-mapped file of 2 GB
    python benchmarks/evaluation.py --dataset data/wikimel # the fuzzy baseline on its validation split

The figures are those of one process on an otherwise idle machine.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from dim.common.ids import gold_indices, index_of
from dim.metrics.ranks import gold_ranks, gold_ranks_from_embeddings, ranking_metrics

MENTIONS, ENTITIES, WIDTH = 5_000, 20_000, 512


def double_argsort_ranks(queries: torch.Tensor, entities: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """Sorts all scores twice, the common method; ties keep the order of the knowledge base."""
    scores = queries @ entities.T
    return scores.argsort(dim=1, descending=True).argsort(dim=1).gather(1, gold[:, None])[:, 0] + 1


def timed(what: str, function, *arguments):
    """Runs a function and prints its duration."""
    start = time.perf_counter()
    found = function(*arguments)
    seconds = time.perf_counter() - start
    print(f"{what}: {seconds:.2f} s", flush=True)
    return found, seconds


def anonymous_mb() -> float:
    """Memory of this process without mapped files, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


class Peak:
    """Peak of anonymous memory within a `with` block, relative to its start."""

    def __enter__(self):
        self.start, self.highest, self.done = anonymous_mb(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.done.wait(0.02):
            self.highest = max(self.highest, anonymous_mb() - self.start)

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()


def small() -> None:
    """Ranks 5,000 mentions among 20,000 entities, and compares with sorting twice."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(MENTIONS, WIDTH, generator=generator)
    entities = torch.randn(ENTITIES, WIDTH, generator=generator)
    gold = torch.randint(ENTITIES, (MENTIONS,), generator=generator)
    gold_ranks_from_embeddings(queries[:512], entities, gold[:512])  # starts the threads
    timed("the float32 product alone", lambda: queries @ entities.T)
    best = min((timed("ranks in blocks", gold_ranks_from_embeddings, queries, entities, gold) for _ in range(3)),
               key=lambda found: found[1])  # fmt: skip
    sorted_ranks, seconds = timed("double argsort", double_argsort_ranks, queries, entities, gold)
    equal = (best[0] == sorted_ranks).double().mean().item()
    print(f"{seconds / best[1]:.1f} times as fast; {100 * equal:.2f} % of the ranks are equal")


def large(entities: int) -> None:
    """Ranks 5,000 mentions among 1,000,000 entities from a memory-mapped file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entities.npy"
        table = np.lib.format.open_memmap(path, "w+", np.float32, (entities, WIDTH))
        generator = np.random.default_rng(0)
        for start in range(0, entities, 50_000):
            table[start : start + 50_000] = generator.standard_normal((len(table[start : start + 50_000]), WIDTH))
        table.flush()
        del table
        mapped = torch.from_numpy(np.load(path, mmap_mode="c"))
        queries = torch.randn(MENTIONS, WIDTH)
        gold = torch.randint(entities, (MENTIONS,))
        with Peak() as peak:
            ranks, _ = timed(f"{MENTIONS:,} x {entities:,}", gold_ranks_from_embeddings, queries, mapped, gold)
        print(f"peak beyond the mapped embeddings: {peak.highest:.0f} MB; median rank {ranks.median():,.0f}")


def fuzzy(dataset: str) -> None:
    """Runs the fuzzy name baseline on a validation split."""
    from dim.corpora.loading import load_entities, load_mentions
    from dim.evaluation.systems.baselines import FuzzyName

    entities, mentions = load_entities(dataset), load_mentions(dataset, "validation")
    index = index_of(entities["id"][:])
    gold = torch.tensor(gold_indices(mentions["id"][:], mentions["entity_id"][:], index, dataset))

    def run() -> torch.Tensor:
        system = FuzzyName(entities["name"][:], entities["aliases"][:])
        return torch.cat([gold_ranks(scores, gold[part]) for part, scores in system.scores(mentions)])

    ranks, _ = timed(f"fuzzy name, {len(mentions):,} x {len(entities):,}", run)
    metrics = ranking_metrics(ranks[gold >= 0])
    print(", ".join(f"{name} {value:.1f}" for name, value in metrics.items()))


def main() -> None:
    """Runs the benchmarks that the flags select."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also rank among 1,000,000 entities (2 GB on disk)")
    parser.add_argument("--entities", type=int, default=1_000_000, help="number of entities of --large (%(default)s)")
    parser.add_argument("--dataset", help="also run the fuzzy baseline on this dataset")
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    small()
    if arguments.large:
        large(arguments.entities)
    if arguments.dataset:
        fuzzy(arguments.dataset)


if __name__ == "__main__":
    main()
