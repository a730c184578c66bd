"""Answers of experts on disk: each picture is asked once, whatever dataset it is in and however often a run dies."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import datasets

from dim.errors import DIMError

DEFAULT = Path(datasets.config.HF_DATASETS_CACHE) / "dim" / "expert_answers.sqlite"


def answer_key(picture: str, identity: str, prompt: str, max_new_tokens: int) -> str:
    """What an answer is kept under.

    Args:
        picture: SHA-256 of the picture's file.
        identity: Checkpoint, revision and dtype of the expert.
        prompt: What was asked.
        max_new_tokens: Bound of the answer's length.

    Returns:
        32 hexadecimal digits.
    """
    content = json.dumps([picture, identity, prompt, max_new_tokens])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


class AnswerCache:
    """A SQLite file of answers, into which several processes of one machine may write.

    Args:
        path: The file; made with its folder if it does not exist.

    Raises:
        DIMError: If it cannot be opened, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Threads of one process take turns; processes wait for one another up to a minute.
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS expert_answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.DatabaseError) as error:
            raise DIMError(f"The file of answers {path} cannot be opened: {error}.") from error

    def get(self, key: str) -> str | None:
        """An answer, `None` where there is none."""
        row = self._connection.execute("SELECT answer FROM expert_answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, answers: Iterable[tuple[str, str]]) -> None:
        """Keeps answers by key; when this returns they are on the disk."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT OR REPLACE INTO expert_answers VALUES (?, ?)", answers)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()


__all__ = ["DEFAULT", "AnswerCache", "answer_key"]
