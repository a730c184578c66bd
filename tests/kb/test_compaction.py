"""Compaction: what stays, what is freed, and what readers, other writers and a killed process meet."""

import random
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")

from dim.kb import KnowledgeBase
from dim.kb.compaction import bytes_by_age, bytes_of, compact
from dim.kb.table import GoneVersionError

ROWS = [{"id": f"Q{number}", "name": f"name {number}"} for number in range(50)]


def changed(kb, times):
    for number in range(times):
        kb.upsert([{"id": f"Q{number % 50}", "name": f"other {number}"}, {"id": f"N{number}", "name": "new"}])
    return kb


def contents(kb):
    return {row["id"]: row["name"] for row in kb.table(["id", "name"]).to_pylist()}


@pytest.fixture
def kb(tmp_path):
    return changed(KnowledgeBase.create(tmp_path / "kb", ROWS), 12)


def test_old_versions_go_and_rows_stay(kb):
    before, size = contents(kb), bytes_of(kb)
    done = compact(kb, keep=timedelta(0))
    assert contents(kb) == contents(KnowledgeBase.open(kb.uri)) == before
    assert [one["version"] for one in kb.versions()] == [kb.version]
    assert (done.before, done.after) == (size, bytes_of(kb))
    assert done.after < size
    assert done.versions == 1


def test_a_long_time_removes_nothing(kb):
    versions = [one["version"] for one in kb.versions()]
    assert compact(kb, keep=timedelta(days=1)).removed == 0
    assert [one["version"] for one in kb.versions()][: len(versions)] == versions


def test_the_wider_limit_counts(kb):
    versions = [one["version"] for one in kb.versions()]
    assert compact(kb, keep=timedelta(0), keep_versions=len(versions)).removed == 0
    assert compact(kb, keep=timedelta(days=1), keep_versions=1).removed == 0


def test_the_newest_versions_stay(kb):
    began = time.monotonic()
    while time.monotonic() - began < 0.2:  # so that versions lie apart by more than the margin
        changed(kb, 1)
    versions = [one["version"] for one in kb.versions()]
    compact(kb, keep_versions=2)
    left = [one["version"] for one in kb.versions()]
    assert set(versions[-2:]) <= set(left)
    assert versions[0] not in left


def test_a_reader_of_a_removed_version_is_told(kb):
    old = kb.checkout(2)
    compact(kb, keep=timedelta(0))
    with pytest.raises(GoneVersionError, match="Version 2 of .* is gone: dim kb compact has removed it"):
        old.table()
    with pytest.raises(ValueError, match="has no version 2"):
        kb.checkout(2)


def test_a_compacted_base_goes_on(kb):
    compact(kb, keep=timedelta(0))
    assert kb.upsert([{"id": "Q1", "name": "again"}]) == 1
    kb.delete(["Q2"])
    assert contents(KnowledgeBase.open(kb.uri))["Q1"] == "again"
    assert "Q2" not in contents(kb)


WORKER = """
import sys
from datetime import timedelta
from dim.kb import KnowledgeBase
from dim.kb.compaction import compact
kb = KnowledgeBase.open(sys.argv[1])
print("ready", flush=True)
while True:
    compact(kb, keep=timedelta(0))
    for number in range(4):
        kb.upsert([{"id": "W", "name": f"{number}"}])
"""


def test_a_killed_compaction_loses_nothing(kb):
    expected = contents(kb)
    for seed in range(4):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, kb.uri], stdout=subprocess.PIPE, text=True)
        assert worker.stdout.readline() == "ready\n"
        time.sleep(random.Random(seed).uniform(0, 0.15))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        found = contents(KnowledgeBase.open(kb.uri))
        found.pop("W", None)
        assert found == expected
    kb.refresh()
    compact(kb, keep=timedelta(0))
    assert contents(kb).items() >= expected.items()


def test_bytes_by_age_add_up(kb):
    sizes = bytes_by_age(kb)
    newest = sizes.pop("newest version")
    assert sum(sizes.values()) == bytes_of(kb) == sizes["last day"]
    assert 0 < newest < bytes_of(kb)


def test_limits_are_needed(kb):
    with pytest.raises(ValueError, match="Say what to keep"):
        compact(kb)
    with pytest.raises(ValueError, match="keep_versions must be at least 1"):
        compact(kb, keep_versions=0)
    with pytest.raises(ValueError, match="cannot be changed"):
        compact(kb.checkout(1), keep=timedelta(0))


def test_large_tables_have_an_index_of_their_ids(tmp_path, monkeypatch):
    monkeypatch.setattr("dim.kb.store._INDEXED_FROM", 50)
    small = KnowledgeBase.create(tmp_path / "small", ROWS[:49])
    large = KnowledgeBase.create(tmp_path / "large", ROWS)
    assert [bool(kb._table._table.list_indices()) for kb in (small, large)] == [False, True]
    kb = changed(large, 3)
    assert kb.upsert([{"id": "Q7", "name": "seven"}, {"id": "Q8", "name": "name 8"}]) == 1  # one is equal
    kb.delete(["Q9"])
    assert kb.upsert([{"id": "Q9", "name": "nine"}]) == 1
    kb.finish()
    found = contents(KnowledgeBase.open(kb.uri))
    assert (found["Q7"], found["Q8"], found["Q9"], found["N2"]) == ("seven", "name 8", "nine", "new")


def test_many_ids_are_asked_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("dim.kb.view._ASKED", 7)
    kb = KnowledgeBase.create(tmp_path / "kb", ROWS)
    assert kb.upsert([*ROWS, {"id": "it's", "name": "quoted"}]) == 1
    assert kb.upsert([{**row, "name": row["name"].upper()} for row in ROWS]) == 50
    assert contents(kb)["Q49"] == "NAME 49"
