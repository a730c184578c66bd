"""Runs that are killed lose no paid answer and pay for none twice."""

import json
import os
import random
import signal
import time
from contextlib import closing

import pytest
from forker import forking

from dim.enhancement.ledger import Ledger


@pytest.fixture
def forker():
    with forking("dim.enhancement.enhance", "openai") as forker:
        yield forker


@pytest.mark.parametrize("kills, count", [(5, 150), pytest.param(50, 1500, marks=pytest.mark.slow)])
def test_killed_at_any_moment(stub, forker, tmp_path, kills, count):
    stub.latency = 0.02
    start, status = forker.start, forker.status
    source, out, concurrency = tmp_path / "e.jsonl", tmp_path / "new.jsonl", 8
    rows = [{"id": f"e{n}", "name": f"Name {n}", "description": f"text {n}"} for n in range(count)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["enhance", str(source), "--llm", "m", "--base-url", stub.url, "--out", str(out)]
    argv += ["--concurrency", str(concurrency)]
    chance = random.Random(kills)
    durable: set[str] = set()
    for _ in range(kills):
        seen = len(stub.requests)
        goal = seen + chance.randint(1, 2 * count // kills // 3)
        child = start(argv)
        while len(stub.requests) < goal:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(status()), "it had ended before it was killed"
        again = set(stub.entities[seen:]) & durable
        assert again == set(), "asked although the answer was there"
        with closing(Ledger(tmp_path / "new.answers.sqlite")) as ledger:
            keys = ledger.keys()
            answers = [ledger.answer(key) for key in keys]
        known = {answer.text.split("number ")[1].split()[0] for answer in answers}
        assert durable <= known, "an answer was lost"
        durable = known
        assert len(stub.entities[:]) - len(durable) <= (_ + 1) * concurrency
    child = start(argv)
    assert status() == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in found] == [f"e{n}" for n in range(count)]
    assert len(stub.requests) <= count + kills * concurrency
    assert 0 < len(durable) < count


def test_interrupted_by_the_user(stub, forker, tmp_path):
    start, status = forker.start, forker.status
    stub.latency = 0.2
    source = tmp_path / "e.jsonl"
    rows = [{"id": f"e{n}", "name": f"Name {n}", "description": ""} for n in range(4000)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    child = start(["enhance", str(source), "--llm", "m", "--base-url", stub.url, "--out", str(tmp_path / "new.jsonl")])
    while len(stub.requests) < 40:
        time.sleep(0.01)
    os.kill(child, signal.SIGINT)
    assert os.waitstatus_to_exitcode(status()) == 130
    with closing(Ledger(tmp_path / "new.answers.sqlite")) as ledger:
        assert len(ledger.keys()) >= len(stub.requests) - 2 * 16
