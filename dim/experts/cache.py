"""Captions on disk: an expert is asked once about each picture, across datasets and runs."""

from collections.abc import Iterable
from pathlib import Path

import datasets

from dim.common.answer_store import AnswerStore
from dim.experts.expert import NoAnswer

DEFAULT = Path(datasets.config.HF_DATASETS_CACHE) / "dim" / "expert_answers.sqlite"


class AnswerCache(AnswerStore):
    """A SQLite file of captions by [`CaptionRequest.key`], which several processes of one machine may share."""

    table = "expert_answers"
    schema = (
        "CREATE TABLE IF NOT EXISTS expert_answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID; "
        "CREATE TABLE IF NOT EXISTS unanswered (key TEXT PRIMARY KEY, kind TEXT NOT NULL, reason TEXT NOT NULL, "
        "is_paid INTEGER NOT NULL) WITHOUT ROWID;"
    )
    shared = True

    def put_unanswered(self, rows: Iterable[tuple[str, NoAnswer]]) -> None:
        """Notes why pictures got no caption; it is on the disk when this returns."""
        with self._transaction():
            for key, why in rows:
                values = (key, why.kind, why.reason, int(why.is_paid))
                self._run("INSERT OR REPLACE INTO unanswered VALUES (?, ?, ?, ?)", *values)

    def unanswered(self, key: str) -> NoAnswer | None:
        """Why a picture got no caption when it was last asked about; `None` if that is not known."""
        rows = self._execute("SELECT kind, reason, is_paid FROM unanswered WHERE key = ?", key)
        return NoAnswer(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None
