"""A user's own dataset: `mentions.jsonl` and `entities.jsonl`, in the schema of `dim.corpora.schema`."""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from dim.common.jsonl import numbered, parse_object
from dim.corpora.readers.draft import Draft
from dim.corpora.readers.fields import RowError, answer_of, checked_list, optional_text, text_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.layout import Layout
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
_LATER = {"expert_answer", "expert_model", "expert_prompt", "description_original", *PROVENANCE}
_Row = TypeVar("_Row", Mention, Entity)


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads a user's own mentions and entities, one JSON object per line.

    A mention needs `id`, `sentence`, `mention`, `split` and `entity_id` (`""` or `null` for NIL), and may have `start`
    and `end` (found where they are missing or -1), `image` (path, file name or URL), `image_id`, `entity_type` and
    `topic`. An entity needs `id` and `name`, and may have `aliases`, `description`, `images` and `type`. What later
    steps write (`expert_answer`, `description_source`, ...) must be missing or empty.

    Args:
        files: The files.
        dataset: Not used: its name is free.
        seed: Not used: the splits are the user's.

    Returns:
        The draft; a row that does not fit is rejected with its line and the reason.

    Raises:
        DIMError: If a file is missing.
    """
    draft = Draft()
    mentions, entities = files.one(MENTIONS), files.one(ENTITIES)
    draft.mentions = list(_parsed(mentions, _mention, draft.reject))
    draft.rows_in += len(draft.mentions)
    draft.entities = list(_parsed(entities, _entity, draft.reject_entity))
    return draft


def _parsed(
    file: RawFile, parse: Callable[[dict[str, Any]], _Row], reject: Callable[[str, str, str], None]
) -> Iterator[_Row]:
    """Yields what is parsed of each line; rejects lines that do not fit or repeat an id."""
    seen: set[str] = set()
    with file.path.open("rb") as stream:
        for place, line in numbered(stream, file.name):
            try:
                row = parse(parse_object(line))
                if row.id in seen:
                    raise RowError(f"the id {row.id!r} occurs a second time; the first row was kept")
            except DIMError as error:
                reject(file.name, place.removeprefix(f"{file.name}, "), str(error))
            else:
                seen.add(row.id)
                yield row


def _check_keys(row: dict[str, Any], known: set[str]) -> None:
    for key, value in row.items():
        if key not in known:
            raise RowError(f"it has the unknown key {key!r}; there are {', '.join(sorted(known - _LATER))}")
        if key in _LATER and value not in (None, ""):
            raise RowError(f"{key!r} is written by a later step: leave it out")


def _mention(row: dict[str, Any]) -> Mention:
    _check_keys(row, {*MENTION_FEATURES, "split"})
    name, sentence, form, given = (text_of(row, key) for key in ("id", "sentence", "mention", "split"))
    split = split_name(given)
    if split is None:
        raise RowError(f"the split {given!r} is none of train, validation (dev, val) and test")
    if "entity_id" not in row:
        raise RowError("it has no 'entity_id' (\"\" for NIL)")
    start, end = _span(row, sentence, form)
    image = optional_text(row, "image")
    return Mention(
        name,
        sentence,
        form,
        split,
        entity_id=answer_of(row["entity_id"]),
        start=start,
        end=end,
        image=image,
        image_id=optional_text(row, "image_id") or image,
        entity_type=optional_text(row, "entity_type"),
        topic=optional_text(row, "topic"),
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
    _check_keys(row, set(ENTITY_FEATURES))
    lists = {key: checked_list(row.get(key) or [], repr(key), f"a value of {key!r}") for key in ("aliases", "images")}
    return Entity(
        text_of(row, "id"),
        text_of(row, "name"),
        optional_text(row, "description"),
        type=optional_text(row, "type"),
        **lists,
    )


LAYOUT = Layout(("jsonl",), (MENTIONS, ENTITIES), (MENTIONS,), read)
