"""Answers, tokens and batches of a run on disk."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dim.common.answer_store import AnswerStore
from dim.enhancement.answers import UNREADABLE, Answer

_CAME = "json_extract(answer, '$.created_at')"
_TABLES = """
CREATE TABLE IF NOT EXISTS run (id TEXT NOT NULL);
INSERT INTO run SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT * FROM run);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    part INTEGER PRIMARY KEY AUTOINCREMENT, keys TEXT NOT NULL, batch TEXT, collected INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS charges (input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bounds (
    key TEXT PRIMARY KEY, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Ledger(AnswerStore):
    """The answers, costs and batches of a run that may be killed at any moment and that another process continues.

    Args:
        path: The file; created if it does not exist.

    Raises:
        DIMError: If the file cannot be written, is not a ledger, or is in use by another run.

    Example:

        >>> ledger = Ledger(Path("answers.sqlite"))
        >>> answer = Answer("A mathematician.", "", "qwen", "stop", None, 120, 5, "2026-11-23T06:00:00Z")
        >>> ledger.record([("key-of-a-request", answer)])
        >>> ledger.close()
        >>> again = Ledger(Path("answers.sqlite"))  # as the next run does
        >>> again.answer("key-of-a-request") == answer, again.tokens()
        (True, (120, 5))
    """

    table, schema, version = "answers", _TABLES, 1

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        ((self.run_id,),) = self._execute("SELECT id FROM run")

    def keys(self, since: str = "") -> set[str]:
        """Keys of the requests whose answer came at `since` (ISO 8601, UTC) or later; by default of all answers."""
        return {key for (key,) in self._execute(f"SELECT key FROM answers WHERE {_CAME} >= ?", since)}

    def drop_before(self, time: str) -> None:
        """Drops answers that came before a time (ISO 8601, UTC); what they cost stays."""
        self._drop(f"{_CAME} < ?", time)

    def clear(self) -> None:
        """Drops all answers, batches and costs, so that everything is asked again."""
        with self._transaction():
            for table in ("answers", "batches", "charges", "bounds", "notes"):
                self._run(f"DELETE FROM {table}")

    def retry_unreadable(self) -> None:
        """Drops the answers that cannot be read, so that they are asked for again; what they cost stays."""
        self._drop("json_extract(answer, '$.finish_reason') = ?", UNREADABLE)

    def _drop(self, which: str, value: str) -> None:
        with self._transaction():
            self._run(f"INSERT INTO charges SELECT input_tokens, output_tokens FROM answers WHERE {which}", value)
            self._run(f"DELETE FROM answers WHERE {which}", value)

    def note(self, name: str, value: str | None = None) -> str | None:
        """A note that stays until the ledger is cleared.

        Args:
            name: Its name.
            value: Its value; without one, the note is only read.

        Returns:
            The value, `None` if there is no such note.
        """
        if value is not None:
            self._execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, value)
        found = self._execute("SELECT value FROM notes WHERE name = ?", name)
        return found[0][0] if found else None

    def answer(self, key: str) -> Answer | None:
        """The answer to a request, `None` where there is none."""
        found = self.get(key)
        return None if found is None else Answer(**json.loads(found))

    def tokens(self) -> tuple[int, int]:
        """Tokens of all requests and of all answers, those of earlier runs and of unreadable answers included."""
        ((inputs, outputs),) = self._execute(
            "SELECT COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0) FROM "
            "(SELECT input_tokens, output_tokens FROM answers UNION ALL SELECT * FROM charges)"
        )
        return inputs, outputs

    def charge(self, inputs: int, outputs: int) -> None:
        """Notes tokens that are paid for without an answer; they are on the disk when this returns."""
        self._execute("INSERT INTO charges VALUES (?, ?)", inputs, outputs)

    def record(self, answers: Sequence[tuple[str, Answer]], part: int | None = None) -> None:
        """Writes answers; when this returns they are on the disk.

        Args:
            answers: Keys of requests, and their answers.
            part: Number of the batch that these answers complete.

        Raises:
            DIMError: If the disk does not take them.
        """
        rows = ((key, _stored(one), one.input_tokens, one.output_tokens) for key, one in answers)
        self.put(rows, "UPDATE batches SET collected = 1 WHERE part = ?", part)

    def intend(self, keys: Sequence[str], bounds: Sequence[tuple[int, int]] = ()) -> int:
        """Notes a batch that is about to be submitted.

        Args:
            keys: Keys of its requests.
            bounds: What each may cost at most, in tokens of the request and of the answer.

        Returns:
            Its number, which is never used again.
        """
        with self._transaction():
            for key, bound in zip(keys, bounds, strict=False):
                self._run("INSERT OR REPLACE INTO bounds VALUES (?, ?, ?)", key, *bound)
            ((part,),) = self._run("INSERT INTO batches (keys) VALUES (?) RETURNING part", json.dumps(list(keys)))
        return part

    def bound(self, key: str) -> tuple[int, int]:
        """What a request of a batch may cost at most; (0, 0) where an earlier version of dim did not note it."""
        found = self._execute("SELECT input_tokens, output_tokens FROM bounds WHERE key = ?", key)
        return found[0] if found else (0, 0)

    def submitted(self, part: int, batch: str) -> None:
        """Notes the server's id of a batch."""
        self._execute("UPDATE batches SET batch = ? WHERE part = ?", batch, part)

    def forget(self, part: int) -> None:
        """Drops a batch that never reached the server."""
        self._execute("DELETE FROM batches WHERE part = ?", part)

    def open_batches(self) -> list[tuple[int, str | None, list[str]]]:
        """Batches that are not collected: number, the server's id if it is known, keys of the requests."""
        rows = self._execute("SELECT part, batch, keys FROM batches WHERE NOT collected ORDER BY part")
        return [(part, batch, json.loads(keys)) for part, batch, keys in rows]


def _stored(answer: Answer) -> str:
    fields = {name: value for name, value in asdict(answer).items() if name != "raw" or value}
    return json.dumps(fields)
