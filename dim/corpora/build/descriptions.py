"""Descriptions written by a language model, which replace those of a knowledge base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dim.common.fields import RowError, identifier
from dim.common.jsonl import read_jsonl
from dim.corpora.readers.fields import checked
from dim.corpora.schema import PROVENANCE
from dim.errors import DIMError

REQUIRED = ("id", "description", "description_source")  # the other values of a line may be null
KEYS = ("id", "description", "description_original", *PROVENANCE)

Description = dict[str, str | None]


def read_descriptions(path: str | Path, originals: Mapping[str, str]) -> dict[str, Description]:
    """Reads and checks a file of descriptions.

    Each line is a JSON object with the keys `id`, `description` and `description_source` (strings that are not blank),
    and `description_model`, `description_prompt`, `description_created_at`, `description_usage` and
    `description_finish_reason` (string or null; an object such as the usage is written as a JSON string).
    `description_original` is optional, and must be the description in the knowledge base.

    Args:
        path: The JSON Lines file, UTF-8.
        originals: The descriptions in the knowledge base by entity id.

    Returns:
        By entity id, the columns of `KEYS` but for `id`; `description_original` is the description in the knowledge
            base.

    Raises:
        DIMError: If there is no such file or no line in it, or for the first line that is not as above, whose entity
            is not in the knowledge base, or whose entity an earlier line has; with the line number.
    """
    found: dict[str, Description] = {}
    places: dict[str, str] = {}
    for place, row in read_jsonl(path):
        try:
            _check(row, originals)
            name = row.pop("id")
            if name in places:
                raise RowError(f"the entity {name!r} is already in {places[name]}: keep one of them")
        except RowError as error:
            raise DIMError(f"{place}: {error}.") from error
        places[name] = place
        found[name] = {**row, "description_original": originals[name]}
    if not found:
        raise DIMError(f"{path} has no lines: it must have one JSON object per line.")
    return found


def _check(row: dict[str, Any], originals: Mapping[str, str]) -> None:
    unknown = sorted(row.keys() - set(KEYS))
    if unknown:
        raise RowError(f"it has the unknown key {unknown[0]!r}; there are {', '.join(KEYS)}")
    for key in KEYS:
        if key not in row and key != "description_original":
            raise RowError(f"it has no {key!r}")
        if key in REQUIRED or row.get(key) not in (None, ""):
            checked(row[key], repr(key))
    row["id"] = identifier(row, "id")
    if row["id"] not in originals:
        raise RowError(f"the entity {row['id']!r} is not in the knowledge base")
    if row.get("description_original") not in (None, originals[row["id"]]):
        raise RowError(
            f"'description_original' is not the description of {row['id']!r} in the knowledge base: the descriptions "
            "were written for another release"
        )
