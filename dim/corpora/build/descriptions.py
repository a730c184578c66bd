"""Descriptions that a language model wrote: the JSONL that replaces those of a knowledge base."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dim.corpora.schema import PROVENANCE
from dim.errors import DIMError

REQUIRED = ("id", "description", "description_source")  # the others of a line may be null
KEYS = ("id", "description", "description_original", *PROVENANCE)

Description = dict[str, str | None]


def read_descriptions(path: str | Path, originals: Mapping[str, str]) -> dict[str, Description]:
    """Reads and checks a file of descriptions.

    Each line is a JSON object with the keys `id`, `description` and `description_source` (text that is not empty), and
    `description_model`, `description_prompt`, `description_created_at`, `description_usage` and
    `description_finish_reason` (text or null; an object such as the usage is written as JSON in a string).
    `description_original` may be there as well, and then must be the description that the knowledge base has.

    Args:
        path: The JSONL file, UTF-8.
        originals: The descriptions of the knowledge base by entity id.

    Returns:
        By entity id, the columns of `KEYS` but for `id`; `description_original` is what the knowledge base had.

    Raises:
        DIMError: If there is no such file or no line in it, or for the first line that is not as above, names an
            entity that the knowledge base does not have, or one that an earlier line names; with its number.
    """
    if not Path(path).is_file():
        raise DIMError(f"There is no file of descriptions {path}.")
    found: dict[str, Description] = {}
    lines: dict[str, int] = {}
    with Path(path).open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = _checked(line, originals)
                if row["id"] in lines:
                    raise DIMError(f"the entity {row['id']!r} is already in line {lines[row['id']]}: keep one of them")
            except (ValueError, RecursionError) as error:
                raise DIMError(f"{path}, line {number}: {error}") from error
            name = row.pop("id")
            lines[name] = number
            found[name] = {**row, "description_original": originals[name]}
    if not found:
        raise DIMError(f"{path} has no line: `dim build` wants one JSON object a line.")
    return found


def _checked(line: bytes, originals: Mapping[str, str]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DIMError(f"is no JSON object in UTF-8 ({error})") from error
    if not isinstance(row, dict):
        raise DIMError(f"is no JSON object but a {type(row).__name__}")
    unknown = sorted(row.keys() - set(KEYS))
    if unknown:
        raise DIMError(f"has the unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
    for key in KEYS:
        if key not in row and key != "description_original":
            raise DIMError(f"lacks the key {key!r}")
        value = row.get(key)
        if key in REQUIRED and (not isinstance(value, str) or not value.strip()):
            raise DIMError(f"{key!r} is {value!r:.80}: it must be text that is not empty")
        if value is not None and not isinstance(value, str):
            raise DIMError(f"{key!r} is a {type(value).__name__}: it must be text or null")
        if value is not None and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise DIMError(f"{key!r} holds half of a surrogate pair, which is no text")
    if row["id"] not in originals:
        raise DIMError(f"the entity {row['id']!r} is not in the knowledge base")
    if row.get("description_original") not in (None, originals[row["id"]]):
        raise DIMError(
            f"'description_original' is not the description that the knowledge base has of {row['id']!r}: these "
            "descriptions were written for another release"
        )
    return row


__all__ = ["KEYS", "REQUIRED", "Description", "read_descriptions"]
