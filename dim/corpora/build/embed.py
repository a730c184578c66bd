"""Embeds pictures in rows: unchanged if every reader knows the format, otherwise as PNG."""

import io
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from dim.common.pictures import load_picture, opens_without_help
from dim.errors import PictureError

# Larger pictures are refused, which bounds the memory to about 1 GB.
MAX_BYTES = 64_000_000
MAX_PIXELS = {"jpg": 50_000_000, "other": 25_000_000}  # decoding takes 8 bytes a pixel, 17 with transparency
_WORKERS = 2  # threads that decode; Pillow releases the GIL meanwhile
_AHEAD = _WORKERS + 1  # rows whose pictures are loaded ahead
_SMALL = 1_000_000  # a JPEG up to this size has few pixels; all others are decoded one at a time
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture of a row.

    Args:
        name: Opaque name of the picture in the dataset.
        reference: The release's name of the picture.
        path: Its file; `None` if it was not found.
    """

    name: str
    reference: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row before its pictures are loaded: its columns, and the pictures for `image` or `images`."""

    columns: dict[str, Any]
    pictures: tuple[PictureFile, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class MissingPicture:
    """A picture that a row lacks: its name here and in the release, and the reason in one line."""

    picture: str
    reference: str
    reason: str


def embed(picture: PictureFile) -> dict[str, str | bytes]:
    """Makes the cell of a picture, as `datasets.Image` stores it.

    JPEG, PNG, WebP and GIF files are not changed. Others (TIFF, BMP, AVIF, ...), and those whose metadata keeps
    `datasets` from opening them, become a PNG of the pixels that [`dim.load_picture`] returns.

    Args:
        picture: The picture.

    Returns:
        `{"bytes": ..., "path": ...}`; the path is the opaque name with a suffix.

    Raises:
        PictureError: If there is no such file, if it has more than `MAX_BYTES` or `MAX_PIXELS`, or if it cannot be
            decoded.
    """
    path = picture.path
    if path is None:
        raise PictureError(f"picture {picture.reference!r}: is in none of the folders of pictures")
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise PictureError(f"picture {picture.reference!r}: cannot be read: {error.strerror}") from error
    if size > MAX_BYTES:
        raise PictureError(f"picture {picture.reference!r}: has {size:,} bytes, more than {MAX_BYTES:,}")
    suffix = _suffix(content)
    max_pixels = MAX_PIXELS.get(suffix or "other", MAX_PIXELS["other"])
    with nullcontext() if suffix == "jpg" and size <= _SMALL else _one_at_a_time:
        image = load_picture({"bytes": content, "path": picture.reference}, max_pixels=max_pixels)
        if suffix is None or not opens_without_help(content):
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            suffix, content = "png", buffer.getvalue()
        del image  # before the next one is decoded
    return {"bytes": content, "path": f"{picture.name}.{suffix}"}


def with_pictures(rows: Iterable[Row], missing: list[MissingPicture]) -> Iterator[dict[str, Any]]:
    """Yields rows with their pictures, which are loaded a few rows ahead; neighbours with the same pictures share them.

    Args:
        rows: Rows whose columns have `image` (at most one picture), `images` (any number), or neither.
        missing: Gets an entry for each picture that cannot be loaded.

    Yields:
        The columns of each row; `image` and `region` are `None`, and `images` and `image_licenses` are shorter, where
        pictures are missing.
    """
    groups = ((pictures, list(same)) for pictures, same in groupby(rows, key=lambda row: row.pictures))
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[tuple[list[Row], Future[list[dict | MissingPicture]]]] = deque()
        for pictures, same in groups:
            waiting.append((same, pool.submit(_embed_all, pictures)))
            if len(waiting) > _AHEAD:
                yield from _filled(*waiting.popleft(), missing)
        while waiting:
            yield from _filled(*waiting.popleft(), missing)


def _filled(rows: list[Row], loaded: Future, missing: list[MissingPicture]) -> Iterator[dict[str, Any]]:
    cells = [cell for cell in loaded.result() if not isinstance(cell, MissingPicture)]
    missing.extend(cell for cell in loaded.result() if isinstance(cell, MissingPicture))
    for row in rows:
        if "image" in row.columns:
            yield {**row.columns, "image": cells[0]} if cells else {**row.columns, "image": None, "region": None}
        elif "images" in row.columns:
            licences = row.columns.get("image_licenses", [])
            known = [licence for licence, cell in zip(licences, loaded.result(), strict=False)
                     if not isinstance(cell, MissingPicture)]  # fmt: skip
            yield {**row.columns, "images": cells, **({"image_licenses": known} if licences else {})}
        else:
            yield row.columns


def _embed_all(pictures: tuple[PictureFile, ...]) -> list[dict | MissingPicture]:
    cells: list[dict | MissingPicture] = []
    for picture in pictures:
        try:
            cells.append(embed(picture))
        except PictureError as error:
            reason = str(error).removeprefix(f"picture {picture.reference!r}: ")
            cells.append(MissingPicture(picture.name, picture.reference, reason))
    return cells


def _suffix(content: bytes) -> str | None:
    """Suffix of a format that is embedded unchanged, `None` for any other."""
    for signature, suffix in ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif")):
        if content.startswith(signature):
            return suffix
    return "webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None
