"""The rows of a knowledge base: columns, validation, and the hashes that detect changes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dim.common.fields import FieldError, absent, identifier, list_of, optional_text, required_text, text, text_list
from dim.common.jsonl import type_name
from dim.corpora.schema import PROVENANCE

_TEXTS = ("description", "type", "description_original", *PROVENANCE)
FIELDS = ("id", "name", "aliases", "description", "images", "type", "extra", "description_original", *PROVENANCE)
"""The fields of a row that a user gives; only `id` and `name` are required."""

_LICENCES = "image_licenses"  # a field of a dataset's table, which a knowledge base does not store

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
"""The columns before encoding. `content_hash` is a hash of the encoder's input (name, description, pictures), `key` a
hash of the complete row."""

VECTOR_COLUMNS = ("encoder", "encoded_hash", "vector", "code", "scale")
EXPORTED = (*CONTENT.names[:-1], "encoder", "vector")
VECTOR_WIDTH = "dim_vector_width"  # metadata of an export's Parquet schema


def vector_schema(width: int) -> pa.Schema:
    """Returns the columns that encoding adds: fingerprint of the model, hash of the content, vector, code and scale.

    Args:
        width: Number of dimensions of a vector.

    Returns:
        The schema of these columns.
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
    """Validates a row, and completes it with all `FIELDS` and its hashes.

    Args:
        row: A row from a user.
        folder: Folder of the pictures that are given by path; `None` takes a path as it is.

    Returns:
        The row for the table, without `updated_at`.

    Raises:
        FieldError: If a field is unknown, missing or of another type, or a picture does not exist.

    Example:

        >>> checked_row({"id": "Q1", "name": "Ada", "aliases": ["Lovelace"]})["aliases"]
        ['Lovelace']
        >>> checked_row({"id": "Q1"})
        Traceback (most recent call last):
            ...
        dim.common.fields.FieldError: field 'name': it is missing
    """
    if not isinstance(row, Mapping):
        raise FieldError("id", f"the row is {type_name(row)}, not an object with fields")
    for name in row:
        if name not in FIELDS and name != _LICENCES:
            known = ", ".join(FIELDS)
            raise FieldError(str(name), f"it is unknown; the fields are {known}. Put your own fields in 'extra'")
    made: dict[str, Any] = {"id": identifier(row, "id"), "name": required_text(row, "name")}
    made["aliases"] = text_list(row, "aliases")
    for licence in list_of(row, _LICENCES):
        text(licence, _LICENCES)
    made["images"] = [_picture(image, folder) for image in list_of(row, "images")]
    made |= {name: optional_text(row, name) for name in _TEXTS}
    made["description"] = made["description"] or ""
    made["extra"] = _extra(row.get("extra"))
    pictures = [hashlib.blake2b(image["bytes"], digest_size=16).hexdigest() for image in made["images"]]
    content = [made["name"], made["description"], pictures]
    made["content_hash"] = _digest(content, 16).hex()
    whole = [content, *(made[name] for name in FIELDS if name not in ("name", "description", "images"))]
    made["key"] = int.from_bytes(_digest(whole, 8), "little", signed=True)
    return {name: made[name] for name in (*FIELDS, "content_hash", "key")}


def quantised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantises vectors to 8 bits, each with its own scale: `vector ~ code * scale`.

    Args:
        vectors: `(N, D)`, float32.

    Returns:
        Codes `(N, D)`, int8, and scales `(N,)`, float32; a vector of zeros has scale 0.
    """
    scales = np.abs(vectors).max(axis=1) / np.float32(127)
    codes = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    return codes, scales.astype(np.float32)


def vector_arrays(vectors: np.ndarray) -> dict[str, pa.Array]:
    """Makes the columns `vector`, `code` and `scale`.

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


def _extra(value: Any) -> str | None:
    """Returns the user's own fields as JSON text."""
    if absent(value):
        return None
    if isinstance(value, str):
        try:
            value = json.loads(text(value, "extra"))
        except (ValueError, RecursionError) as error:
            raise FieldError("extra", f"not valid JSON ({error})") from error
    if not isinstance(value, Mapping):
        raise FieldError("extra", f"it is {type_name(value)}, not a JSON object")
    try:
        written = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FieldError("extra", f"it cannot be written as JSON: {error}") from error
    return text(written, "extra")


def _picture(value: Any, folder: Path | None) -> dict[str, Any]:
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        if isinstance(content, bytes) and content:
            return {"bytes": content, "path": None if path is None else text(path, "images")}
        value = path
    if not isinstance(value, str | Path):
        raise FieldError("images", f"a picture is {type_name(value)}, not a path or {{'bytes': ..., 'path': ...}}")
    name = text(str(value), "images")
    try:
        content, path = _read_picture(name, folder)
    except (OSError, ValueError) as error:  # a name that the system does not take, or a file that it does not show
        if isinstance(error, FieldError):
            raise
        why = error.strerror if isinstance(error, OSError) else error
        raise FieldError("images", f"the file {name[:200]!r} cannot be read: {why}") from error
    if not content:
        raise FieldError("images", f"the file {name!r} is empty")
    return {"bytes": content, "path": path.name}


def _read_picture(name: str, folder: Path | None) -> tuple[bytes, Path]:
    path = Path(name)
    if folder is not None:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise FieldError("images", f"{name!r} is outside of the folder of the file that names it")
    if not path.is_file():
        raise FieldError("images", f"there is no file {name!r}" + (f" in {folder}" if folder else ""))
    return path.read_bytes(), path
