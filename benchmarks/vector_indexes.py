"""Compares vector searches over many entities: the package's 8-bit codes, LanceDB's indexes, FAISS and usearch.

    python benchmarks/vector_indexes.py [--data ../shared/data] [--count 100000] [--work DIR] [--only NAME ...]

The first table has searches that compare all vectors, for batches of several sizes; each is measured in turn, seven
times. `ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 FAISS_OPT_LEVEL=avx2` shows what a
CPU without AVX-512 does, as far as the libraries obey.

The vectors are those of `benchmarks/linking.py`. Libraries that are not installed are skipped:
`pip install faiss-cpu usearch`.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from linking import WIDTH, real_texts, recombined
from machine import machine

from dim.kb.rows import quantised
from dim.search.codes import CodeIndex
from dim.search.vectors import DenseSearch


def package_search(vectors: np.ndarray) -> DenseSearch:
    """Builds the package's own index: 8-bit codes, rescored."""
    values, scales = quantised(vectors)
    index = CodeIndex(*vectors.shape, float(scales.max()))
    index.set(np.arange(len(vectors)), values, scales)

    def fetch(rows: np.ndarray, columns: list[str]) -> pa.Table:
        return pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors[rows].ravel()), WIDTH)})

    rows = np.arange(len(vectors))
    return DenseSearch(rows, rows, frozenset({"MiniLM"}), index, fetch)


def codes(vectors: np.ndarray, work: Path) -> tuple[dict, int]:
    """Searches by the package."""
    search = package_search(vectors)
    return {"all codes, 150 rescored": lambda query: search.search(torch.from_numpy(query[None]), 100)[0]}, vectors.size


def lance(kind: str, vectors: np.ndarray, work: Path) -> tuple[dict, int]:
    """Builds an index of LanceDB, searched with several numbers of partitions, and rescored."""
    import lancedb

    folder = work / "lance"
    shutil.rmtree(folder, ignore_errors=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
    table = lancedb.connect(folder).create_table("t", pa.table({"row": np.arange(len(vectors)), "vector": column}))
    before = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    table.create_index(metric="dot", index_type=kind, **({"num_sub_vectors": 96} if kind == "IVF_PQ" else {}))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) - before

    def search(probes: int, query: np.ndarray) -> np.ndarray:
        found = table.search(query).distance_type("dot").nprobes(probes).refine_factor(5).limit(100)
        found = found.ef(1000) if "HNSW" in kind else found  # at least 5 x 100, for the refining
        return found.select(["row", "_distance"]).to_arrow()["row"].to_numpy()

    return {f"{probes} probes": partial(search, probes) for probes in (20, 100, 200)}, size


