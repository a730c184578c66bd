"""Measures the whole linker on real mentions: recall of the candidates, accuracy, confidence, NIL, mentions per second.

    python benchmarks/linker.py --model runs/wikimel_text --dataset data/wikimel [--kb DIR] [--rerank 16]
                                [--dtype bfloat16] [--json FILE]

The mentions are those of the validation split, ranked by `DIMLinker` against every entity of the dataset. Confidence
and NIL are those of `dim calibrate`: a fifth of the golds removed from the candidates, five-fold cross-fitting by
sentence. Popularity is the logarithm of 1 + the number of an entity's golds in the training split, with the weight that
is best on the validation split itself, its upper bound. Speed is that of candidates and ranking, without encoding:
5,000 mentions (the split, repeated) in one call, 500 with a reranker, and one mention per call.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch

from dim import DIMLinker, KnowledgeBase, gold_ranks, load_dim, load_mentions, ranking_metrics
from dim.encoding.mention import mentions_of
from dim.linking.calibrate import fit, held_out_entities
from dim.linking.linker import CANDIDATES
from dim.linking.ranking import Ranking

BATCH, RERANKED, SINGLE = 5_000, 500, 200
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)


def popularity(linker: DIMLinker, ranking: Ranking, gold: torch.Tensor, dataset: str) -> dict[str, float]:
    """Measures a popularity prior with its best weight."""
    counts = torch.zeros(len(linker.kb))
    known = [linker.kb.row_of[name] for name in load_mentions(dataset, "train")["entity_id"] if name]
    counts.index_add_(0, torch.tensor(known), torch.ones(len(known)))
    popular = counts[ranking.rows.clamp(min=0)].log1p()
    found = [accuracy(ranking.rescored(ranking.scores + weight * popular), gold) for weight in WEIGHTS]
    best = max(range(len(WEIGHTS)), key=lambda place: found[place]["H@1"])
    return {"weight of popularity": WEIGHTS[best], **{f"{name} with it": found[best][name] for name in ("H@1", "MRR")}}


def accuracy(ranking: Ranking, gold: torch.Tensor) -> dict[str, float]:
    """Computes `H@k` and `MRR` of the candidates; a gold that is not among them is a miss."""
    hit = ranking.rows == gold[:, None]
    places = torch.where(hit.any(1), hit.long().argmax(1), -1)
    metrics = ranking_metrics(gold_ranks(ranking.scores.clamp(min=torch.finfo(torch.float32).min), places))
    return {name: value for name, value in metrics.items() if name != "H@20"}


def measure(linker: DIMLinker, dataset: str) -> dict[str, float]:
    """Measures all rows of the table, in percent, mentions per second and milliseconds."""
    mentions = load_mentions(dataset, "validation")
    rows = [row for row, name in enumerate(mentions["entity_id"][:]) if name]
    mentions = mentions.select(rows)
    gold = torch.tensor([linker.kb.row_of[name] for name in mentions["entity_id"]])
    queries = linker.encode(mentions, batch_size=128, progress=True)
    texts = mentions_of(mentions)
    found = linker.search.search(texts, queries, CANDIDATES)
    recall = found.recall_at(CANDIDATES, gold.numpy())

    ranking = linker.rank_vectors(queries, texts)
    gone = held_out_entities(gold, 0.2, seed=0)
    left = gold.masked_fill(torch.isin(gold, gone), -1)
    fitted = fit(ranking.without(gone), left, mentions["sentence"][:]).measured

    count = BATCH if linker.reranker is None else RERANKED
    many = [place % len(texts) for place in range(count)]
    questions = [texts[place] for place in many]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        linker.rank_vectors(queries[many], questions)
        times.append(time.perf_counter() - began)
    single = []
    for place in range(SINGLE):
        began = time.perf_counter()
        linker.rank_vectors(queries[place : place + 1], texts[place : place + 1])
        single.append(time.perf_counter() - began)
    return (
        {f"recall@{CANDIDATES}, {name}": value for name, value in recall.items()}
        | accuracy(ranking, gold)
        | popularity(linker, ranking, gold, dataset)
        | {name: float(value) for name, value in fitted.items() if name not in ("mentions", "NIL share")}
        | {f"mentions/s, {count:,} at once": count / statistics.median(times),
           "ms, one at a time (median)": 1000 * statistics.median(single)}
    )  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder of a DIM")
    parser.add_argument("--dataset", help="folder of a dataset")
    parser.add_argument("--kb", help="its knowledge base, encoded by the model; created by default")
    parser.add_argument("--rerank", type=int, default=0, help="candidates to rerank")
    parser.add_argument("--dtype", default="float32", help="type of the model's arithmetic")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    if not (arguments.model and arguments.dataset):
        print("skipped: give --model and --dataset")
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.kb is None:
            kb = KnowledgeBase.create(Path(folder) / "kb", arguments.dataset)
            kb.encode(*load_dim(arguments.model), batch_size=128, progress=True)
        dtype = getattr(torch, arguments.dtype)
        linker = DIMLinker.from_pretrained(
            arguments.model, arguments.kb or kb.uri, dtype=dtype, rerank=arguments.rerank
        )
        results = measure(linker, arguments.dataset)
    print(f"{platform.machine()} CPU, {torch.get_num_threads()} threads, {len(linker.kb):,} entities\n")
    for name, value in results.items():
        print(f"{name:<32}{value:>10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
