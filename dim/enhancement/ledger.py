"""Answers, tokens and batches of a run on disk."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dim.common.answer_store import AnswerStore
from dim.enhancement.answers import Answer

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
"""


class Ledger(AnswerStore):
    """The answers and batches of a run that may be killed at any moment and that another process continues.

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
        """Drops answers that came before a time (ISO 8601, UTC)."""
        self._execute(f"DELETE FROM answers WHERE {_CAME} < ?", time)

    def clear(self) -> None:
        """Drops all answers and batches, so that everything is asked again."""
        self._connection.executescript("BEGIN; DELETE FROM answers; DELETE FROM batches; COMMIT;")

    def answer(self, key: str) -> Answer | None:
        """The answer to a request, `None` where there is none."""
        found = self.get(key)
        return None if found is None else Answer(**json.loads(found))

    def tokens(self) -> tuple[int, int]:
        """Tokens of all requests and of all answers, those of earlier runs included."""
        ((inputs, outputs),) = self._execute(
            "SELECT COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0) FROM answers"
        )
        return inputs, outputs

    def record(self, answers: Sequence[tuple[str, Answer]], part: int | None = None) -> None:
        """Writes answers; when this returns they are on the disk.

        Args:
            answers: Keys of requests, and their answers.
            part: Number of the batch that these answers complete.

        Raises:
            DIMError: If the disk does not take them.
        """
        rows = ((key, json.dumps(asdict(one)), one.input_tokens, one.output_tokens) for key, one in answers)
        self.put(rows, "UPDATE batches SET collected = 1 WHERE part = ?", part)

    def intend(self, keys: Sequence[str]) -> int:
        """Notes a batch that is about to be submitted; returns its number, which is never used again."""
        ((part,),) = self._execute("INSERT INTO batches (keys) VALUES (?) RETURNING part", json.dumps(list(keys)))
        return part

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
