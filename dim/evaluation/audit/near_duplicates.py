"""Duplicate pictures by their bytes, and near-duplicates by their thumbnails."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.distance import cdist
from tqdm.auto import tqdm

from dim.common.pictures import load_picture
from dim.errors import PictureError

DISTANCE = 3.0
"""Largest mean difference, of 255, between thumbnails of near-duplicates; resizing and compression stay below it."""
_SIDE = 8
_BLOCK = 1024  # pictures compared at a time


@dataclass
class Pictures:
    """The pictures of a split.

    Args:
        content: sha256 of the picture's bytes, by mention; without mentions that have no picture.
        thumbnails: Thumbnail of each different picture, by its sha256.
        broken: Mentions whose picture cannot be decoded.
    """

    content: dict[str, str] = field(default_factory=dict)
    thumbnails: dict[str, np.ndarray] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def read_pictures(rows: Any, split: str, progress: bool = False) -> Pictures:
    """Reads the pictures of a split; duplicates are decoded once.

    Args:
        rows: `datasets.Dataset` of mentions with undecoded pictures.
        split: Name of the split, for the progress bar.
        progress: Whether to show the progress bar.

    Returns:
        The pictures.
    """
    found = Pictures()
    broken: set[str] = set()
    present = [row for row, valid in enumerate(rows.data.column("image").is_valid().to_pylist()) if valid]
    for row in tqdm(present, desc=f"pictures of {split}", disable=not progress):
        mention = rows[row]
        image = mention["image"]
        data = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        found.content[mention["id"]] = digest
        if digest not in found.thumbnails and digest not in broken:
            try:
                found.thumbnails[digest] = thumbnail(load_picture(data))
            except PictureError:
                broken.add(digest)
        if digest in broken:
            found.broken.append(mention["id"])
    return found


def thumbnail(image: Image.Image) -> np.ndarray:
    """Computes the thumbnail of a picture: its colours on a grid of 8 x 8, for any size and shape.

    Args:
        image: A picture in RGB.

    Returns:
        192 values in 0..255, uint8.

    Example:
        >>> picture = Image.linear_gradient("L").convert("RGB")
        >>> other = picture.resize((100, 90))
        >>> int(np.abs(thumbnail(picture).astype(int) - thumbnail(other)).max()) <= 2
        True
    """
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.uint8).ravel()


def near_duplicates(first: Pictures, second: Pictures) -> set[str]:
    """Finds pictures of one split that are near-duplicates of pictures of another.

    Args:
        first: The pictures to find.
        second: The pictures to compare with.

    Returns:
        sha256 of pictures in `first`. Cropped and mirrored copies are not found.
    """
    if not first.thumbnails or not second.thumbnails:
        return set()
    names, others = list(first.thumbnails), np.stack(list(second.thumbnails.values())).astype(np.float32)
    found: set[str] = set()
    for start in range(0, len(names), _BLOCK):
        part = names[start : start + _BLOCK]
        own = np.stack([first.thumbnails[name] for name in part]).astype(np.float32)
        nearest = np.full(len(part), np.inf)
        for begin in range(0, len(others), _BLOCK):
            table = cdist(own, others[begin : begin + _BLOCK], "cityblock")
            nearest = np.minimum(nearest, table.min(axis=1) / own.shape[1])
        found.update(name for name, distance in zip(part, nearest, strict=True) if distance <= DISTANCE)
    return found
