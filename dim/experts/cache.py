"""Captions on disk: an expert is asked once about each picture, across datasets and runs."""

from pathlib import Path

import datasets

from dim.common.answer_store import AnswerStore

DEFAULT = Path(datasets.config.HF_DATASETS_CACHE) / "dim" / "expert_answers.sqlite"


class AnswerCache(AnswerStore):
    """A SQLite file of captions by [`CaptionRequest.key`], which several processes of one machine may share."""

    table = "expert_answers"
    schema = "CREATE TABLE IF NOT EXISTS expert_answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;"
    shared = True
