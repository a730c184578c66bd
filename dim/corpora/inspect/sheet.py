"""Shows a dataset as counts and rows in text, and as a contact sheet of mentions with their pictures."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from dim.common.files import atomic_file
from dim.common.ids import index_of
from dim.common.printable import printable
from dim.corpora.inspect.drawing import Card, draw_cards
from dim.corpora.loading import load_candidates, load_entities, load_mentions, load_splits, splits_of
from dim.errors import DIMError


@dataclass(frozen=True)
class Description:
    """Counts and examples of a dataset.

    Args:
        dataset: Its folder or Hub name.
        mentions: Counts by name, for each split.
        entities: Counts by name; empty without a knowledge base.
        candidates: Counts by name, for each split.
        examples: Some mentions of each split: `{"split", "id", "sentence", "entity"}`, with the mention in
            `[[double brackets]]` in the sentence, and the entity as `id name: description`, or `NIL`.
    """

    dataset: str
    mentions: dict[str, dict[str, int]]
    entities: dict[str, int]
    candidates: dict[str, dict[str, int]]
    examples: list[dict[str, str]]


def describe(dataset: str, examples: int = 3) -> Description:
    """Counts the rows of a dataset, and picks examples.

    Args:
        dataset: Folder or Hub name.
        examples: Number of mentions to show of each split, evenly spaced.

    Returns:
        The description.

    Raises:
        DIMError: If there is no such dataset, or if it lacks the config `mentions` or a column.
    """
    mentions, shown = load_splits(dataset), []
    entities = load_entities(dataset) if splits_of(dataset, "entities") else None
    for split, rows in mentions.items():
        step = max(1, len(rows) // max(1, examples))
        shown += [(split, row) for row in rows.remove_columns("image").select(range(0, len(rows), step)[:examples])]
    linked = _entity_rows(entities, [row["entity_id"] for _, row in shown])
    return Description(
        dataset,
        {split: _count_mentions(rows) for split, rows in mentions.items()},
        _count_entities(entities) if entities is not None else {},
        {split: _count_candidates(dataset, split) for split in splits_of(dataset, "candidates")},
        [_example(split, row, linked) for split, row in shown],
    )


def report(description: Description) -> str:
    """Formats the output of `dim inspect`.

    Args:
        description: The dataset's description.

    Returns:
        Lines of text.
    """
    lines = [description.dataset]
    for title, counts in (
        ("mentions", description.mentions),
        ("entities", {"kb": description.entities} if description.entities else {}),
        ("candidates", description.candidates),
    ):
        if counts:
            lines += ["", f"{title:<28}" + "".join(f"{split:>12}" for split in counts)]
            for name in next(iter(counts.values())):
                lines.append(f"  {name:<26}" + "".join(f"{column[name]:>12,}" for column in counts.values()))
    for example in description.examples:
        lines += ["", printable(f"{example['split']} {example['id']}: {example['sentence']}")]
        lines.append(f"  -> {printable(example['entity'])}")
    return "\n".join(lines)


def contact_sheet(dataset: str, split: str, count: int, seed: int, out: Path) -> int:
    """Draws mentions with their pictures, sentences and entities onto one PNG.

    Args:
        dataset: Folder or Hub name.
        split: `train`, `validation` or `test`.
        count: Number of mentions to draw, chosen at random among those with a picture.
        seed: Seed of the choice.
        out: The PNG file; replaced if it exists.

    Returns:
        Number of mentions drawn: `count`, or all if there are fewer.

    Raises:
        DIMError: If there is no such dataset or split, if no mention has a picture, or if `count` is below 1.
    """
    if count < 1:
        raise DIMError(f"The number of mentions to show is {count}: it must be at least 1.")
    mentions = load_mentions(dataset, split)
    found = pc.indices_nonzero(_has_picture(_column(mentions, "image"))).to_pylist()
    if not found:
        raise DIMError(f"{dataset}, split {split!r}, has no mention with a picture.")
    chosen = sorted(random.Random(seed).sample(found, min(count, len(found))))
    rows = [mentions[index] for index in chosen]
    entities = load_entities(dataset) if splits_of(dataset, "entities") else None
    linked = _entity_rows(entities, [row["entity_id"] for row in rows])
    title = f"{dataset}: {len(rows):,} of the {len(found):,} mentions with a picture in {split} (seed {seed})"
    sheet = draw_cards(title, [_card(row, linked) for row in rows])
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as temporary:
        sheet.save(temporary, "PNG")
    return len(rows)


def _column(rows: datasets.Dataset, name: str) -> pa.ChunkedArray:
    return rows.select_columns([name]).with_format("arrow")[:][name]


def _has_picture(images: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.or_(*(pc.is_valid(pc.struct_field(images, part)) for part in ("bytes", "path")))


def _distinct(texts: pa.ChunkedArray) -> int:
    """Number of different texts, without the empty one and null."""
    return len(set(pc.unique(texts).to_pylist()) - {"", None})


def _count_mentions(rows: datasets.Dataset) -> dict[str, int]:
    gold = pc.fill_null(_column(rows, "entity_id"), "")
    counts = {
        "rows": len(rows),
        "sentences": _distinct(_column(rows, "sentence")),
        "with a picture": pc.sum(_has_picture(_column(rows, "image"))).as_py(),
        "entities": _distinct(gold),
        "NIL": pc.sum(pc.equal(gold, "")).as_py(),
        "not in their sentence": pc.sum(pc.less(_column(rows, "start"), 0)).as_py(),
    }
    if "image_id" in rows.column_names:
        counts["different pictures"] = _distinct(_column(rows, "image_id"))
    return counts


def _count_entities(rows: datasets.Dataset) -> dict[str, int]:
    pictures = pc.fill_null(pc.list_value_length(_column(rows, "images")), 0)
    counts = {
        "rows": len(rows),
        "with a description": pc.sum(pc.not_equal(pc.fill_null(_column(rows, "description"), ""), "")).as_py(),
        "with a picture": pc.sum(pc.greater(pictures, 0)).as_py(),
        "pictures": pc.sum(pictures).as_py(),
    }
    if "aliases" in rows.column_names:
        aliases = pc.fill_null(pc.list_value_length(_column(rows, "aliases")), 0)
        counts["with an alias"] = pc.sum(pc.greater(aliases, 0)).as_py()
    return counts


def _count_candidates(dataset: str, split: str) -> dict[str, int]:
    found = load_candidates(dataset, split)
    return {"rows": len(found), "candidates": sum(map(len, found.values()))}


def _entity_rows(entities: datasets.Dataset | None, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows of the entities with some ids."""
    if entities is None:
        return {}
    index = index_of(entities["id"][:])
    return {name: entities[index[name]] for name in dict.fromkeys(ids) if name in index}


