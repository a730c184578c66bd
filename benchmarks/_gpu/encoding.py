"""Encoding of mentions with pictures from disk: how busy the card is, and what it waits for."""

import contextlib
import io
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from _made_up import WORDS
from PIL import Image

from _gpu.made import checkpoint
from _gpu.processes import Found
from _gpu.timing import device, wait
from dim.encoding.encode import encode_mentions
from dim.encoding.loading import load_dim
from dim.encoding.workers import workers_for


def write_pictures(folder: Path, count: int) -> list[str]:
    """Writes `count` JPEG files of 400 x 300 pixels, of at most 256 different pictures as smooth as photographs."""
    folder.mkdir()

    def content(seed: int) -> bytes:
        draw = np.random.default_rng(seed)
        image = Image.fromarray(draw.integers(0, 255, (24, 32, 3), np.uint8)).resize(
            (400, 300), Image.Resampling.BICUBIC
        )
        noisy = np.clip(np.asarray(image, np.int16) + draw.integers(-8, 9, (300, 400, 3)), 0, 255)
        out = io.BytesIO()
        Image.fromarray(noisy.astype(np.uint8)).save(out, "JPEG", quality=85)
        return out.getvalue()

    def write(row: int) -> str:
        path = folder / f"{row}.jpg"
        path.write_bytes(contents[row % len(contents)])
        return str(path)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        contents = list(pool.map(content, range(min(count, 256))))
        return list(pool.map(write, range(count)))


def rows_of(paths: list[str]) -> list[dict]:
    """Mentions with a sentence of some twenty words and a picture."""
    rows = []
    for row, path in enumerate(paths):
        sentence = f"number {row} " + " ".join(WORDS[(7 * row) % 1900 :][: 10 + row % 20])
        rows.append({"id": str(row), "mention": f"number {row}", "sentence": sentence, "start": 0,
                     "end": len(f"number {row}"), "image": path})  # fmt: skip
    return rows


@contextlib.contextmanager
def busy_share(shares: list[float]) -> Iterator[None]:
    """Samples, ten times a second, the share of time in which the card ran a kernel, as NVML reports it."""
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetUtilizationRates(card)
    except Exception as error:  # no NVML: the share by events remains
        print("no NVML:", error)
        yield
        return
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.1):
            shares.append(pynvml.nvmlDeviceGetUtilizationRates(card).gpu / 100)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Told(logging.Handler):
    """What the package says about its bound."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the line."""
        self.lines.append(record.getMessage())


class Timed:
    """The encoder, with the time from the first to the last kernel of every batch."""

    def __init__(self, encode: object):
        self.encode, self.events = encode, []

    def __call__(self, **inputs: torch.Tensor) -> torch.Tensor:
        if not torch.cuda.is_available():
            began = time.perf_counter()
            found = self.encode(**inputs)
            self.events.append((began, time.perf_counter()))
            return found
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        found = self.encode(**inputs)
        end.record()
        self.events.append((start, end))
        return found

    def seconds(self) -> float:
        """Time in all batches."""
        wait()
        return sum(end - start if isinstance(start, float) else start.elapsed_time(end) / 1e3
                   for start, end in self.events)  # fmt: skip


def measure(tiny: bool, work: Path) -> Found:
    """Mentions per second and the card's busy share, with as many workers as cores and without."""
    count, alone, batch_size = (24, 8, 8) if tiny else (50_000, 512, 128)
    began = time.perf_counter()
    rows = rows_of(write_pictures(work / "pictures", count))
    writing = time.perf_counter() - began
    checkpoint(work / "dim", tiny)
    model, processor = load_dim(work / "dim")
    model.to(device())
    workers, told = workers_for(count, True, device()), Told()
    log = logging.getLogger("dim.encoding.workers")
    log.setLevel(logging.INFO)
    log.addHandler(told)
    autocast = torch.autocast(device().type, torch.bfloat16, enabled=torch.cuda.is_available())
    with autocast:
        encode_mentions(model, processor, rows[: 2 * batch_size], batch_size=batch_size)
        began = wait()
        encode_mentions(model, processor, rows[:alone], batch_size=batch_size, num_workers=0)
        single = alone / (wait() - began)
        timed, shares = Timed(model.get_mention_features), []
        model.get_mention_features = timed
        began = wait()
        with busy_share(shares):
            encode_mentions(model, processor, rows, batch_size=batch_size)
        seconds = wait() - began
        fewer = rows[: max(1, count // 10)]
        began = wait()
        encode_mentions(model, processor, [{**row, "image": None} for row in fewer], batch_size=batch_size)
        texts = len(fewer) / (wait() - began)
    timed.events = timed.events[: -(-count // batch_size)]
    busy = timed.seconds() / seconds
    nvml = sum(shares) / len(shares) if shares else None
    figures = {"mentions/s": count / seconds, "mentions/s, no workers": single, "mentions/s without pictures": texts,
               "workers": workers, "told": told.lines, "busy, by events": busy,
               "busy, by NVML": nvml, "seconds": seconds, "seconds of writing files": writing}  # fmt: skip
    by_nvml = "no NVML" if nvml is None else f"{nvml:.0%} by NVML"
    summary = (f"{count / seconds:,.0f} mentions/s with {workers} workers of its choice, {single:,.0f} without; "
               f"card busy {busy:.0%} ({by_nvml}); log: {told.lines or 'nothing'}")  # fmt: skip
    return Found(summary, None if tiny or not torch.cuda.is_available() else max(busy, nvml or 0) >= 0.6, figures)
