"""Mentions in a user's rows: checked before anything is loaded, and made into rows for the encoders."""

import json
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

from dim.common.fields import FieldError, RowError, absent, text
from dim.common.jsonl import type_name
from dim.common.mention_fields import mention_fields
from dim.common.regions import cut_out, given_region
from dim.common.tables import read_table
from dim.errors import DIMError, PictureError
from dim.linking.mention import load_pictures, mention_row
from dim.sentences_dim import is_picture_alone

FIELDS = ("sentence", "mention", "start", "end", "image", "region", "expert_answer")


def checked_mention(row: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a mention of a user, and makes it a row for the encoders.

    Args:
        row: A row with some of `FIELDS`; others are ignored, and null and NaN count as missing.

    Returns:
        A row for `encode_mentions`.

    Raises:
        DIMError: If a field has another type, the offsets do not give the mention, the mention is not clear, or a
            region is none or has no picture.

    Example:

        >>> row = checked_mention({"sentence": "We saw Turkey.", "mention": "Turkey", "start": None, "end": None})
        >>> row["mention"], row["start"], row["end"]
        ('Turkey', 7, 13)
    """
    fields = mention_fields(row)
    mention = None if fields.span is not None else fields.mention
    image, region = _image(row.get("image")), given_region(row)
    made = mention_row(fields.sentence, mention, fields.span, image, fields.expert_answer, region)
    blank = [not made[name].strip() for name in ("mention", "sentence")]
    if any(blank) and not all(blank):  # both: a picture alone
        raise DIMError("The mention and its sentence must not be blank.")
    return made


def read_mentions(path: str | Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Reads a table of mentions.

    Args:
        path: A file as [`dim.common.tables.read_table`] reads it; `-` for JSON Lines from standard input.

    Yields:
        Each row as it is, but for the bytes of its picture, so that it can be written as JSON; and the row for the
        encoders.

    Raises:
        DIMError: If the file cannot be read, or for the first row that is not a mention, whose region does not lie in
            its picture, or that is a picture alone which cannot be read, with its file and line.
    """
    for place, row in read_table(path):
        try:
            if all(absent(row.get(name)) for name in FIELDS):
                raise RowError(f"no mention; it may have {', '.join(FIELDS)}")
            mention = checked_mention(row)
            _check_picture(mention)
            yield _writable(row), mention
        except DIMError as error:
            raise DIMError(f"{place}: {str(error).rstrip('.')}.") from error


def _check_picture(mention: dict[str, Any]) -> None:
    """Raises a `DIMError` if a mention that cannot do without its picture has none that can be used."""
    alone = is_picture_alone(mention["mention"], mention["sentence"])
    if mention["region"] is None and not alone:
        return
    try:
        picture = load_pictures(mention["image"])
    except PictureError:
        if alone:
            raise
    else:
        cut_out(picture[0] if isinstance(picture, list) else picture, mention["region"])


def _image(value: Any) -> Any:
    """A picture as `load_picture` takes it, or a list of them; refused here if it is of another type."""
    if isinstance(value, list | tuple):
        return [_picture(one) for one in value]
    return None if absent(value) else _picture(value)


def _picture(value: Any) -> Any:
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        if isinstance(content, bytes) or isinstance(path, str):
            return value
    elif not isinstance(value, str):
        raise FieldError("image", f"it is {type_name(value)}, not a path")
    elif text(value, "image").strip() and "\0" not in value:
        return value
    raise FieldError("image", "it names no picture")


def _writable(row: dict[str, Any]) -> dict[str, Any]:
    """The row without the bytes of its pictures, dates as texts; refused if it cannot be written as JSON in UTF-8."""
    plain, image = dict(row), row.get("image")
    if image is not None:
        plain["image"] = list(map(_path, image)) if isinstance(image, list | tuple) else _path(image)
    for name, value in plain.items():
        try:
            written = json.dumps({name: value}, ensure_ascii=False, allow_nan=False, default=_date)
            written.encode()
            plain[name] = json.loads(written)[name]
        except UnicodeEncodeError as error:
            raise FieldError(ascii(name)[1:-1], "it holds half of a character (a lone surrogate)") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise FieldError(name, f"it cannot be written as JSON: {error}; leave the column out") from error
    return plain


def _path(image: Any) -> Any:
    return image.get("path") if isinstance(image, Mapping) else image


def _date(value: Any) -> str:
    if isinstance(value, date | time):  # a `datetime` is a `date`
        return value.isoformat()
    raise TypeError(f"it holds {type_name(value)}")
