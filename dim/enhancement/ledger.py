"""Where answers are kept as soon as they arrive: SQLite, on the disk before the next answer is counted."""

import json
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dim.enhancement.answers import Answer
from dim.errors import DIMError

_VERSION = 1
_CAME = "json_extract(answer, '$.created_at')"
_TABLES = """
CREATE TABLE IF NOT EXISTS run (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    part INTEGER PRIMARY KEY AUTOINCREMENT, keys TEXT NOT NULL, batch TEXT, collected INTEGER NOT NULL DEFAULT 0
);
"""


class Ledger:
    """The answers and batches of a run that may be stopped at any moment and goes on in another process.

    Args:
        path: The file; made if it does not exist.

    Raises:
        DIMError: If the file cannot be written, is no ledger, or is in use by another run.

    Example:

        >>> ledger = Ledger(Path("answers.sqlite"))
        >>> answer = Answer("A mathematician.", "", "qwen", "stop", None, 120, 5, "2026-11-23T06:00:00Z")
        >>> ledger.record([("key-of-a-request", answer)])
        >>> ledger.close()
        >>> again = Ledger(Path("answers.sqlite"))  # as the next run does
        >>> again.answer("key-of-a-request") == answer, again.tokens()
        (True, (120, 5))
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # One writer at a time, but not always in the same thread.
            self._connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
            self._execute("PRAGMA locking_mode = EXCLUSIVE")
            self._execute("PRAGMA journal_mode = WAL")
            self._execute("PRAGMA synchronous = FULL")
            ((version,),) = self._execute("PRAGMA user_version")
            if version not in (0, _VERSION) or (version == 0 and self._execute("SELECT * FROM sqlite_master")):
                raise DIMError(f"{path} is no file of answers that this version of dim reads: choose another --out.")
            self._connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
            if not self._execute("SELECT id FROM run"):
                self._execute("INSERT INTO run VALUES (?)", uuid.uuid4().hex)
            ((self.run_id,),) = self._execute("SELECT id FROM run")
        except sqlite3.DatabaseError as error:
            hint = "another run is using it" if "locked" in str(error) else str(error)
            raise DIMError(f"The file of answers {path} cannot be opened: {hint}.") from error

    def keys(self, since: str = "") -> set[str]:
        """Keys of the requests that have an answer, if given one that came at `since` (ISO 8601, UTC) or later."""
        return {key for (key,) in self._execute(f"SELECT key FROM answers WHERE {_CAME} >= ?", since)}

    def drop_before(self, time: str) -> None:
        """Drops answers that came before a time (ISO 8601, UTC)."""
        self._execute(f"DELETE FROM answers WHERE {_CAME} < ?", time)

    def clear(self) -> None:
        """Drops all answers and batches: what is asked next is asked anew."""
        self._connection.executescript("BEGIN; DELETE FROM answers; DELETE FROM batches; COMMIT;")

    def answer(self, key: str) -> Answer | None:
        """The answer to a request, `None` where there is none."""
        rows = self._execute("SELECT answer FROM answers WHERE key = ?", key)
        return Answer(**json.loads(rows[0][0])) if rows else None

    def tokens(self) -> tuple[int, int]:
        """Tokens of all requests and of all answers, those of earlier runs included."""
        ((inputs, outputs),) = self._execute(
            "SELECT COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0) FROM answers"
        )
        return inputs, outputs

    def record(self, answers: Sequence[tuple[str, Answer]], part: int | None = None) -> None:
        """Keeps answers; when this returns they are on the disk.

        Args:
            answers: Keys of requests, and their answers.
            part: Number of the batch whose answers these all are.

        Raises:
            DIMError: If the disk does not take them.
        """
        rows = [(key, json.dumps(asdict(one)), one.input_tokens, one.output_tokens) for key, one in answers]
        try:
            self._execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)
            if part is not None:
                self._execute("UPDATE batches SET collected = 1 WHERE part = ?", part)
            self._execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise DIMError(f"{self.path} cannot be written: {error}.") from error

    def intend(self, keys: Sequence[str]) -> int:
        """Notes a batch that is about to be submitted, and gives it a number that is never used again."""
        ((part,),) = self._execute("INSERT INTO batches (keys) VALUES (?) RETURNING part", json.dumps(list(keys)))
        return part

    def submitted(self, part: int, batch: str) -> None:
        """Notes the server's name of a batch."""
        self._execute("UPDATE batches SET batch = ? WHERE part = ?", batch, part)

    def forget(self, part: int) -> None:
        """Drops a batch that never reached the server."""
        self._execute("DELETE FROM batches WHERE part = ?", part)

    def open_batches(self) -> list[tuple[int, str | None, list[str]]]:
        """Batches that are not collected: number, the server's name if it is known, keys of the requests."""
        rows = self._execute("SELECT part, batch, keys FROM batches WHERE NOT collected ORDER BY part")
        return [(part, batch, json.loads(keys)) for part, batch, keys in rows]

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    def _execute(self, statement: str, *values: str | int) -> list[tuple]:
        return self._connection.execute(statement, values).fetchall()


__all__ = ["Ledger"]
