"""Measures the knowledge base and its candidates: on WikiMEL's dev, and with 10,000 to 1,000,000 entities.

    python benchmarks/linking.py [--data ../shared/data] [--sizes 10000 100000 1000000] [--work DIR] [--plot FILE]
                                 [--dataset DIR --model DIR]

The large knowledge bases have recombined names and descriptions of WikiMEL and Richpedia: a name is the first words of
one and the last of another, its vector the normalised sum of both names' MiniLM vectors, a description's, and a little
noise. MiniLM encodes the 60,000 distinct texts once; `--work` caches them and the knowledge bases. `--dataset` (built
by `dim build wikimel`) adds recall and speed on dev, with the vectors of `--model`.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples"))
WIDTH = 384
QUERIES = 200


def encode(texts: list[str], length: int) -> np.ndarray:
    """Encodes texts with MiniLM: normalised, mean pooled vectors."""
    from towers import minilm
    from tqdm.auto import tqdm
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm()), AutoModel.from_pretrained(minilm()).eval()
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
    vectors = np.empty((len(texts), WIDTH), np.float32)
    with torch.inference_mode():
        for start in tqdm(range(0, len(order), 64), desc="MiniLM"):
            rows = order[start : start + 64]
            batch = tokenizer([texts[row] for row in rows], padding=True, truncation=True, max_length=length,
                              return_tensors="pt")  # fmt: skip
            hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None].float()
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return vectors


def real_texts(data: Path, work: Path) -> None:
    """Writes the distinct names and descriptions, mentions and sentences, and their vectors."""
    if (work / "queries.json").is_file():
        return
    names, descriptions = {}, {}
    for release in ("WikiMEL", "Richpedia-MEL"):
        folder = data / "ghmfc" / release
        names |= dict.fromkeys(json.loads((folder / "qid2ne.json").read_text()).values())
        descriptions |= dict.fromkeys(filter(None, json.loads((folder / "qid2abs.json").read_text()).values()))
    dev = json.loads((data / "ghmfc" / "WikiMEL" / "splits.json").read_text())["dev"]
    raw = json.loads((data / "melbench" / "Wikidata-MEL.json").read_text())
    rows = [raw[str(key)] for key in dev if str(key) in raw][:QUERIES]
    mentions, sentences = [row["mentions"][0] for row in rows], [row["sentence"] for row in rows]
    np.save(work / "names.npy", encode(list(names), 32))
    np.save(work / "descriptions.npy", encode(list(descriptions), 64))
    vectors = encode(mentions, 32) + encode(sentences, 64)
    np.save(work / "queries.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    (work / "texts.json").write_text(json.dumps([list(names), list(descriptions)]))
    (work / "queries.json").write_text(json.dumps([mentions, sentences]))


def linker_parts() -> tuple:
    """A DIM of MiniLM with an untrained lexical prior, and its processor, to measure cost, not accuracy."""
    from towers import minilm

    from dim import DIMModel, DIMProcessor
    from dim.lexical_dim import LEXICAL_FEATURES

    torch.manual_seed(0)
    model = DIMModel.from_towers(minilm(), num_lexical_features=len(LEXICAL_FEATURES))
    return model, DIMProcessor.from_towers(minilm())


def recombined(work: Path, count: int, seed: int = 0) -> tuple[list[str], list[str], np.ndarray]:
    """Names, descriptions and vectors of synthetic entities."""
    names, descriptions = json.loads((work / "texts.json").read_text())
    of_names, of_descriptions = np.load(work / "names.npy"), np.load(work / "descriptions.npy")
    draw = np.random.default_rng(seed)
    first, last = draw.integers(len(names), size=(2, count))
    text = draw.integers(len(descriptions), size=count)
    vectors = of_names[first] + of_names[last]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors += of_descriptions[text] + draw.standard_normal(vectors.shape, np.float32) * np.float32(0.01)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = [" ".join([*names[a].split()[:1], *names[b].split()[-1:]]) for a, b in zip(first, last, strict=True)]
    return made, [descriptions[place] for place in text], vectors


def write_export(work: Path, count: int, path: Path) -> None:
    """Writes a Parquet file like `dim kb export`, so that creating needs no encoding."""
    from dim.encoding.loading import fingerprint
    from dim.kb.rows import checked_row

    names, descriptions, vectors = recombined(work, count)
    ids = [f"R{number}" for number in range(count)]
    hashes = [checked_row({"id": i, "name": n, "description": d})["content_hash"]
              for i, n, d in zip(ids, names, descriptions, strict=True)]  # fmt: skip
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
    columns = {"id": ids, "name": names, "description": descriptions, "content_hash": hashes,
               "encoder": [fingerprint(*linker_parts())] * count, "vector": column}  # fmt: skip
    pq.write_table(pa.table(columns), path, row_group_size=10_000)


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def create_one(work: str, count: str) -> dict:
    """Creates a knowledge base from an export."""
    from dim.kb import KnowledgeBase

    began = time.perf_counter()
    kb = KnowledgeBase.create(Path(work, f"kb{count}"), Path(work, f"{count}.parquet"), overwrite=True)
    seconds = time.perf_counter() - began
    size = sum(path.stat().st_size for path in Path(kb.uri).rglob("*") if path.is_file())
    return {"create_s": seconds, "create_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            "disk_mb": size / 1e6}  # fmt: skip


def search_one(work: str, count: str) -> dict:
    """Opens a knowledge base, searches it, links with it, changes it, and searches again."""
    from dim.encoding.mention import Mention
    from dim.kb import KnowledgeBase
    from dim.linking.linker import DIMLinker

    texts = json.loads(Path(work, "queries.json").read_text())
    mentions = [Mention.find(*pair) for pair in zip(*texts, strict=True)]
    queries = torch.from_numpy(np.load(Path(work, "queries.npy")))
    model, processor = linker_parts()
    KnowledgeBase.open(Path(work, f"kb{count}"))  # LanceDB's import and threads are not counted as opening
    began = time.perf_counter()
    kb = KnowledgeBase.open(Path(work, f"kb{count}"))
    linker = DIMLinker(model, processor, kb)
    search = linker.search
    figures = {"open_s": time.perf_counter() - began, "vector_search": search.vector_search}
    parts: dict[str, list[float]] = {"names_ms": [], "words_ms": [], "vectors_ms": [], "all_ms": [],
                                     "link_ms": []}  # fmt: skip
    for place in range(QUERIES):
        mention, query = mentions[place : place + 1], queries[place : place + 1]
        calls = (
            *(partial(channel.search, mention, query, 64) for channel in search.channels),
            partial(search.search, mention, query, 64),
            partial(linker.rank_vectors, query, mention),
        )
        for name, call in zip(parts, calls, strict=True):
            began = time.perf_counter()
            call()
            parts[name].append(1e3 * (time.perf_counter() - began))
    figures |= {name: statistics.median(values) for name, values in parts.items()}
    figures["link_p95_ms"] = float(np.percentile(parts["link_ms"], 95))
    began = time.perf_counter()
    search.search(mentions, queries, 64)
    figures["batch_per_s"] = QUERIES / (time.perf_counter() - began)
    found = search.search(mentions[:100], queries[:100], 100)
    np.savez(Path(work, f"found{count}.npz"), rows=found.rows, **found.lists)
    figures["rss_mb"] = resident()
    began = time.perf_counter()
    kb.upsert([{"id": f"new{n}", "name": f"Zwenkau Quxley the {n}th"} for n in range(1000)])
    figures["upsert_s"] = time.perf_counter() - began
    rows = search.search([Mention("Zwenkau Quxley the 77th", "")], None, 5).rows[0]
    figures["upsert_visible_s"] = time.perf_counter() - began
    if "new77" not in kb.take(rows, ["id"])["id"].to_pylist():
        raise SystemExit("what was added is not found")
    figures["rss_after_upsert_mb"] = resident()
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return figures


def stored_vectors(path: Path) -> np.ndarray:
    """The vectors of an export."""
    batches = pq.ParquetFile(path).iter_batches(columns=["vector"])
    return np.concatenate([batch["vector"].flatten().to_numpy().reshape(-1, WIDTH) for batch in batches])


def recall_one(work: str, count: str) -> dict:
    """Recall@100 against exact float32 search, of dense search and of the union of all channels."""
    from dim.linking.candidates import _fused
    from dim.linking.channels import CHANNELS

    found = dict(np.load(Path(work, f"found{count}.npz")))
    vectors = stored_vectors(Path(work, f"{count}.parquet"))
    queries = torch.from_numpy(np.load(Path(work, "queries.npy"))[:100])
    exact = torch.topk(queries @ torch.from_numpy(vectors).T, 100).indices.numpy()
    union = _fused({**{name: found[name] for name in CHANNELS[:2]}, "dense": exact}, 100).rows
    share = [[np.isin(a, b).mean() for a, b in zip(*pair, strict=True)]
             for pair in ((exact, found["dense"]), (union, found["rows"]))]  # fmt: skip
    return {"recall_vectors": float(np.mean(share[0])), "recall_union": float(np.mean(share[1]))}


def scale(work: Path, sizes: list[int], plot: Path | None) -> None:
    """Measures each size, each step in a separate process, prints the figures and draws them."""
    results = []
    for count in sizes:
        path = work / f"{count}.parquet"
        if not path.is_file():
            write_export(work, count, path)
        figures: dict = {"entities": count}
        for step in ("create_one", "search_one", "recall_one"):
            command = [sys.executable, __file__, "--step", step, str(work), str(count)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            figures |= json.loads(done.stdout.splitlines()[-1])
        shutil.rmtree(work / f"kb{count}")
        print(json.dumps({name: round(value, 4) if isinstance(value, float) else value
                          for name, value in figures.items()}), flush=True)  # fmt: skip
        results.append(figures)
    if plot is not None:
        draw(results, plot)


def draw(results: list[dict], path: Path) -> None:
    """Plots memory and time by the number of entities, with the slope of each line in the log-log plot."""
    import matplotlib.pyplot as plt

    counts = [figures["entities"] for figures in results]
    panels = (
        ("memory and disk, MB", {"resident, open and searched": "rss_mb", "on disk": "disk_mb"}),
        ("seconds", {"create, not encoding": "create_s", "open": "open_s", "add 1,000 and find": "upsert_visible_s"}),
        ("milliseconds a mention, alone", {"name search": "names_ms", "BM25": "words_ms", "dense": "vectors_ms",
                                           "all, and ranked": "link_ms"}),
    )  # fmt: skip
    figure, axes = plt.subplots(1, len(panels), figsize=(15, 4.5), layout="constrained")
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for label, name in lines.items():
            values = [figures[name] for figures in results]
            slope = np.polyfit(np.log(counts), np.log(values), 1)[0] if len(counts) > 1 else float("nan")
            axis.loglog(counts, values, marker="o", label=f"{label} (slope {slope:.2f})")
        axis.set(title=title, xlabel="entities")
        axis.grid(visible=True, which="major", alpha=0.3)
        axis.margins(y=0.3)
        axis.legend()
    figure.savefig(path, dpi=120)


def dev(dataset: Path, model: Path | None) -> None:
    """Prints recall and speed of candidates on the validation split."""
    from dim.corpora.loading import load_mentions
    from dim.encoding.encode import encode_mentions
    from dim.encoding.loading import load_dim
    from dim.encoding.mention import mentions_of
    from dim.kb import KnowledgeBase
    from dim.linking.candidates import CandidateSearch

    rows = load_mentions(str(dataset), "validation")
    mentions = mentions_of(rows)
    with tempfile.TemporaryDirectory() as folder:
        kb = KnowledgeBase.create(Path(folder, "kb"), dataset)
        vectors = None
        if model is not None:
            network, processor = load_dim(model)
            kb.encode(network, processor, progress=True)
            vectors = encode_mentions(network, processor, rows, progress=True)
        golds = [kb.row_of.get(name, -1) for name in rows["entity_id"][:]]
        search = CandidateSearch(kb)
        for given in [None] if vectors is None else [None, vectors]:
            search.search(mentions[:64], None if given is None else given[:64])
            began = time.perf_counter()
            found = search.search(mentions, given)
            speed = len(mentions) / (time.perf_counter() - began)
            print(f"{len(mentions):,} mentions, {len(kb):,} entities: {speed:,.0f} mentions/s")
            for k in (1, 16, 64):
                print(f"  recall@{k}: {found.recall_at(k, golds)}")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--work", type=Path, help="folder that caches vectors and knowledge bases")
    parser.add_argument("--plot", type=Path, help="PNG of memory and time by size")
    parser.add_argument("--dataset", type=Path, help="WikiMEL, built by `dim build`")
    parser.add_argument("--model", type=Path, help="a text-only DIM")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(globals()[arguments.step[0]](*arguments.step[1:])))
        return
    if arguments.dataset is not None:
        dev(arguments.dataset, arguments.model)
    if not arguments.data.is_dir():
        print(f"skipped: {arguments.data} does not exist")
        return
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        real_texts(arguments.data, work)
        scale(work, arguments.sizes, arguments.plot)


if __name__ == "__main__":
    main()
