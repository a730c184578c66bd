"""Checks of the fields of a raw row."""

import re
from collections.abc import Mapping
from typing import Any

from dim.common.fields import RowError
from dim.common.jsonl import type_name

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can hold what UTF-8 cannot


def text_of(row: Mapping[str, Any], key: str) -> str:
    """Returns a text of a row.

    Raises:
        RowError: If it is missing, or as [`checked`].

    Example:
        >>> text_of({"sentence": "Ada met Al."}, "sentence")
        'Ada met Al.'
        >>> text_of({"id": "m1"}, "sentence")
        Traceback (most recent call last):
        dim.common.fields.RowError: it has no 'sentence'
    """
    if key not in row:
        raise RowError(f"it has no {key!r}")
    return checked(row[key], repr(key))


def optional_text(row: Mapping[str, Any], key: str) -> str:
    """Returns a text of a row, or the empty string where it is missing, null or empty.

    Raises:
        RowError: As [`checked`].

    Example:
        >>> row = {"image": "7.jpg", "type": None}
        >>> optional_text(row, "image"), optional_text(row, "type"), optional_text(row, "topic")
        ('7.jpg', '', '')
    """
    return checked(row[key], repr(key)) if row.get(key) not in (None, "") else ""


def checked(value: object, what: str) -> str:
    """Returns a text that is not blank and can be written as UTF-8.

    Args:
        value: A JSON value.
        what: What it is called in errors.

    Raises:
        RowError: If it is something else.

    Example:
        >>> checked("Ada", "the mention")
        'Ada'
        >>> checked(7, "the mention")
        Traceback (most recent call last):
        dim.common.fields.RowError: the mention is a number, not a string
    """
    if not isinstance(value, str):
        raise RowError(f"{what} is {kind_of(value)}, not a string")
    if not value.strip():
        raise RowError(f"{what} is blank")
    if _HALF_CHARACTER.search(value):
        raise RowError(f"{what} holds half a character (U+D800-U+DFFF)")
    return value


def checked_list(value: object, what: str, item: str) -> list[str]:
    """Returns a list of texts.

    Args:
        value: A JSON value.
        what: What it is called in errors.
        item: What each of its values is called in errors.

    Raises:
        RowError: If it is not a list, or a value of it as [`checked`].

    Example:
        >>> checked_list(["a.jpg", "b.jpg"], "'images'", "a value of 'images'")
        ['a.jpg', 'b.jpg']
    """
    if not isinstance(value, list):
        raise RowError(f"{what} is {kind_of(value)}, not a list")
    return [checked(one, item) for one in value]


def list_of(row: Mapping[str, Any], key: str) -> list[Any]:
    """Returns a list of a row; any other value becomes a list of one.

    Raises:
        RowError: If the row has no such key.

    Example:
        >>> list_of({"mentions": ["Ada", "Al"]}, "mentions"), list_of({"mentions": "Ada"}, "mentions")
        (['Ada', 'Al'], ['Ada'])
    """
    if key not in row:
        raise RowError(f"it has no {key!r}")
    value = row[key]
    return value if isinstance(value, list) else [value]


def answer_of(value: object) -> str:
    """Returns an answer, or the empty string for NIL, which releases also write as `null` and `nil`.

    Raises:
        RowError: As [`checked`].

    Example:
        >>> answer_of("Q7259"), answer_of("NIL"), answer_of(None)
        ('Q7259', '', '')
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "nil")):
        return ""
    return checked(value, "the answer")


def count_of(row: Mapping[str, Any], mentions: str) -> int:
    """Counts the mentions of a row; 1 where it does not say.

    Example:
        >>> count_of({"mentions": ["Ada", "Al"]}, "mentions"), count_of({"mentions": "Ada"}, "mentions")
        (2, 1)
    """
    value = row.get(mentions)
    return len(value) if isinstance(value, list) and value else 1


def kind_of(value: object) -> str:
    """Names the type of a JSON value, whose objects may be dicts or tuples of pairs.

    >>> kind_of([]), kind_of(None), kind_of((("id", 7),))
    ('a list', 'null', 'an object')
    """
    return "an object" if isinstance(value, tuple) else type_name(value)
