"""Audit of a raw release, before `dim build` assigns new ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dim.common.text import sentence_key
from dim.corpora.read import read_release
from dim.corpora.readers.files import recognise
from dim.corpora.readers.registry import KINDS, LAYOUTS
from dim.corpora.release import Mention
from dim.evaluation.audit.findings import finding, reveals


def audit_release(dataset: str, raw: Sequence[Path], layout: str = "auto") -> dict[str, Any]:
    """Audits a raw release: its ids, file names, mentions and splits.

    Args:
        dataset: `wikimel`, `richpediamel` or `wikidiverse`, or the name of a user's own data in layout `jsonl`.
        raw: Files and folders of the release.
        layout: As for `dim build`.

    Returns:
        Findings as plain JSON. An id consists of the row's own id and the number of the mention in the row.

    Raises:
        DIMError: As [`dim.corpora.read.read_release`].
    """
    release = read_release(dataset, raw, layout)
    name = dataset.removesuffix("_plus")
    draft = LAYOUTS[release.layout].read(recognise(raw, name, KINDS), name, 0)
    mentions: list[Mention] = draft.mentions
    blank = set(draft.blank_mentions)
    splits = {split: [one for one in mentions if one.split == split] for split in ("train", "validation", "test")}
    return {
        "dataset": dataset,
        "layout": release.layout,
        "rows": release.rows_in,
        "mentions": len(mentions),
        "rejected": len(release.rejected),
        "splits": {split: len(rows) for split, rows in splits.items()},
        "notes": release.notes,
        "blank mentions, for which the name of the answer stands": finding(draft.blank_mentions),
        "sample id is the answer": finding([one.id for one in mentions if _row_id(one) == one.entity_id != ""]),
        "id holds the answer": finding([one.id for one in mentions if reveals(one.id, one.entity_id)]),
        "file name of the picture holds the answer": finding(
            [one.id for one in mentions if reveals(Path(one.image).name, one.entity_id)]
        ),
        "mention not verbatim in its sentence": finding(
            [one.id for one in mentions if one.mention not in one.sentence and one.id not in blank]
        ),
        "sentences also in train": {
            split: len(
                {sentence_key(one.sentence) for one in rows} & {sentence_key(one.sentence) for one in splits["train"]}
            )
            for split, rows in splits.items()
            if split != "train"
        },
    }


def _row_id(mention: Mention) -> str:
    return mention.id.rpartition("-")[0] or mention.id
