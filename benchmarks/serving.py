"""Load test of the service: 64 concurrent clients, every answer compared with the linker's; latency and memory.

    python benchmarks/serving.py [--seconds 60] [--clients 64]
    python benchmarks/serving.py --model MODEL --kb KB --dataset DATASET   # the mentions of its validation split

`dim serve` and the client run as two processes of this machine and share its cores. The client keeps one connection
with one request in flight for each user. An answer is wrong if its entities differ from those of `DIMLinker`, or a
score by more than 1e-3; it is lost if there is no response. Memory is that of the service, from its `/metrics`, after a
tenth and a half of the time and at the end. By default, model and entities are synthetic: a BERT of width 128 with 2
layers, 10,000 entities, and pictures of 96 x 96 pixels for half of the mentions.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from _made_up import checkpoint, dataset

from dim import DIMLinker, KnowledgeBase, Links, load_dim, load_mentions
from dim.linking.mention import mention_row

QUESTIONS, K, TOLERANCE = 512, 5, 1e-3


def prepared(folder: Path) -> tuple[Path, Path, Path]:
    """Creates a synthetic model, its knowledge base and mentions."""
    model, kb, data = folder / "model", folder / "kb", folder / "data"
    checkpoint(model, width=128, layers=2, picture=96)
    dataset(data, mentions=QUESTIONS, entities=10_000, words=20, picture=96)
    KnowledgeBase.create(kb, str(data)).encode(*load_dim(model), batch_size=256, progress=True)
    return model, kb, data


def questions(linker: DIMLinker, data: Path, split: str) -> list[tuple[bytes, Links]]:
    """Returns bodies of requests with the linker's answers; every other mention without its picture."""
    rows = load_mentions(str(data), split)
    asked = []
    for index in range(min(QUESTIONS, len(rows))):
        row = rows[index]
        image = row.get("image") if index % 2 else None
        span = (row["start"], row["end"]) if row["start"] >= 0 else None
        mention = None if span else row["mention"]
        body: dict = {"sentence": row["sentence"]}
        body |= {"mention": mention} if span is None else {"start": span[0], "end": span[1]}
        if image is not None:
            body["images"] = ["data:;base64," + base64.b64encode(image["bytes"]).decode()]
        found = linker.link([mention_row(row["sentence"], mention, span, image, None)], K)[0]
        asked.append((json.dumps({"mentions": [body], "k": K}).encode(), found))
    return asked


def same(answer: dict, links: Links) -> bool:
    """Whether an answer is the linker's; entities with equal scores may swap."""
    [result] = answer["results"]
    expected = {entity.id: entity.score for entity in links}
    scores = [entity["score"] for entity in result["entities"]]
    alike = all(abs(score - entity.score) < TOLERANCE for score, entity in zip(scores, links, strict=True))
    last = links[-1].score if links else 0.0
    return alike and all(
        abs(entity["score"] - expected.get(entity["id"], last)) < TOLERANCE for entity in result["entities"]
    )


async def load(url: str, asked: list[tuple[bytes, Links]], clients: int, seconds: float) -> dict:
    """Sends requests for some seconds, and measures."""
    times: list[float] = []
    counts = {"wrong": 0, "lost": 0, "refused": 0}
    end = time.perf_counter() + seconds
    connector, patience = aiohttp.TCPConnector(limit=clients + 1), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(url, connector=connector, timeout=patience) as session:

        async def user(number: int) -> None:
            index = number * 7919
            while time.perf_counter() < end:
                body, links = asked[index % len(asked)]
                index += 1
                began = time.perf_counter()
                try:
                    async with session.post("/link", data=body, headers={"Content-Type": "application/json"}) as got:
                        answer = await got.json()
                        status = got.status
                except (aiohttp.ClientError, asyncio.TimeoutError):
                    counts["lost"] += 1
                    continue
                times.append(time.perf_counter() - began)
                if status != 200:
                    counts["refused"] += 1
                elif not same(answer, links):
                    counts["wrong"] += 1

        async def watch() -> tuple[list[float], str]:
            found, text = [], ""
            for share in (0.1, 0.4, 0.5):
                await asyncio.sleep(share * seconds)
                async with session.get("/metrics") as got:
                    text = await got.text()
                found.append(float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)[1]) / 2**20)
            return found, text

        (memory, text), *_ = await asyncio.gather(watch(), *(user(number) for number in range(clients)))
    total, count = (float(re.search(rf"^dim_batch_mentions_{name} (\S+)", text, re.MULTILINE)[1])
                    for name in ("sum", "count"))  # fmt: skip
    p50, p95, p99 = (1000 * statistics.quantiles(times, n=100)[index] for index in (49, 94, 98))
    return {"answers": len(times), "answers/s": len(times) / seconds, "p50 ms": p50, "p95 ms": p95, "p99 ms": p99,
            **counts, "mentions a batch": total / count, "MiB, early": memory[0], "MiB, half": memory[1],
            "MiB, end": memory[2]}  # fmt: skip


def main() -> None:
    """Prints the table; the exit code is 1 if an answer was wrong or lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--model", help="folder of a DIM; synthetic by default")
    parser.add_argument("--kb", help="a knowledge base that it encoded")
    parser.add_argument("--dataset", help="folder of a dataset with mentions")
    arguments = parser.parse_args()
    given = (arguments.model, arguments.kb, arguments.dataset)
    if any(given) and not all(given):
        parser.error("give --model, --kb and --dataset together, or none of them")
    with tempfile.TemporaryDirectory() as folder:
        model, kb, data = map(Path, given) if all(given) else prepared(Path(folder))
        linker = DIMLinker.from_pretrained(model, kb)
        asked = questions(linker, data, "validation" if all(given) else "train")
        entities = len(linker.kb)
        command = [sys.executable, "-m", "dim", "serve", "--model", str(model), "--kb", str(kb), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            try:
                found = asyncio.run(load(server.stdout.readline().strip(), asked, arguments.clients, arguments.seconds))
            finally:
                server.terminate()
            code = server.wait()
    print(f"{arguments.clients} clients, {arguments.seconds:g} s, {entities:,} entities, {len(asked)} questions, "
          f"{os.cpu_count()} cores\n")  # fmt: skip
    for name, value in found.items():
        print(f"{name:<20}{value:>12,.1f}" if isinstance(value, float) else f"{name:<20}{value:>12,}")
    print(f"{'exit code':<20}{code:>12}")
    if found["wrong"] or found["lost"] or code:
        sys.exit(1)


if __name__ == "__main__":
    main()
