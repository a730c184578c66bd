"""A row in a process of its own, with a time limit."""

import importlib
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A row of the table: the module `_gpu.NAME`, its target in words, and its time limit in seconds."""

    name: str
    target: str
    seconds: float


@dataclass
class Found:
    """What a row measured: a line for the table, whether the target is met (`None`: no target here), all figures."""

    summary: str
    met: bool | None = None
    figures: dict = field(default_factory=dict)


@dataclass
class Outcome:
    """A row's result, or why there is none."""

    name: str
    target: str
    seconds: float
    summary: str
    met: bool | None = None
    figures: dict = field(default_factory=dict)
    failed: bool = False


def cuda_is_there() -> bool:
    """Whether there is a CUDA device, asked in a process of its own: forked rows need a parent that never used CUDA."""
    process = multiprocessing.get_context("fork").Process(target=_exit_with_cuda)
    process.start()
    process.join()
    return process.exitcode == 0


def _exit_with_cuda() -> None:
    import torch

    raise SystemExit(0 if torch.cuda.is_available() else 1)


def run_row(row: Row, tiny: bool, limit: float, log: Path | None) -> Outcome:
    """Runs a row in a forked process; kills it and all that it started after `limit` seconds."""
    if limit < 5:
        return Outcome(row.name, row.target, 0, "skipped: no time is left", failed=True)
    context = multiprocessing.get_context("fork")  # a spawned process would import everything again
    receiver, sender = context.Pipe(duplex=False)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        process = context.Process(target=_child, args=(row.name, tiny, Path(work), log, sender))
        process.start()
        sender.close()
        answer = _answer(receiver, limit, process.pid)
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
    seconds = time.perf_counter() - began
    if isinstance(answer, Found):
        return Outcome(row.name, row.target, seconds, answer.summary, answer.met, answer.figures)
    summary, details = answer or (f"ended without a result (exit code {process.exitcode})", "")
    return Outcome(row.name, row.target, seconds, f"FAILED: {summary}", None, {"traceback": details}, failed=True)


def _answer(receiver: Connection, limit: float, pid: int | None) -> Found | tuple[str, str] | None:
    """The row's result, a reason for having none, or `None` if the process died."""
    try:
        if receiver.poll(limit):
            return receiver.recv()
    except EOFError:
        return None
    finally:
        if pid is not None:
            _end(pid)
    return f"no result after {limit:.0f} s", ""


def _end(pid: int) -> None:
    """Ends a row and its children, such as data loader workers, which share its process group."""
    time.sleep(0.2)  # a row that has answered ends by itself
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _child(name: str, tiny: bool, work: Path, log: Path | None, sender: Connection) -> None:
    os.setpgid(0, 0)
    output = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    print(f"== {name}", flush=True)
    try:
        sender.send(importlib.import_module(f"_gpu.{name}").measure(tiny, work))
    except Exception as error:  # any failure becomes the row's one-line reason
        traceback.print_exc()
        reason = " ".join(str(error).split())[:300]
        sender.send((f"{type(error).__name__}: {reason}", traceback.format_exc()[-4000:]))
