"""One entity of a knowledge base: its columns, what a row must look like, and the hashes that tell what changed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dim.common.jsonl import type_name
from dim.corpora.schema import PROVENANCE
from dim.errors import DIMError

_TEXTS = ("description", "type", "description_original", *PROVENANCE)
FIELDS = ("id", "name", "aliases", "description", "images", "type", "extra", "description_original", *PROVENANCE)
"""What a user gives; all but `id` and `name` may be left out."""

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TYPES = {"aliases": pa.list_(pa.string()), "images": pa.list_(_PICTURE)}
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}  # else two writers could both add an id
CONTENT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata=_PRIMARY_KEY),
        *(pa.field(name, _TYPES.get(name, pa.string())) for name in FIELDS[1:]),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
        pa.field("content_hash", pa.string()),
        pa.field("key", pa.int64()),
    ]
)
"""The columns that are there before anything is encoded. `content_hash` covers what an encoder reads (name,
description, pictures), `key` the whole row."""

VECTOR_COLUMNS = ("encoder", "encoded_hash", "vector", "code", "scale")
EXPORTED = (*CONTENT.names[:-1], "encoder", "vector")


class FieldError(DIMError):
    """A field that is not as it should be."""

    def __init__(self, field: str, what: str):
        super().__init__(f"field {field!r}: {what}")


def vector_schema(width: int) -> pa.Schema:
    """The columns that encoding adds: whose vector it is and of what content, the vector, and its 8-bit form.

    Args:
        width: Dimensions of a vector.

    Returns:
        Their schema.
    """
    types = (
        pa.string(),
        pa.string(),
        pa.list_(pa.float32(), width),
        pa.list_(pa.int8(), width),
        pa.float32(),
    )
    return pa.schema(list(zip(VECTOR_COLUMNS, types, strict=True)))


def checked_row(row: Any, folder: Path | None = None) -> dict[str, Any]:
    """A row with every field of `FIELDS` and its hashes.

    Args:
        row: What the user gave.
        folder: Where pictures that are named by a path lie; `None` takes a path as it is.

    Returns:
        The row for the table, `updated_at` apart.

    Raises:
        FieldError: If a field is unknown, missing, of another type, or a picture is not there.

    Example:

        >>> checked_row({"id": "Q1", "name": "Ada", "aliases": ["Lovelace"]})["aliases"]
        ['Lovelace']
        >>> checked_row({"id": "Q1"})
        Traceback (most recent call last):
            ...
        dim.kb.rows.FieldError: field 'name': it is missing
    """
    if not isinstance(row, Mapping):
        raise FieldError("id", f"the row is {type_name(row)}, not an object with fields")
    for name in row:
        if name not in FIELDS:
            raise FieldError(
                str(name), f"it is unknown; there are {', '.join(FIELDS)}. Put what is your own in 'extra'"
            )
    made: dict[str, Any] = {name: _required(row, name) for name in ("id", "name")}
    made["aliases"] = [_text(alias, "aliases") for alias in _list(row, "aliases")]
    made["images"] = [_picture(image, folder) for image in _list(row, "images")]
    made |= {name: _optional(row, name) for name in _TEXTS}
    made["description"] = made["description"] or ""
    made["extra"] = _extra(row.get("extra"))
    pictures = [hashlib.blake2b(image["bytes"], digest_size=16).hexdigest() for image in made["images"]]
    content = [made["name"], made["description"], pictures]
    made["content_hash"] = _digest(content, 16).hex()
    whole = [content, *(made[name] for name in FIELDS if name not in ("name", "description", "images"))]
    made["key"] = int.from_bytes(_digest(whole, 8), "little", signed=True)
    return {name: made[name] for name in (*FIELDS, "content_hash", "key")}


def quantised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in 8 bits, each with a scale of its own: `vector ~ code * scale`.

    Args:
        vectors: `(N, D)`, float32.

    Returns:
        Codes `(N, D)`, int8, and scales `(N,)`, float32; a vector of zeros has scale 0.
    """
    scales = np.abs(vectors).max(axis=1) / np.float32(127)
    codes = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    return codes, scales.astype(np.float32)


def vector_arrays(vectors: np.ndarray) -> dict[str, pa.Array]:
    """The columns `vector`, `code` and `scale`.

    Args:
        vectors: `(N, D)`, float32.

    Returns:
        The columns by name.
    """
    codes, scales = quantised(vectors)
    width = vectors.shape[1]
    return {
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
        "code": pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), width),
        "scale": pa.array(scales),
    }


def _digest(value: object, size: int) -> bytes:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=size).digest()


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise FieldError(field, f"it is {type_name(value)}, not a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FieldError(field, f"it holds half of a character (a lone surrogate): {error.reason}") from error
    return value


def _required(row: Mapping[str, Any], field: str) -> str:
    if field not in row:
        raise FieldError(field, "it is missing")
    value = _text(row[field], field)
    if not value.strip():
        raise FieldError(field, "it is empty")
    return value


def _optional(row: Mapping[str, Any], field: str) -> str | None:
    return None if row.get(field) is None else _text(row[field], field)


def _list(row: Mapping[str, Any], field: str) -> list[Any]:
    value = row.get(field)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise FieldError(field, f"it is {type_name(value)}, not a list")
    return list(value)


def _extra(value: Any) -> str | None:
    """The user's own fields as JSON text."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = json.loads(_text(value, "extra"))
        except ValueError as error:
            raise FieldError("extra", f"not valid JSON ({error})") from error
    if not isinstance(value, Mapping):
        raise FieldError("extra", f"it is {type_name(value)}, not a JSON object")
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FieldError("extra", f"it does not fit into JSON: {error}") from error


def _picture(value: Any, folder: Path | None) -> dict[str, Any]:
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        if isinstance(content, bytes) and content:
            return {"bytes": content, "path": None if path is None else _text(path, "images")}
        value = path
    if not isinstance(value, str | Path):
        raise FieldError("images", f"a picture is {type_name(value)}, not a path or {{'bytes': ..., 'path': ...}}")
    name = str(value)
    path = Path(name)
    if folder is not None:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise FieldError("images", f"{name!r} lies outside of the folder of the file that names it")
    if not path.is_file():
        raise FieldError("images", f"there is no file {name!r}" + (f" in {folder}" if folder else ""))
    content = path.read_bytes()
    if not content:
        raise FieldError("images", f"the file {name!r} is empty")
    return {"bytes": content, "path": path.name}


__all__ = [
    "CONTENT", "EXPORTED", "FIELDS", "VECTOR_COLUMNS", "FieldError", "checked_row", "quantised", "vector_arrays",
    "vector_schema",
]  # fmt: skip