def faiss_hnsw(vectors: np.ndarray, work: Path) -> tuple[dict, int]:
    """Builds FAISS HNSW over float32."""
    import faiss

    index = faiss.IndexHNSWFlat(WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(vectors)

    def search(ef: int, query: np.ndarray) -> np.ndarray:
        index.hnsw.efSearch = ef
        return index.search(query[None], 100)[1][0]

    return {f"efSearch {ef}": partial(search, ef) for ef in (100, 400, 1600)}, vectors.nbytes + len(vectors) * 264


def usearch_hnsw(vectors: np.ndarray, work: Path) -> tuple[dict, int]:
    """Builds usearch HNSW over 8-bit integers."""
    from usearch.index import Index

    index = Index(ndim=WIDTH, metric="ip", dtype="i8", connectivity=16, expansion_add=128)
    index.add(np.arange(len(vectors)), vectors, threads=2)

    def search(ef: int, query: np.ndarray) -> np.ndarray:
        index.expansion_search = ef
        return index.search(query, 100).keys.astype(np.int64)

    return {f"expansion {ef}": partial(search, ef) for ef in (200, 400, 1600)}, index.memory_usage


_BATCHES = (1, 16, 64)
INDEXES = {
    "8-bit codes": codes,
    **{f"LanceDB {kind}": partial(lance, kind) for kind in ("IVF_PQ", "IVF_RQ", "IVF_HNSW_SQ")},
    "FAISS HNSW32": faiss_hnsw,
    "usearch HNSW16 i8": usearch_hnsw,
}


def compare(work: Path, count: int, only: list[str]) -> None:
    """Prints recall@100, latency, build time and bytes."""
    _, _, vectors = recombined(work, count)
    queries = np.load(work / "queries.npy")
    gold = torch.topk(torch.from_numpy(queries) @ torch.from_numpy(vectors).T, 100).indices.numpy()
    for name, build in INDEXES.items():
        if only and name not in only:
            continue
        try:
            began = time.perf_counter()
            settings, size = build(vectors, work)
        except ImportError as error:
            print(f"{name}: skipped, {error}")
            continue
        built = time.perf_counter() - began
        for setting, search in settings.items():
            search(queries[0])
            seconds, found = [], []
            for query in queries:
                began = time.perf_counter()
                found.append(np.asarray(search(query)))
                seconds.append(time.perf_counter() - began)
            recall = np.mean([np.isin(right, rows).mean() for right, rows in zip(gold, found, strict=True)])
            print(f"{name}, {setting}: recall@100 {recall:.4f}, median {1e3 * statistics.median(seconds):.1f} ms, "
                  f"built in {built:.0f} s, {size / 1e6:.0f} MB", flush=True)  # fmt: skip


def flat(work: Path, count: int) -> None:
    """Prints recall@100 and latency of searches that compare all vectors."""
    import faiss
    from usearch.index import MetricKind
    from usearch.index import search as usearch

    _, _, vectors = recombined(work, count)
    queries = np.load(work / "queries.npy")
    values = torch.from_numpy(vectors)
    gold = torch.topk(torch.from_numpy(queries) @ values.T, 100).indices.numpy()
    search = package_search(vectors)
    quantiser = faiss.IndexScalarQuantizer(WIDTH, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    quantiser.train(vectors)
    quantiser.add(vectors)
    integers, _ = quantised(vectors)

    def rescored(batch: np.ndarray, near: np.ndarray) -> np.ndarray:
        exact = np.einsum("md,mkd->mk", batch, vectors[near])
        return np.take_along_axis(near, np.argsort(-exact, 1)[:, :100], 1)

    def by_usearch(batch: np.ndarray) -> np.ndarray:
        found = usearch(integers, quantised(batch)[0], 150, MetricKind.IP, exact=True)
        return rescored(batch, np.atleast_2d(found.keys).astype(np.int64))

    searches = {
        "exact float32 (torch)": lambda batch: torch.topk(torch.from_numpy(batch) @ values.T, 100).indices.numpy(),
        "the package: FAISS, 8-bit, one step": lambda batch: search.search(torch.from_numpy(batch), 100),
        "FAISS, 8-bit, a step for each dimension": lambda batch: rescored(batch, quantiser.search(batch, 150)[1]),
        "usearch, exact, 8-bit": by_usearch,
    }
    sizes = " | ".join(f"{size} queries, ms" for size in _BATCHES)
    print(f"\n| all of {count:,} vectors compared, 150 rescored | recall@100 | {sizes} |")
    print("|---|" + "--:|" * (1 + len(_BATCHES)))
    taken: dict[tuple[str, int], list[float]] = {}
    for name, size in [(name, size) for _ in range(8) for size in _BATCHES for name in searches]:
        began = time.perf_counter()
        searches[name](queries[:size])
        taken.setdefault((name, size), []).append(time.perf_counter() - began)
    for name, action in searches.items():
        found = action(queries)
        recall = np.mean([np.isin(right, rows).mean() for right, rows in zip(gold, found, strict=True)])
        medians = (1e3 * statistics.median(taken[name, size][1:]) for size in _BATCHES)
        print(f"| {name} | {recall:.4f} | " + " | ".join(f"{value:.1f}" for value in medians) + " |", flush=True)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--work", type=Path, help="folder that caches vectors")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help=f"of {', '.join(INDEXES)}")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: {arguments.data} does not exist")
        return
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        real_texts(arguments.data, work)
        print(machine())
        if not arguments.only:
            flat(work, arguments.count)
        compare(work, arguments.count, arguments.only)


if __name__ == "__main__":
    main()
