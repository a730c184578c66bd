"""The number of worker processes, and the line about a slow loader."""

import logging
import multiprocessing

import pytest
import torch

from dim.encoding import workers
from dim.encoding.workers import Wait, workers_for

GPU = torch.device("cuda")


@pytest.mark.parametrize(
    ("rows", "pictures", "cores", "expected"),
    [(1, True, 16, 0), (199, True, 16, 0), (600, True, 16, 3), (50_000, True, 16, 15), (50_000, True, 1, 0),
     (4_000, False, 16, 0), (20_000, False, 16, 4)],
)  # fmt: skip
def test_as_many_as_pay(rows, pictures, cores, expected, monkeypatch):
    monkeypatch.setattr(workers, "_cores", lambda: cores)
    assert workers_for(rows, pictures, GPU) == expected


def test_a_model_on_the_cpu_needs_the_cores_itself(monkeypatch):
    monkeypatch.setattr(workers, "_cores", lambda: 16)
    assert workers_for(50_000, True, torch.device("cpu")) == 0


def _chosen(sender):
    sender.send(workers_for(50_000, True, GPU))


def test_a_worker_process_starts_no_workers(monkeypatch):
    monkeypatch.setattr(workers, "_cores", lambda: 16)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_chosen, args=(sender,), daemon=True)
    process.start()
    assert receiver.recv() == 0
    process.join()


@pytest.mark.parametrize(("slow", "told"), [("loader", True), ("model", False)])
def test_a_loader_that_is_the_bound_is_told(slow, told, monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(workers.time, "perf_counter", lambda: now[0])

    def batches():
        for _ in range(10):
            now[0] += 2.0 if slow == "loader" else 0.5
            yield None

    wait = Wait(640, 3)
    with caplog.at_level(logging.INFO, "dim.encoding.workers"):
        for _ in wait.measured(batches()):
            now[0] += 0.5 if slow == "loader" else 2.0
        wait.tell()
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == told
    if told:
        assert "26 rows a second with 3 worker processes" in found[0]
        assert found[0].endswith("the model waited 80 % of the time")


def test_a_short_wait_is_not_told(caplog):
    wait = Wait(1, 0)
    list(wait.measured([None]))
    with caplog.at_level(logging.INFO, "dim.encoding.workers"):
        wait.tell()
    assert caplog.records == []
