"""Worker processes that prepare inputs: how many pay, and how long the model waits for them."""

import logging
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator

import torch

logger = logging.getLogger(__name__)

_PICTURE_SECONDS, _TEXT_SECONDS = 0.005, 0.0002  # about what a row with pictures, or without, takes on one core
_NOTICED = 5.0  # seconds from which on a slow loader is worth a line in the log


class Wait:
    """Measures how long the model waits for its inputs."""

    def __init__(self, rows: int, workers: int):
        self._rows, self._workers, self._waited, self._began = rows, workers, 0.0, time.perf_counter()

    def measured(self, batches: Iterable) -> Iterator:
        """Yields the batches, and adds up the time until each is there."""
        asked = time.perf_counter()
        for batch in batches:
            self._waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()

    def tell(self) -> None:
        """Logs one line if most of the time went into reading, decoding and tokenising."""
        seconds = time.perf_counter() - self._began
        if seconds >= _NOTICED and self._waited > seconds / 2:
            logger.info(
                "encoding was bound by reading, decoding and tokenising: %.0f rows a second with %d worker processes "
                "on %d cores; the model waited %.0f %% of the time",
                self._rows / seconds, self._workers, _cores(), 100 * self._waited / seconds,
            )  # fmt: skip


def workers_for(rows: int, pictures: bool, device: torch.device) -> int:
    """Chooses the number of worker processes that decode and tokenise.

    Args:
        rows: Number of rows.
        pictures: Whether they have pictures.
        device: The model's device.

    Returns:
        One for each second of work on one core, up to all cores but one; 0 for a model on the CPU, which needs the
        cores itself, and inside a worker process, which may have none.
    """
    if device.type == "cpu" or multiprocessing.current_process().daemon:
        return 0
    seconds = rows * (_PICTURE_SECONDS if pictures else _TEXT_SECONDS)
    return min(int(seconds), _cores() - 1)


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
