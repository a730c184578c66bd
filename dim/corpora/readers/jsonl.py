"""A user's own dataset: tables of mentions and entities, in the schema of `dim.corpora.schema`."""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from dim.common.fields import (
    FieldError,
    RowError,
    identifier,
    list_of,
    optional_text,
    required_text,
    text,
    text_list,
)
from dim.common.mention_fields import mention_fields
from dim.common.regions import given_region
from dim.common.tables import read_table
from dim.corpora.readers.draft import Draft
from dim.corpora.readers.files import Files
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.raw import OWN_NAME, Kind, RawFile, split_name
from dim.corpora.readers.shape import Shape
from dim.corpora.release import Entity, Mention
from dim.corpora.schema import ENTITIES as ENTITY_FEATURES
from dim.corpora.schema import MENTIONS as MENTION_FEATURES
from dim.corpora.schema import PROVENANCE


def _own_kind(name: str, *keys: str) -> Kind:
    def fits(shape: Shape) -> bool:
        return shape.has_rows("lines", *keys) or shape.has_rows("array", *keys)

    pattern = re.compile(OWN_NAME.pattern.replace("(mentions|entities)", name), re.IGNORECASE)
    return Kind(f"your own {name}", f"{name}.jsonl", pattern, fits, is_own=True)


MENTIONS, ENTITIES = _own_kind("mentions", "sentence", "mention"), _own_kind("entities", "id", "name")
_LATER = {"expert_answer", "expert_model", "expert_prompt", "description_original", *PROVENANCE}
_Row = TypeVar("_Row", Mention, Entity)


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads a user's own mentions and entities.

    A mention needs `id`, `sentence`, `mention`, `split` and `entity_id` (`""` or `null` for NIL), and may have `start`
    and `end` (found where they are missing or -1), `image` (path, file name or URL), `image_id`, `image_license`,
    `region` (of the picture), `entity_type` and `topic`. `sentence` and `mention` may be missing or empty, both of
    them, where there is a picture. An entity needs `id` and `name`, and may have `aliases`, `description`, `images`,
    `image_licenses` (as many) and `type`. What later steps write (`expert_answer`, `description_source`, ...) must be
    missing or empty.

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
    draft.mentions = list(_parsed(mentions, _mention, draft.reject_mention))
    draft.rows_in += len(draft.mentions)
    draft.entities = list(_parsed(entities, _entity, draft.reject_entity))
    return draft


def _parsed(
    file: RawFile, parse: Callable[[dict[str, Any]], _Row], reject: Callable[[str, str, str, str], None]
) -> Iterator[_Row]:
    """Yields what is parsed of each row; rejects rows that do not fit or repeat an id."""
    seen: set[str] = set()

    def refuse(place: str, reason: str, name: str = "") -> None:
        reject(file.name, place, reason, name)

    for place, row in read_table(file.path, refuse):
        key = place.removeprefix(f"{file.path}, ")
        try:
            parsed = parse(row)
            if parsed.id in seen:
                raise RowError(f"the id {parsed.id!r} occurs a second time; the first row was kept")
        except RowError as error:
            refuse(key, _reason(error), str(row.get("id")))
        else:
            seen.add(parsed.id)
            yield parsed


def _reason(error: RowError) -> str:
    if not isinstance(error, FieldError):
        return str(error)
    return f"it has no {error.field!r}" if error.what == "it is missing" else f"{error.field!r} {error.what[3:]}"


def _check_keys(row: dict[str, Any], known: set[str]) -> None:
    for key, value in row.items():
        if key not in known:
            raise RowError(f"it has the unknown key {key!r}; there are {', '.join(sorted(known - _LATER))}")
        if key in _LATER and value not in (None, ""):
            raise RowError(f"{key!r} is written by a later step: leave it out")


def _mention(row: dict[str, Any]) -> Mention:
    _check_keys(row, {*MENTION_FEATURES, "split"})
    name, image, given = identifier(row, "id"), _plain(row, "image"), required_text(row, "split")
    is_picture = bool(image) and not _plain(row, "mention") and not _plain(row, "sentence")
    form, sentence = ("", "") if is_picture else (required_text(row, "mention"), required_text(row, "sentence"))
    split = split_name(given)
    if split is None:
        raise RowError(f"the split {given!r} is none of train, validation (dev, val) and test")
    if "entity_id" not in row:
        raise RowError("it has no 'entity_id' (\"\" for NIL)")
    span = mention_fields(row).span
    if is_picture and span is not None:
        raise RowError("it has 'start' and 'end' without a 'sentence'")
    start, end = span or (-1, -1)
    return Mention(
        name,
        sentence,
        form,
        split,
        entity_id=_answer(row),
        start=start,
        end=end,
        image=image,
        image_id=_plain(row, "image_id") or image,
        entity_type=_plain(row, "entity_type"),
        topic=_plain(row, "topic"),
        image_license=_plain(row, "image_license"),
        region=given_region({"image": image or None, "region": row.get("region")}),
    )


def _answer(row: dict[str, Any]) -> str:
    """The id of the answer; empty for NIL."""
    answer = optional_text(row, "entity_id") or ""
    return "" if answer.strip().lower() in ("", "nil") else identifier(row, "entity_id")


def _plain(row: dict[str, Any], field: str) -> str:
    """A text that may be missing, null or blank, as an empty string."""
    value = optional_text(row, field) or ""
    return value if value.strip() else ""


def _entity(row: dict[str, Any]) -> Entity:
    _check_keys(row, set(ENTITY_FEATURES))
    images = text_list(row, "images")
    licences = [text(licence, "image_licenses") for licence in list_of(row, "image_licenses")]
    if licences and len(licences) != len(images):
        raise RowError(f"it has {len(images)} 'images' and {len(licences)} 'image_licenses'")
    return Entity(
        identifier(row, "id"),
        required_text(row, "name"),
        _plain(row, "description"),
        text_list(row, "aliases"),
        images,
        _plain(row, "type"),
        licences,
    )


LAYOUT = Layout(("jsonl",), (MENTIONS, ENTITIES), (MENTIONS,), read)
