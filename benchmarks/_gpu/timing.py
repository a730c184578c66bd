"""Time on the device, and the rates of its units."""

import statistics
import time
from collections.abc import Callable

import torch


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> float:
    """Returns the time after the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def times(call: Callable[[], object], rounds: int, warm: int = 2) -> list[float]:
    """Wall time of each of `rounds` calls, after `warm` untimed ones."""
    for _ in range(warm):
        call()
    found = []
    for _ in range(rounds):
        began = wait()
        call()
        found.append(wait() - began)
    return found


def alternating(calls: dict[str, Callable[[], object]], rounds: int, warm: int = 2) -> dict[str, list[float]]:
    """Wall times of several calls, one after the other in every round, in alternating order."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warm):
            call()
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            found[name] += times(calls[name], 1, warm=0)
    return found


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def matrix_rate(size: int, dtype: torch.dtype, tf32: bool = False) -> float:
    """Operations per second of a matrix product `(size, size)` of random numbers."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.randn(size, size, device=device(), dtype=dtype) for _ in range(2))
    rate = 2 * size**3 / median(times(lambda: a @ b, 10, warm=3))
    torch.backends.cuda.matmul.allow_tf32 = False
    return rate