def _parts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """The sentence before, in and after its mention; the mention is empty if it is not there."""
    start, end = row["start"], row["end"]
    if start < 0:
        return row["sentence"], "", ""
    return row["sentence"][:start], row["sentence"][start:end], row["sentence"][end:]


def _example(split: str, row: Mapping[str, Any], linked: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    before, mention, after = _parts(row)
    sentence = f"{before}[[{mention}]]{after}" if mention else f"{before} ([[{row['mention']}]] is not in it)"
    sentence = sentence if row["mention"] else "(a picture alone)"
    name, text = _entity(row, linked)
    known = f"{row['entity_id']} {name}" if row["entity_id"] in linked else name
    entity = f"{known}: {text}" if text else known
    return {"split": split, "id": row["id"], "sentence": sentence, "entity": entity}


def _entity(row: Mapping[str, Any], linked: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Name and description of a mention's entity."""
    if not row["entity_id"]:
        return "NIL", "no entity of the knowledge base"
    if row["entity_id"] not in linked:
        return row["entity_id"], "not in the knowledge base"
    entity = linked[row["entity_id"]]
    return entity["name"], entity["description"] or ""


def _card(row: Mapping[str, Any], linked: Mapping[str, Mapping[str, Any]]) -> Card:
    pictures = linked[row["entity_id"]]["images"] if row["entity_id"] in linked else []
    thumbnail = pictures[0] if pictures else None
    return Card(row["image"], _parts(row), row["mention"], *_entity(row, linked), thumbnail, row.get("region"))
