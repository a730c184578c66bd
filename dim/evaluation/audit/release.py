"""What a raw release gives away, before `dim build` gives its rows new ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dim.corpora.read import read_release
from dim.corpora.readers import ghmfc, jsonl, kgmel, melbench, mimic, wikidiverse
from dim.corpora.readers.files import recognise
from dim.corpora.release import Mention
from dim.evaluation.audit.findings import finding, sentence_key, tells

_ROOMS = {
    "melbench": melbench, "ghmfc": ghmfc, "dim": ghmfc, "mimic": mimic, "kgmel": kgmel, "wikidiverse": wikidiverse,
    "jsonl": jsonl,
}  # fmt: skip


def audit_release(dataset: str, raw: Sequence[Path], layout: str = "auto") -> dict[str, Any]:
    """Looks a raw release through: its own ids and names of files, mentions and splits.

    Args:
        dataset: `wikimel`, `richpediamel` or `wikidiverse`, or the name of a user's own data in layout `jsonl`.
        raw: Its files and folders.
        layout: As for `dim build`.

    Returns:
        Findings as plain JSON. An id of the release ends in the number of the mention in its row; what stands before it
            is the row's own.

    Raises:
        DIMError: As [`dim.corpora.read.read_release`].
    """
    release = read_release(dataset, raw, layout)
    name = dataset.removesuffix("_plus")
    room = _ROOMS[release.layout]
    kinds = [kind for one in dict.fromkeys(_ROOMS.values()) for kind in one.KINDS]
    draft = room.read(recognise(raw, name, kinds), name, 0)
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
        "id holds the answer": finding([one.id for one in mentions if tells(one.id, one.entity_id)]),
        "file name of the picture holds the answer": finding(
            [one.id for one in mentions if tells(Path(one.image).name, one.entity_id)]
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


__all__ = ["audit_release"]
