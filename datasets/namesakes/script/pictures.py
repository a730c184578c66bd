"""Draws every concept in every style, and rejects pictures that would make the dataset ambiguous or wrong."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from icons import TEST_STYLE, Drawing, Library, on_white, webp
from PIL import Image
from tables import Concept

THUMB = 16
SAME_ENTITY, OTHER_ENTITY = 3.5, 4.0
"""Mean absolute differences of 16 x 16 thumbnails (0 to 255) below which two pictures are near-duplicates."""


class PictureError(ValueError):
    """A picture is empty, or two entities show the same one."""


@dataclass
class Drawn:
    """A concept with its pictures.

    Attributes:
        concept: the row of the table.
        entity: the knowledge base's picture, None where the only drawing is kept for mentions.
        mentions: the pictures that mentions show, one a style.
        dropped: styles left out since they repeat the entity's picture.
    """

    concept: Concept
    entity: tuple[Drawing, bytes] | None
    mentions: list[tuple[Drawing, bytes]]
    dropped: list[str] = field(default_factory=list)
    pictures: list[tuple[Drawing, Image.Image]] = field(default_factory=list)


def draw(library: Library, concepts: list[Concept]) -> list[Drawn]:
    """Draws the concepts.

    Raises:
        PictureError: if a picture is blank, two entities share a picture, the knowledge base's pictures of two
            entities are nearly the same, or a sense has no picture for its mentions.
    """
    problems: list[str] = []
    owners: dict[bytes, set[str]] = defaultdict(set)
    drawn = []
    thumbs: list[tuple[str, np.ndarray]] = []
    for concept in concepts:
        pictures = [(d, library.render(d)) for d in library.drawings(concept.key, concept.fixes)]
        for drawing, picture in pictures:
            if _blank(picture):
                problems.append(f"{concept.key}: the {drawing.style} picture is blank")
            owners[picture.tobytes()].add(concept.key)
        one = Drawn(concept, None, [], pictures=pictures)
        if len(pictures) > 1:
            drawing, picture = pictures[0]
            own = _thumb(picture)
            thumbs.append((concept.key, own))
            one.entity = (drawing, webp(picture))
            for other, image in pictures[1:]:
                if _distance(own, _thumb(image)) < SAME_ENTITY:
                    one.dropped.append(other.style)
                else:
                    one.mentions.append((other, webp(image)))
        else:
            one.mentions = [(pictures[0][0], webp(pictures[0][1]))]
        if not [d for d, _ in one.mentions if d.style != TEST_STYLE]:
            problems.append(f"{concept.key}: no picture for mentions, {one.dropped} repeat the entity's")
        drawn.append(one)
    problems += [f"byte-identical pictures: {sorted(keys)}" for keys in owners.values() if len(keys) > 1]
    problems += _lookalikes(thumbs)
    if problems:
        raise PictureError("\n".join(problems))
    return drawn


def _blank(picture: Image.Image) -> bool:
    """Whether fewer than one pixel in a hundred differs from white."""
    flat = np.asarray(on_white(picture).convert("L"), dtype=np.int16)
    return bool((flat < 240).mean() < 0.01)


def _thumb(picture: Image.Image) -> np.ndarray:
    """The picture's visible part as a small RGB array."""
    flat = on_white(picture)
    box = Image.eval(flat.convert("L"), lambda value: 255 if value < 250 else 0).getbbox()
    side = flat.crop(box).resize((THUMB, THUMB), Image.Resampling.BOX)
    return np.asarray(side, dtype=np.float32)


def _distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).mean())


def _lookalikes(thumbs: list[tuple[str, np.ndarray]]) -> list[str]:
    stack = np.stack([thumb for _, thumb in thumbs]).reshape(len(thumbs), -1)
    found = []
    for index, (key, _) in enumerate(thumbs):
        distances = np.abs(stack[index + 1 :] - stack[index]).mean(axis=1)
        for offset in np.flatnonzero(distances < OTHER_ENTITY):
            pair = (key, thumbs[index + 1 + int(offset)][0])
            found.append(f"nearly the same picture: {pair[0]} {pair[1]} ({distances[offset]:.1f})")
    return found
