"""Checks of the fields of a user's row, the same for every command and the service."""

import math
import re
from collections.abc import Mapping
from typing import Any

from dim.common.jsonl import type_name
from dim.errors import DIMError
from dim.folding_dim import composed

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can hold what UTF-8 cannot
# Controls, spaces other than " ", and marks of order or direction; not the joiners of scripts and emoji.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffb]"
)


class RowError(DIMError):
    """The reason why a row is refused; callers add its file and line."""


class FieldError(RowError):
    """An invalid field of a row.

    Args:
        field: Name of the field.
        what: What is wrong with it.

    Example:

        >>> raise FieldError("name", "it is missing")
        Traceback (most recent call last):
            ...
        dim.common.fields.FieldError: field 'name': it is missing
    """

    def __init__(self, field: str, what: str):
        super().__init__(f"field {field!r}: {what}")
        self.field, self.what = field, what


def absent(value: object) -> bool:
    """Returns whether a value stands for a missing one: None, or NaN, which pandas writes for it.

    Example:

        >>> absent(None), absent(float("nan")), absent("")
        (True, True, False)
    """
    return value is None or (isinstance(value, float) and math.isnan(value))


def text(value: object, field: str) -> str:
    """Returns a text that can be written as UTF-8.

    Args:
        value: A value of a row.
        field: Its field, for errors.

    Raises:
        FieldError: If it is not a string, or contains half of a character.
    """
    if not isinstance(value, str):
        raise FieldError(field, f"it is {type_name(value)}, not a string")
    if _HALF_CHARACTER.search(value):
        raise FieldError(field, "it holds half of a character (a lone surrogate, U+D800-U+DFFF)")
    return value


def required_text(row: Mapping[str, Any], field: str) -> str:
    """Returns a text that a row must have.

    Raises:
        FieldError: If it is missing or blank, or as [`text`].
    """
    if absent(row.get(field)):
        raise FieldError(field, "it is null" if field in row else "it is missing")
    value = text(row[field], field)
    if not value.strip():
        raise FieldError(field, "it is empty")
    return value


def optional_text(row: Mapping[str, Any], field: str) -> str | None:
    """Returns a text that a row may have; `None` if it is missing, null or NaN.

    Raises:
        FieldError: As [`text`].
    """
    return None if absent(row.get(field)) else text(row[field], field)


def list_of(row: Mapping[str, Any], field: str) -> list[Any]:
    """Returns a list that a row may have; empty if it is missing, null or NaN.

    Raises:
        FieldError: If it is not a list.
    """
    value = row.get(field)
    if absent(value):
        return []
    if not isinstance(value, list | tuple):
        raise FieldError(field, f"it is {type_name(value)}, not a list")
    return list(value)


def text_list(row: Mapping[str, Any], field: str) -> list[str]:
    """Returns a list of texts that a row may have.

    Raises:
        FieldError: If it is not a list, or an item is blank or not a text.

    Example:

        >>> text_list({"aliases": ["Lutetia"]}, "aliases"), text_list({}, "aliases")
        (['Lutetia'], [])
    """
    items = [text(item, field) for item in list_of(row, field)]
    if not all(item.strip() for item in items):
        raise FieldError(field, "an item is empty")
    return items


def identifier(row: Mapping[str, Any], field: str) -> str:
    """Returns an id in NFC, so that two ways to write an accent are one id.

    Ids are compared character by character, so an id with characters that nobody sees is refused.

    Raises:
        FieldError: If it is missing, blank, begins or ends with a space, or contains a control character, a space of
            another kind, a byte-order mark, or a mark of direction.

    Example:

        >>> identifier({"id": "Cafe\\u0301"}, "id") == "Caf\\u00e9"
        True
        >>> identifier({"id": "Q1\\r"}, "id")
        Traceback (most recent call last):
            ...
        dim.common.fields.FieldError: field 'id': 'Q1\\r' contains U+000D, which is not visible; remove it
    """
    value = required_text(row, field)
    unseen = _UNSEEN.search(value)
    if unseen:
        what = f"{ascii(value)[:80]} contains U+{ord(unseen[0]):04X}, which is not visible; remove it"
        raise FieldError(field, what)
    if value != value.strip():
        raise FieldError(field, f"{value[:80]!r} begins or ends with a space; remove it")
    return composed(value)


def whole(value: object) -> int | None:
    """Returns a whole number; `None` for any other value. 7.0 is one, True and "7" are not.

    Example:

        >>> whole(7.0), whole(7.5), whole(True), whole("7")
        (7, None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
