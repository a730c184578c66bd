"""While a second process changes rows all the time, every command that reads and writes back loses none of them."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")

from dim.encoding.loading import load_dim
from dim.enhancement.refresh import texts_of, write_back
from dim.enhancement.report import Enhancement
from dim.kb import KnowledgeBase
from dim.linking.linker import DIMLinker

SCRIPT = str(Path(__file__).resolve().parents[1] / "helpers" / "kb_process.py")


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    return load_dim(tiny_dim_dir)


@pytest.fixture
def kb(tmp_path):
    return KnowledgeBase.create(tmp_path / "kb", [{"id": f"Q{row}", "name": f"name {row}"} for row in range(40)])


def renew(kb, number):
    kb.refresh()
    ids = [name for name in kb.ids if name.startswith("Q")]
    asked = texts_of(kb, ids)
    rows = [{"id": name, "description": f"text {number}", "description_source": "llm"} for name in ids]
    write_back(kb, asked, Enhancement(rows))


STEPS = {
    "refresh": lambda kb, dim, service, number: renew(kb, number),
    "encode": lambda kb, dim, service, number: kb.encode(*dim),
    "service": lambda kb, dim, service, number: service.put([{"id": f"X{number % 3}", "name": f"x {number}"}]),
    "merge": lambda kb, dim, service, number: kb.upsert([{"id": "Y", "name": f"y {number}"}]),
    "compaction": lambda kb, dim, service, number: kb.finish(),
    "removal": lambda kb, dim, service, number: service.delete(f"X{(number + 1) % 3}"),
    "index": lambda kb, dim, service, number: kb.index(),
}


@pytest.mark.parametrize("names", [STEPS, *(pytest.param([name], marks=pytest.mark.slow, id=name) for name in STEPS)])
def test_a_second_process_loses_no_change(tmp_path, dim, names):
    """150 changes of 40 rows beside all operations in turn; 1,000 changes of 1,000 rows beside each alone."""
    entities = pytest.importorskip("dim.serving.entities", reason="the service needs more packages")
    count, commits = (40, 15) if names is STEPS else (1000, 100)
    kb = KnowledgeBase.create(tmp_path / "kb", [{"id": f"Q{row}", "name": f"name {row}"} for row in range(count)])
    kb.encode(*dim)
    service = entities.Entities(DIMLinker(*dim, KnowledgeBase.open(kb.uri)))
    steps = itertools.cycle(STEPS[name] for name in names)
    command = [sys.executable, SCRIPT, "edit", kb.uri, str(commits)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as person:
        assert person.stdout.readline() == "begins\n"
        for number, step in enumerate(steps):
            if person.poll() is not None:
                break
            step(kb, dim, service, number)
        last = json.loads(person.stdout.readline())
    kb.refresh()
    rows = {row["id"]: row["type"] for row in kb.table(["id", "type"]).to_pylist()}
    assert len(rows) == len(kb)  # no id twice
    assert {name: rows[name] for name in last} == last


def test_a_renewal_keeps_what_changes_between_its_reading_and_its_writing(kb, monkeypatch):
    """Another field changes: the new description comes with the new field. The description changes: it stays."""
    other = KnowledgeBase.open(kb.uri)
    real = KnowledgeBase.replace
    aliases = {"id": "Q1", "name": "name 1", "aliases": ["mine"]}
    person = [[aliases, {"id": "Q2", "name": "name 2", "description": "mine"}]]

    def meanwhile(self, rows, keys):
        if person:
            other.upsert(person.pop())
        return real(self, rows, keys)

    monkeypatch.setattr(KnowledgeBase, "replace", meanwhile)
    asked = texts_of(kb, ["Q1", "Q2", "Q3"])
    result = Enhancement([{"id": name, "description": f"new {name}"} for name in ("Q1", "Q2", "Q3")])
    write_back(kb, asked, result)
    rows = {row["id"]: (row["aliases"], row["description"]) for row in kb.rows(["Q1", "Q2", "Q3"]).to_pylist()}
    assert rows == {"Q1": (["mine"], "new Q1"), "Q2": ([], "mine"), "Q3": ([], "new Q3")}
    assert [kept.id for kept in result.kept] == ["Q2"]
    assert sorted(row["id"] for row in result.descriptions) == ["Q1", "Q3"]


def test_rows_that_changed_or_went_are_not_replaced(kb):
    keys = dict(zip(kb.ids, kb.table(["key"])["key"].to_pylist(), strict=True))
    other = KnowledgeBase.open(kb.uri)
    other.upsert([{"id": "Q1", "name": "changed"}])
    other.delete(["Q2"])
    rows = [{"id": name, "name": "new"} for name in ("Q1", "Q2", "Q3")]
    assert kb.replace(rows, keys) == {"Q3"}
    assert kb.rows(["Q1", "Q3"])["name"].to_pylist() == ["changed", "new"]
    assert "Q2" not in kb.ids


def test_a_vector_never_goes_to_a_row_that_another_process_changed(kb, dim, monkeypatch):
    """The service encodes what it was given; meanwhile somebody gives the row another name."""
    entities = pytest.importorskip("dim.serving.entities", reason="the service needs more packages")
    kb.encode(*dim)
    service = entities.Entities(DIMLinker(*dim, kb))
    other = KnowledgeBase.open(kb.uri)
    real = kb.upsert

    def then_changed(rows):
        count = real(rows)
        other.upsert([{"id": "Q1", "name": "theirs"}])
        kb.refresh()
        return count

    monkeypatch.setattr(kb, "upsert", then_changed)
    service.put([{"id": "Q1", "name": "ours"}])
    kb.refresh()
    assert kb.rows(["Q1"])["name"].to_pylist() == ["theirs"]
    assert kb.encoders()[None] == 1  # not encoded yet
