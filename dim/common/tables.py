"""Tables that users give: JSON Lines, a JSON list, CSV, TSV and Parquet, read row by row."""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dim.common.fields import absent
from dim.common.jsonl import Line, numbered, parse_object, plain_lines, type_name
from dim.common.parquet_rows import open_parquet, parquet_batches, parquet_rows
from dim.errors import DIMError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Suffixes of the files that [`read_table`] reads, in any case; all but `.parquet` may have `.gz` behind them."""

LISTS = ("aliases", "images", "image_licenses", "region")
"""Columns of a CSV or TSV whose cells are lists, separated by a vertical bar."""

_NUMBERS = ("start", "end")
_BATCH_ROWS = 1_000
_LONGEST_CELL = min(sys.maxsize, 2**31 - 1)  # characters; the csv module's own limit is 131,072

Refuse = Callable[[str, str], None]
"""Takes the place of a row within its file, and the reason why it cannot be read."""


def table_suffix(path: str | Path) -> str | None:
    """Returns which of `SUFFIXES` a file's name has.

    Example:

        >>> table_suffix("rows.JSONL"), table_suffix("rows.csv.gz"), table_suffix("rows.txt")
        ('.jsonl', '.csv', None)
    """
    suffix = Path(Path(path).name.lower().removesuffix(".gz")).suffix.replace(".ndjson", ".jsonl")
    return suffix if suffix in SUFFIXES else None


def read_table(path: str | Path, refuse: Refuse | None = None) -> Iterator[Line]:
    r"""Reads the rows of a table by the suffix of its name.

    Texts are in UTF-8; a byte-order mark and blank lines are skipped. A file may be compressed by gzip, whatever its
    name. NaN is read as null. In a CSV or TSV, an empty cell is missing, `LISTS` are separated by a vertical bar, and
    `start`, `end` and those of `region` are numbers.

    Args:
        path: The file; `-` for JSON Lines from standard input.
        refuse: Takes the rows that cannot be read; without it, the first one raises an error.

    Yields:
        Each row with its file and line, or for a JSON list and Parquet its number, from 0.

    Raises:
        DIMError: If there is no such file, its suffix is unknown, it is not what its suffix says, or a row of it
            cannot be read.

    Example:

        >>> _ = Path("rows.csv").write_text("id,name,aliases\ne1,Paris,Lutetia|City of Light\n")
        >>> [line.row for line in read_table("rows.csv")]
        [{'id': 'e1', 'name': 'Paris', 'aliases': ['Lutetia', 'City of Light']}]
    """
    name = str(path)
    if name == "-":
        yield from map(_without_nan, _jsonl(sys.stdin.buffer, "standard input", _refuser("standard input", refuse)))
        return
    suffix = table_suffix(path)
    if not Path(path).exists():
        raise DIMError(f"There is no file {name}.")
    if suffix is None or not Path(path).is_file():
        raise DIMError(f"{name} is not a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file.")
    refuser = _refuser(name, refuse)
    if suffix == ".parquet":
        rows = _parquet(Path(path))
    elif suffix in (".csv", ".tsv"):
        rows = _csv(Path(path), "," if suffix == ".csv" else "\t", refuser)
    else:
        rows = _json(Path(path), suffix, refuser)
    yield from map(_without_nan, rows)


def _refuser(name: str, refuse: Refuse | None) -> Refuse:
    def stop(place: str, reason: str) -> None:
        raise DIMError(f"{name}, {place}: {reason}.")

    return refuse or stop


def _without_nan(line: Line) -> Line:
    missing = [field for field, value in line.row.items() if absent(value)]
    return line._replace(row={**line.row, **dict.fromkeys(missing)}) if missing else line


@contextmanager
def open_table(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading, decompressed if it is compressed by gzip.

    Args:
        path: The file.

    Yields:
        A binary stream.

    Raises:
        DIMError: If the compressed data is damaged or cut off.
    """
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield gzip.GzipFile(fileobj=raw) if is_gzip else raw  # type: ignore[misc]  # a binary stream, too
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DIMError(f"{path} is damaged or cut off, as compressed data: {error}.") from error


def _json(path: Path, suffix: str, refuse: Refuse) -> Iterator[Line]:
    with open_table(path) as stream:
        if suffix == ".json":
            start = stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
            stream.seek(0)
            if start.startswith(b"["):
                yield from _json_list(stream, str(path), refuse)
                return
        yield from _jsonl(stream, str(path), refuse)


