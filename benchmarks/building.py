"""How long `dim build` takes: WikiMEL's texts, and 10,000 pictures, whose memory must stay flat.

    python benchmarks/building.py [--data ../shared/data] [--pictures 10000]

The texts are those of MELBench and GHMFC; without the folder, that part is skipped. The pictures are JPEGs of 640 x 480
pixels, drawn here. Each build runs in a process of its own, whose peak memory is what the system says.
"""

import argparse
import io
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

BUILD = """
import json, resource, sys, time
from pathlib import Path
import torch, datasets, scipy.sparse  # starting up does not count as building
from dim.corpora.build.dataset import build, summary
options = json.loads(sys.argv[1])
began = time.perf_counter()
built = build("wikimel", [Path(raw) for raw in options["raw"]], Path(options["out"]),
              images=[Path(folder) for folder in options["images"]])
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak": peak, "summary": summary(built)}))
"""
LOAD = """
import json, sys, tempfile, time
import datasets
began = time.perf_counter()
with tempfile.TemporaryDirectory() as cache:
    rows = datasets.load_dataset(sys.argv[1], "mentions", split="validation", cache_dir=cache)
    print(json.dumps({"seconds": time.perf_counter() - began, "rows": len(rows)}))
"""


def run(code: str, argument: str) -> dict:
    """Runs code in a process of its own and gives what it printed, which is JSON."""
    done = subprocess.run([sys.executable, "-c", code, argument], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def build(raw: list[Path], out: Path, images: list[Path]) -> dict:
    """Builds WikiMEL and gives its seconds, peak memory in MiB, and summary."""
    options = {"raw": [str(path) for path in raw], "out": str(out), "images": [str(path) for path in images]}
    return run(BUILD, json.dumps(options))


def texts(data: Path, work: Path) -> None:
    """The build of WikiMEL's texts, and the time to load it."""
    raw = [data / "melbench", data / "ghmfc" / "WikiMEL"]
    if not all(folder.is_dir() for folder in raw):
        print(f"WikiMEL's texts: skipped, {data} does not hold them")
        return
    built = build(raw, work / "wikimel", [])
    loaded = run(LOAD, str(work / "wikimel"))
    print(built["summary"])
    print(f"WikiMEL's texts: built in {built['seconds']:.1f} s, peak {built['peak']:.0f} MiB; validation split of "
          f"{loaded['rows']:,} mentions loaded in {loaded['seconds']:.2f} s")  # fmt: skip


def draw(count: int, raw: Path, images: Path) -> int:
    """Writes a release of `count` sentences with a different JPEG each; gives the size of the pictures in bytes."""
    raw.mkdir()
    images.mkdir()
    drawn = []
    for seed in range(min(count, 200)):
        coarse = Image.frombytes("RGB", (32, 24), random.Random(seed).randbytes(32 * 24 * 3))
        buffer = io.BytesIO()
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        drawn.append(buffer.getvalue())
    size = 0
    for number in range(count):
        comment = f"picture {number:08d}".encode()  # makes the file one of its own
        jpeg = drawn[number % len(drawn)]
        content = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
        (images / f"{number}.jpg").write_bytes(content)
        size += len(content)
    people = {f"Q{number}": f"Person Number {number}" for number in range(100)}
    sentences = {
        str(number): {
            "id": str(number),
            "sentence": f"Person Number {number % 100} on photograph {number}.",
            "mentions": [f"Person Number {number % 100}"],
            "entities": [f"Person Number {number % 100}"],
            "answer": [f"Q{number % 100}"],
        }
        for number in range(count)
    }
    files = {
        "Wikidata-MEL.json": sentences,
        "splits.json": {"train": list(sentences), "dev": [], "test": []},
        "qid2ne.json": people,
        "qid2abs.json": people,
    }
    for name, content in files.items():
        (raw / name).write_text(json.dumps(content))
    return size


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--pictures", type=int, default=10_000, help="how many pictures to embed (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        texts(arguments.data, work)
        for count in (arguments.pictures // 4, arguments.pictures):
            size = draw(count, work / f"raw{count}", work / f"images{count}")
            began = time.perf_counter()
            built = build([work / f"raw{count}"], work / f"out{count}", [work / f"images{count}"])
            print(f"{count:,} JPEGs, {size / count / 1000:.0f} kB each: {count / built['seconds']:.0f} pictures/s, "
                  f"peak {built['peak']:.0f} MiB ({time.perf_counter() - began:.0f} s with starting up)")  # fmt: skip


if __name__ == "__main__":
    main()
