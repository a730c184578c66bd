"""JSON Lines, read row by row; every error names the file and the line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dim.common.files import write_text
from dim.errors import DIMError


class Line(NamedTuple):
    """A row of a JSON Lines file.

    Args:
        place: File and line, such as `mentions.jsonl, line 3`; for errors.
        row: The JSON object of the line.
    """

    place: str
    row: dict[str, Any]


def read_jsonl(path: str | Path) -> Iterator[Line]:
    r"""Reads a JSON Lines file in UTF-8. Only a line feed ends a line; blank lines and a byte-order mark are skipped.

    Args:
        path: The file.

    Yields:
        Each row with its file and line.

    Raises:
        DIMError: If there is no such file, or for the first line that is not a JSON object or has a key twice.

    Example:

        >>> _ = Path("rows.jsonl").write_text('{"id": "e1"}\n\n{"id": "e2"}\n')
        >>> [(line.place, line.row["id"]) for line in read_jsonl("rows.jsonl")]
        [('rows.jsonl, line 1', 'e1'), ('rows.jsonl, line 3', 'e2')]
    """
    if not Path(path).is_file():
        raise DIMError(f"There is no file {path}.")
    with Path(path).open("rb") as stream:
        yield from parse_rows(stream, str(path))


def parse_rows(lines: Iterable[bytes], name: str) -> Iterator[Line]:
    """Parses JSON Lines from a stream, such as `sys.stdin.buffer`; see [`read_jsonl`].

    Args:
        lines: Lines of a binary stream.
        name: Name of the stream in errors.

    Yields:
        Each row with its stream and line.

    Raises:
        DIMError: For the first line that is not a JSON object or has a key twice.
    """
    for place, line in numbered(lines, name):
        try:
            row = parse_object(line)
        except DIMError as error:
            raise DIMError(f"{place}: {error}.") from error
        yield Line(place, row)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a JSON Lines file in UTF-8 with [`dim.common.files.atomic_file`].

    Args:
        path: The file; replaced if it exists.
        rows: One object per line.

    Example:

        >>> write_jsonl(Path("people.jsonl"), [{"id": "e1"}, {"id": "e2"}])
        >>> len(list(read_jsonl("people.jsonl")))
        2
    """
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def numbered(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, bytes]]:
    """Yields the lines that are not blank, with their line numbers.

    Args:
        lines: Lines of a binary stream.
        name: Name of the stream in errors.

    Yields:
        Stream and line number, such as `standard input, line 3`, and the line.

    Raises:
        DIMError: As [`plain_lines`].
    """
    for number, line in enumerate(plain_lines(lines, name), 1):
        if line.strip():
            yield f"{name}, line {number}", line


def plain_lines(lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yields the lines of a stream without a byte-order mark; carriage returns end lines if no line feed does.

    Args:
        lines: Lines of a binary stream, each up to its line feed.
        name: Name of the stream in errors.

    Yields:
        The lines.

    Raises:
        DIMError: If the stream is in UTF-16 or UTF-32.
    """
    for number, line in enumerate(lines):
        if number == 0:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line[:4]:
                raise DIMError(f"{name} is not in UTF-8 but in UTF-16 or UTF-32: save it as UTF-8.")
            line = line.removeprefix(b"\xef\xbb\xbf")
            if b"\r" in line and not line.endswith(b"\n"):  # the whole stream, as old programs write it
                yield from line.split(b"\r")
                continue
        yield line


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parses one JSON object.

    Args:
        text: The object's text; bytes are UTF-8.

    Returns:
        The object.

    Raises:
        DIMError: If the text is not valid JSON or not an object, or if an object in it has a key twice. Callers add
            the file and line to the message.

    Example:

        >>> parse_object('{"id": "e1", "id": "e2"}')
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: the key 'id' occurs twice
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        row = json.loads(text.lstrip("\ufeff"), object_pairs_hook=_object)  # files that were joined have more than one
    except DIMError:
        raise
    except UnicodeDecodeError as error:
        raise DIMError(f"not valid UTF-8 ({error.reason} at byte {error.start + 1})") from error
    except RecursionError as error:
        raise DIMError("not valid JSON (it is nested too deeply)") from error
    except ValueError as error:
        raise DIMError(f"not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise DIMError(f"not a JSON object but {type_name(row)}")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in pairs:
        if key in row:
            raise DIMError(f"the key {key!r} occurs twice")
        row[key] = value
    return row


_TYPE_NAMES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def type_name(value: object) -> str:
    """Returns the JSON type of a value, for error messages.

    Example:

        >>> type_name(["a"]), type_name(None)
        ('a list', 'null')
    """
    if value is None or isinstance(value, dict):
        return "null" if value is None else "an object"
    return _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