def _jsonl(stream: BinaryIO, name: str, refuse: Refuse) -> Iterator[Line]:
    for place, line in numbered(stream, name):
        try:
            row = parse_object(line)
        except DIMError as error:
            refuse(place.removeprefix(f"{name}, "), str(error))
        else:
            yield Line(place, row)


def _json_list(stream: BinaryIO, name: str, refuse: Refuse) -> Iterator[Line]:
    """Reads a list of objects; a repeated key refuses its row alone."""
    try:
        rows = json.loads(b"".join(plain_lines(stream, name)).decode(), object_pairs_hook=_pairs)
    except UnicodeDecodeError as error:
        raise DIMError(f"{name} is not valid UTF-8 ({error.reason} at byte {error.start + 1}).") from error
    except RecursionError as error:
        raise DIMError(f"{name} is not valid JSON (it is nested too deeply).") from error
    except ValueError as error:
        raise DIMError(f"{name} is not valid JSON ({error}).") from error
    for number, row in enumerate(rows):
        if isinstance(row, dict) and (twice := _repeated(row)) is None:
            yield Line(f"{name}, row {number}", row)
        else:
            twice = f"the key {twice!r} occurs twice" if isinstance(row, dict) else ""
            refuse(f"row {number}", twice or f"not a JSON object but {type_name(row)}")


class _Repeated(dict):
    """An object with a repeated key."""

    key: str


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    keys = [key for key, _ in pairs]
    made = _Repeated(row)
    made.key = next(key for key in keys if keys.count(key) > 1)
    return made


def _repeated(value: Any) -> str | None:
    """The repeated key of an object, or of one in it."""
    if isinstance(value, _Repeated):
        return value.key
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, map(_repeated, inner)), None)


def _csv(path: Path, delimiter: str, refuse: Refuse) -> Iterator[Line]:
    csv.field_size_limit(_LONGEST_CELL)
    with open_table(path) as stream:
        lines = csv.reader(_decoded(stream, str(path)), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(filter(_is_row, lines), [])]
            _check_header(header, path, delimiter)
            while True:
                place = f"line {lines.line_num + 1}"
                cells = next(lines, None)
                if cells is None:
                    return
                if len(cells) == len(header):
                    yield Line(f"{path}, {place}", _csv_row(header, cells))
                elif _is_row(cells):
                    refuse(place, f"{len(cells)} cells, but the header has {len(header)}")
        except csv.Error as error:
            raise DIMError(f"{path}, line {lines.line_num}: not valid CSV ({error}).") from error


def _check_header(header: list[str], path: Path, delimiter: str) -> None:
    named = [name for name in header if name]  # spreadsheets write empty columns at the end
    if len(set(named)) < len(named):
        raise DIMError(f"{path}, line 1: a column occurs twice in {named}.")
    other = next((sign for sign in ",;\t|" if sign in header[0]), None) if len(header) == 1 else None
    if other:
        found, expected = (repr(sign).strip("'") for sign in (other, delimiter))
        what = f"the columns are separated by '{found}', not by '{expected}'; save the file with '{expected}'"
        raise DIMError(f"{path}, line 1: {what} between the columns.")


def _is_row(cells: list[str]) -> bool:
    """Whether a line of a CSV is not blank."""
    return len(cells) > 1 or bool(cells and cells[0].strip())


def _decoded(stream: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(plain_lines(stream, name), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            where = f"{error.reason} at byte {error.start + 1}"
            raise DIMError(f"{name}, line {number}: not valid UTF-8 ({where}).") from error


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    for name in LISTS:
        if name in row:
            row[name] = [part.strip() for part in row[name].split("|") if part.strip()]
    for name in _NUMBERS:
        if name in row:
            row[name] = _number(row[name])
    if "region" in row:
        row["region"] = [_number(part) for part in row["region"]]
    return row


def _number(cell: str) -> float | str:
    for kind in (int, float):  # pandas writes whole numbers as 7.0 if one of the column is missing
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _parquet(path: Path) -> Iterator[Line]:
    file, number = open_parquet(path), 0
    for batch in parquet_batches(file, path, _BATCH_ROWS):
        for row in parquet_rows(batch, path, number):
            yield Line(f"{path}, row {number}", row)
            number += 1
