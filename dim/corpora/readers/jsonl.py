"""A user's own dataset: `mentions.jsonl` and `entities.jsonl`, in the schema of `dim.corpora.schema`."""

import json
import re
from collections.abc import Iterator
from typing import Any

from dim.corpora.readers.draft import Draft, RowError, answer_of, checked, kind_of, picture_of, text_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.raw import Kind, RawFile, split_name
from dim.corpora.release import Entity, Mention
from dim.corpora.schema import ENTITIES as ENTITY_FEATURES
from dim.corpora.schema import MENTIONS as MENTION_FEATURES
from dim.corpora.schema import PROVENANCE
from dim.errors import DIMError

MENTIONS = Kind(
    "your own mentions",
    "mentions.jsonl",
    re.compile(r"mentions\.jsonl"),
    lambda shape: shape.has_rows("lines", "sentence", "mention"),
    is_own=True,
)
ENTITIES = Kind(
    "your own entities",
    "entities.jsonl",
    re.compile(r"entities\.jsonl"),
    lambda shape: shape.has_rows("lines", "id", "name"),
    is_own=True,
)
KINDS = (MENTIONS, ENTITIES)

_LATER = {"expert_answer", "expert_model", "expert_prompt", "description_original", *PROVENANCE}


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads a user's own mentions and entities, one JSON object a line.

    A mention needs `id`, `sentence`, `mention`, `split` and `entity_id` (`""` or `null` for NIL), and may have `start`
    and `end` (found where they are missing or -1), `image` (path, file name or URL), `image_id`, `entity_type` and
    `topic`. An entity needs `id` and `name`, and may have `aliases`, `description`, `images` and `type`. What later
    steps write (`expert_answer`, `description_source`, ...) must be missing or empty.

    Args:
        files: The files.
        dataset: Not used: it may be called as the user likes.
        seed: Not used: the splits are the user's.

    Returns:
        What they hold; a row that does not fit is rejected with its line.

    Raises:
        DIMError: If a file is missing.
    """
    draft = Draft(label="jsonl")
    mentions, entities = files.one(MENTIONS), files.one(ENTITIES)
    seen: set[str] = set()
    for line, row in _lines(mentions):
        try:
            mention = _mention(_object(row, {*MENTION_FEATURES, "split"}))
            _remember(mention.id, seen)
        except RowError as error:
            draft.reject(mentions.name, line, str(error))
        else:
            draft.rows_in += 1
            draft.mentions.append(mention)
    seen = set()
    for line, row in _lines(entities):
        try:
            entity = _entity(_object(row, set(ENTITY_FEATURES)))
            _remember(entity.id, seen)
        except RowError as error:
            draft.reject_entity(entities.name, line, str(error))
        else:
            draft.entities.append(entity)
    return draft


def _lines(file: RawFile) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, with their number."""
    try:
        with file.path.open(encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"line {number}", line
    except UnicodeDecodeError as error:
        raise DIMError(f"{file.path} is not in UTF-8: {error}.") from error


def _object(line: str, known: set[str]) -> dict[str, Any]:
    """The object of a line, without the columns that later steps write."""
    try:
        pairs = json.loads(line, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise RowError(f"it is no JSON: {error}") from error
    if not isinstance(pairs, tuple):
        raise RowError(f"it is {kind_of(pairs)}, not an object")
    row = dict(pairs)
    if len(row) < len(pairs):
        raise RowError("one of its keys occurs twice")
    for key, value in row.items():
        if key not in known:
            raise RowError(f"it has the unknown key {key!r}; there are {', '.join(sorted(known - _LATER))}")
        if key in _LATER and value not in (None, ""):
            raise RowError(f"{key!r} is written by a later step: leave it out")
    return row


def _remember(name: str, seen: set[str]) -> None:
    if name in seen:
        raise RowError(f"the id {name!r} occurs a second time; the first row was kept")
    seen.add(name)


def _mention(row: dict[str, Any]) -> Mention:
    name, sentence, form, given = (text_of(row, key) for key in ("id", "sentence", "mention", "split"))
    split = split_name(given)
    if split is None:
        raise RowError(f"the split {given!r} is none of train, validation (dev, val) and test")
    if "entity_id" not in row:
        raise RowError("it has no 'entity_id' (\"\" for NIL)")
    start, end = _span(row, sentence, form)
    image = picture_of(row, "image")
    return Mention(
        name,
        sentence,
        form,
        split,
        entity_id=answer_of(row["entity_id"]),
        start=start,
        end=end,
        image=image,
        image_id=_optional(row, "image_id") or image,
        entity_type=_optional(row, "entity_type"),
        topic=_optional(row, "topic"),
    )


def _span(row: dict[str, Any], sentence: str, mention: str) -> tuple[int, int]:
    start, end = row.get("start"), row.get("end")
    if (start, end) in ((None, None), (-1, -1)):
        return -1, -1
    if not (type(start) is int and type(end) is int):
        raise RowError("'start' and 'end' must both be whole numbers")
    if not 0 <= start < end <= len(sentence) or sentence[start:end] != mention:
        raise RowError(f"'start' {start} and 'end' {end} do not give the mention {mention!r}")
    return start, end


def _entity(row: dict[str, Any]) -> Entity:
    return Entity(
        text_of(row, "id"),
        text_of(row, "name"),
        _optional(row, "description"),
        aliases=_texts(row, "aliases"),
        images=_texts(row, "images"),
        type=_optional(row, "type"),
    )


def _optional(row: dict[str, Any], key: str) -> str:
    return checked(row[key], repr(key)) if row.get(key) not in (None, "") else ""


def _texts(row: dict[str, Any], key: str) -> list[str]:
    values = row.get(key) or []
    if not isinstance(values, list):
        raise RowError(f"{key!r} is {kind_of(values)}, not a list")
    return [checked(value, f"a value of {key!r}") for value in values]


__all__ = ["ENTITIES", "KINDS", "MENTIONS", "read"]
