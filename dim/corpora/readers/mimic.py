"""MIMIC's layout: one mention per row, one file per split, and a knowledge base in `kb_entity.json`."""

import re
from typing import Any
from urllib.parse import unquote

from dim.common.fields import RowError
from dim.corpora.readers.draft import Draft, rows_of
from dim.corpora.readers.fields import checked, checked_list, kind_of, optional_text, text_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.raw import DATASETS, SPLIT_NAME, Kind
from dim.corpora.release import Entity

_REPOSITORY = "pengfei-luo/MIMIC"
MENTIONS = Kind(
    "MIMIC's mentions",
    "WIKIMEL_train.json",
    SPLIT_NAME,
    lambda shape: shape.has_rows("array", "sentence", "mentions", "answer"),
    _REPOSITORY,
)
ENTITIES = Kind(
    "MIMIC's entities",
    "kb_entity.json",
    re.compile(r"kb_entity\.json"),
    lambda shape: shape.has_rows("array", "qid", "entity_name"),
    _REPOSITORY,
)
IDS = Kind(
    "MIMIC's entity ids",
    "qid2id.json",
    re.compile(r"qid2id\.json"),
    lambda shape: shape.top == "object" and type(shape.value) is int,
    _REPOSITORY,
)


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads MIMIC's mentions and entities. Names and mentions are URL-unquoted, as in MIMIC's own loader.

    An answer may also be an id that `qid2id.json` maps to the number of an entity with another `qid`. Ids of mentions
    are the split and the row's number.

    Args:
        files: The files.
        dataset: Not used: the layout is the same for all.
        seed: Not used: the files are the splits.

    Returns:
        The draft.

    Raises:
        DIMError: If a file is missing or is not valid JSON.
    """
    draft = Draft(has_numbered_rows=True)
    aliases = _read_entities(files, draft)
    for split, file in files.by_split(MENTIONS).items():
        for key, row in rows_of(draft, file.name, file.read()):
            try:
                mention, image = unquote(text_of(row, "mentions")), optional_text(row, "imgPath")
            except RowError as error:
                draft.reject(file.name, key, str(error))
                continue
            answer = row.get("answer")
            known = {**row, "mentions": mention}
            if isinstance(answer, str):
                known["answer"] = aliases.get(answer, answer)
            stem = re.split(r"[\\/]", image)[-1].split(".")[0]  # MIMIC's loader adds .jpg
            keys = (stem,) if stem else ()
            columns = ("mentions", "answer", "entities")
            shared: dict[str, Any] = {"image": image, "image_id": image, "image_keys": keys}
            draft.add_sentence(file.name, key, known, split, columns, f"{split}-", **shared)
    return draft


def _read_entities(files: Files, draft: Draft) -> dict[str, str]:
    """Adds the entities, and returns other ids of theirs: the entity by id."""
    file, ids = files.one(ENTITIES), files.maybe(IDS)
    by_number: dict[str, str] = {}
    seen: set[str] = set()
    for number, row in enumerate(file.read()):
        qid = ""
        try:
            if not isinstance(row, tuple):
                raise RowError(f"it is {kind_of(row)}, not an object")
            fields = dict(row)
            qid = text_of(fields, "qid")
            if qid in seen:
                raise RowError(f"the qid {qid} occurs a second time; the first was kept")
            name = checked(unquote(text_of(fields, "entity_name")), "'entity_name'")
            images = checked_list(fields.get("image_list") or [], "'image_list'", "a name in 'image_list'")
            entity = Entity(qid, name, optional_text(fields, "attr"), images=images)
        except RowError as error:
            draft.reject_entity(file.name, f"row {number}", str(error), qid)
        else:
            seen.add(qid)
            by_number[str(fields.get("id"))] = qid
            draft.entities.append(entity)
    pairs = ids.read() if ids else ()
    aliases = {qid: by_number[str(number)] for qid, number in pairs if qid not in seen and str(number) in by_number}
    if aliases:
        draft.notes.append(f"Ids that {IDS.called} gives to entities of another qid: {len(aliases)}.")
    return aliases


LAYOUT = Layout(("mimic",), (MENTIONS, ENTITIES, IDS), (MENTIONS,), read, DATASETS)
