"""The shape of a raw file, seen from its beginning, and its whole content."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dim.common.tables import read_table
from dim.corpora.readers.fields import kind_of
from dim.errors import DIMError

_LISTED = 8
_DECODER = json.JSONDecoder(object_pairs_hook=tuple)


@dataclass(frozen=True, slots=True)
class Shape:
    """The beginning of a JSON or JSON Lines file.

    Args:
        top: `object`, `array`, `lines`, or what is wrong with the file.
        key: First key, where `top` is an object; otherwise the number of the first row.
        value: First value; objects are dicts.

    Example:
        >>> shape = Shape("array", "row 0", {"sentence": "Ada met Al.", "mention": "Ada"})
        >>> shape.has_rows("array", "sentence", "mention"), shape.has_rows("lines", "sentence", "mention")
        (True, False)
    """

    top: str
    key: str = ""
    value: Any = None

    def has_rows(self, top: str, *keys: str) -> bool:
        """Returns whether the file holds objects with these keys."""
        return self.top == top and isinstance(self.value, dict) and self.value.keys() >= set(keys)

    def describe(self) -> str:
        """Describes the shape, for messages."""
        if isinstance(self.value, dict):
            return f"{self.top} of objects with the keys {some([repr(key) for key in self.value])}"
        return f"{self.top} that begins with {kind_of(self.value)}" if self.key else self.top


def some(names: list[str]) -> str:
    """Lists the first of many names, for messages.

    >>> some(["a", "b"]), some(list("abcdefghij"))
    ('a, b', 'a, b, c, d, e, f, g, h, and 2 more')
    """
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f", and {more} more" if more > 0 else "")


def peek(path: Path) -> Shape:
    """Reads the beginning of a file, and no more than that.

    Args:
        path: A file called `.json` or `.jsonl`, or a table.

    Returns:
        Its shape; for a file that is not valid JSON, `top` says so.

    Example:
        >>> _ = Path("rows.json").write_text('{"7": {"sentence": "Ada met Al."}}')
        >>> peek(Path("rows.json"))
        Shape(top='object', key='7', value={'sentence': 'Ada met Al.'})
    """
    if path.suffix.lower() not in (".json", ".jsonl"):
        return _table_shape(path)
    size = 1 << 16
    try:
        while True:
            with path.open(encoding="utf-8-sig") as stream:
                text = stream.read(size)
            try:
                return _shape(text, path.suffix.lower() == ".jsonl")
            except (json.JSONDecodeError, IndexError):
                if len(text) < size:
                    raise
                size *= 4
    except (OSError, ValueError, IndexError, RecursionError) as error:
        return Shape(f"not valid JSON ({error})")


def _table_shape(path: Path) -> Shape:
    try:
        first = next(read_table(path), None)
    except DIMError as error:
        return Shape(f"not a table that can be read ({error})")
    return Shape("empty file") if first is None else Shape("lines", "line 1", first.row)


def _shape(text: str, is_lines: bool) -> Shape:
    if not text.strip():
        return Shape("empty file")
    index = _skip(text, 0)
    if is_lines:
        return Shape("lines", "line 1", _plain(_DECODER.raw_decode(text, index)[0]))
    bracket = text[index]
    if bracket not in "{[":
        return Shape("single value")
    index = _skip(text, index + 1)
    if text[index] in "}]":
        return Shape("empty list or object")
    if bracket == "[":
        return Shape("array", "row 0", _plain(_DECODER.raw_decode(text, index)[0]))
    key, index = _DECODER.raw_decode(text, index)
    index = _skip(text, _skip(text, index) + 1)  # behind the colon
    return Shape("object", str(key), _plain(_DECODER.raw_decode(text, index)[0]))


def _skip(text: str, index: int) -> int:
    while text[index] in " \t\r\n":
        index += 1
    return index


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, tuple) else value


def read_json(path: Path) -> Any:
    """Reads a JSON file, with objects as tuples of `(key, value)`, so that repeated keys can be rejected.

    Raises:
        DIMError: If it is not valid JSON in UTF-8.

    Example:
        >>> _ = Path("twice.json").write_text('{"7": null, "7": [1, 2]}')
        >>> read_json(Path("twice.json"))
        (('7', None), ('7', [1, 2]))
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise DIMError(f"{path}: not valid JSON ({error}).") from error
