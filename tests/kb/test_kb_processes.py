"""Several processes and kills: two writers, kill -9 while adding and encoding, and two processes that encode."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")

from dim.encoding.loading import fingerprint, load_dim
from dim.kb import KnowledgeBase

SCRIPT = str(Path(__file__).resolve().parents[1] / "helpers" / "kb_process.py")


def start(*arguments, launcher=(), **environment):
    command = [sys.executable, *launcher, SCRIPT, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})


def test_two_writers_lose_nothing(tmp_path):
    old = [{"id": f"old {who}", "name": "x"} for who in "AB"]
    kb = KnowledgeBase.create(tmp_path / "kb", [*old, {"id": "stays", "name": "y"}])
    writers = [start("write", kb.uri, who, tmp_path / "go") for who in "AB"]
    while not all(Path(f"{tmp_path}/go{who}").exists() for who in "AB"):
        assert all(writer.poll() is None for writer in writers)
        time.sleep(0.05)
    (tmp_path / "go").touch()
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    kb.refresh()
    rows = {row["id"]: row["name"] for row in kb.table(["id", "name"]).to_pylist()}
    assert len(kb) == len(rows)  # no id twice
    expected = {f"{who}{number}": f"{who} {number}" for who in "AB" for number in range(8)}
    both = {f"both{number}" for number in range(8)}
    assert set(rows) == {*expected, *both, "shared", "stays"}
    assert {name: rows[name] for name in expected} == expected
    assert {rows[name] for name in both} <= {"by A", "by B"}
    assert rows["shared"] in ("A 7", "B 7")


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.5, 0.8])
def test_kill_in_a_batch_leaves_the_old_version_or_the_new(tmp_path, delay):
    kb = KnowledgeBase.create(tmp_path / "kb", [{"id": "Q1", "name": "old"}, {"id": "x", "name": "other"}])
    writer = start("upsert", kb.uri)
    assert writer.stdout.readline() == "begins\n"
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    kb = KnowledgeBase.open(kb.uri)
    names = dict(zip(kb.ids, kb.table(["name"])["name"].to_pylist(), strict=True))
    assert len(kb) in (2, 60_001)
    assert names["Q1"] == ("old" if len(kb) == 2 else "new 1")
    kb.upsert([{"id": "Q1", "name": "again"}])
    assert kb.rows(["Q1"])["name"].to_pylist() == ["again"]


def test_killed_encoding_goes_on_where_it_was(tmp_path, tiny_dim_dir):
    rows = [{"id": f"Q{n}", "name": f"name {n}", "description": "some text " * (n % 3)} for n in range(10)]
    kb = KnowledgeBase.create(tmp_path / "kb", rows)
    process = start("encode", kb.uri, tiny_dim_dir)
    assert [process.stdout.readline() for _ in range(2)] == ["written\n"] * 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    kb = KnowledgeBase.open(kb.uri)
    left = kb.info()["pending"]
    assert 0 < left <= 6
    model, processor = load_dim(tiny_dim_dir)
    with pytest.raises(ValueError, match=f"{left} entities of .* are not encoded yet"):
        kb.check_encoder(fingerprint(model, processor))
    assert kb.encode(model, processor) == left
    whole = KnowledgeBase.create(tmp_path / "whole", rows)
    whole.encode(model, processor)
    order = [kb.row_of[name] for name in whole.ids]
    torch.testing.assert_close(kb.vectors(order), whole.vectors())


def test_change_while_encoding_is_not_overwritten(tmp_path, tiny_dim_dir):
    rows = [{"id": f"Q{n}", "name": f"name {n}"} for n in range(4)]
    kb = KnowledgeBase.create(tmp_path / "kb", rows)
    process = start("encode", kb.uri, tiny_dim_dir)
    assert process.stdout.readline() == "written\n"
    kb.upsert([{"id": "Q3", "name": "changed"}])  # it was read already
    kb.delete(["Q2"])
    assert process.wait(timeout=60) == 0
    kb.refresh()
    assert kb.rows(["Q3"])["name"].to_pylist() == ["changed"]
    assert sorted(kb.ids) == ["Q0", "Q1", "Q3"]
    assert kb.encoders()[None] == 1  # the vector is that of the old name
    assert kb.encode(*load_dim(tiny_dim_dir)) == 1


@pytest.mark.slow
def test_two_processes_share_the_encoding(tmp_path, tiny_dim_dir):
    rows = [{"id": f"Q{n}", "name": f"name {n}", "description": "text " * (n % 4)} for n in range(11)]
    kb = KnowledgeBase.create(tmp_path / "two", rows)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    both = start("share", kb.uri, tiny_dim_dir, launcher=launcher, ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1")
    printed = both.communicate(timeout=600)[0]
    assert both.returncode == 0
    assert printed.splitlines() == ["2 processes, 11 rows"] * 2
    kb.refresh()
    alone = KnowledgeBase.create(tmp_path / "one", rows)
    alone.encode(*load_dim(tiny_dim_dir))
    order = [kb.row_of[name] for name in alone.ids]
    torch.testing.assert_close(kb.vectors(order), alone.vectors())
