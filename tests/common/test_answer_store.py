"""Files of answers are durable, all-or-nothing, and never another program's database."""

import sqlite3

import pytest

from dim.common.answer_store import AnswerStore
from dim.errors import DIMError


class Own(AnswerStore):
    """A store for one process, with an additional column."""

    table, version = "own", 3
    schema = "CREATE TABLE IF NOT EXISTS own (key TEXT PRIMARY KEY, answer TEXT NOT NULL, size INTEGER NOT NULL);"


class Shared(AnswerStore):
    """A store for several processes."""

    table, shared = "common", True
    schema = "CREATE TABLE IF NOT EXISTS common (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;"


def database(path, *statements: str) -> bytes:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


def test_answers_are_there_for_the_next_process(tmp_path):
    path = tmp_path / "new" / "folder" / "a.sqlite"
    store = Own(path)
    store.put([("k1", "one", 1), ("k2", "two", 2)])
    store.put([("k1", "another", 3)], "DELETE FROM own WHERE key = ?", "k2")
    store.close()
    again = Own(path)
    assert [again.get(key) for key in ("k1", "k2", "k3")] == ["another", None, None]
    again.close()


def test_a_commit_is_on_the_disk(tmp_path):
    for kind in (Own, Shared):
        store = kind(tmp_path / kind.__name__)
        assert store._execute("PRAGMA journal_mode") == [("wal",)]
        assert store._execute("PRAGMA synchronous") == [(2,)]  # FULL
        store.close()


def test_a_put_that_fails_writes_nothing_and_the_next_one_works(tmp_path):
    store = Own(tmp_path / "a")
    with pytest.raises(DIMError, match="cannot be written"):
        store.put([("k1", "one", 1), ("k2", "two", None)])
    with pytest.raises(ZeroDivisionError):
        store.put(("k1", "one", 1 // n) for n in (1, 0))
    assert store.get("k1") is None
    store.put([("k1", "one", 1)])
    assert store.get("k1") == "one"
    store.close()


def test_one_process_or_several(tmp_path):
    store = Own(tmp_path / "own")
    with pytest.raises(DIMError, match="another run is using it"):
        Own(tmp_path / "own")
    store.close()
    one, other = Shared(tmp_path / "shared"), Shared(tmp_path / "shared")
    one.put([("k1", "one")])
    other.put([("k2", "two")])
    assert (one.get("k2"), other.get("k1")) == ("two", "one")
    one.close()
    other.close()


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE t (x)"],
        ["CREATE TABLE own (key, answer, size)"],  # the name alone says nothing
        ["CREATE TABLE t (x)", "PRAGMA user_version = 3"],
        ["CREATE TABLE own (key, answer, size)", "PRAGMA user_version = 4"],
        ["PRAGMA user_version = 4"],
    ],
)
def test_the_database_of_another_program_is_refused(tmp_path, statements):
    before = database(tmp_path / "a", *statements)
    with pytest.raises(DIMError, match="is not a file of answers"):
        Own(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == before


def test_what_is_not_a_database(tmp_path):
    (tmp_path / "a").write_bytes(b"hello, this is no database at all")
    for path in (tmp_path / "a", tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(DIMError, match="cannot be opened"):
            Shared(path)
    assert (tmp_path / "a").read_bytes() == b"hello, this is no database at all"
