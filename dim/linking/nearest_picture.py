"""The picture of an entity that is most similar to the mention's picture, for the explanation of a score."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from dim.common.unreadable_pictures import UnreadablePictures
from dim.encoding.mention_pictures import mention_picture
from dim.linking.mention import one_picture_each

if TYPE_CHECKING:
    from dim.linking.linker import DIMLinker

_BATCH = 64  # pictures encoded at a time


def nearest_pictures(linker: "DIMLinker", mention: dict, ids: Sequence[str]) -> dict[str, dict]:
    """Finds the picture of each entity that is nearest to the mention's, by the cosine of their projected vectors.

    Args:
        linker: The linker.
        mention: The mention, as a row for `encode_mentions`; of several pictures, the most similar one counts.
        ids: Ids of entities.

    Returns:
        By id `{"index", "similarity"}`, the place of the picture among the entity's `images`, from 0; without the
        entities that have no readable picture. Empty if the mention has none, or the model does not use both sides.
    """
    config = linker.model.config
    if not (ids and mention.get("image") and config.entity_pictures and "picture" in config.mention_modalities):
        return {}
    unreadable = UnreadablePictures()
    rows, _ = one_picture_each([mention])
    asked = [picture for row in rows if (picture := mention_picture(row, unreadable)) is not None]
    owners, pictures = [], []
    for entity in linker.kb.rows(list(ids)).select(["id", "images"]).to_pylist():
        for index, source in enumerate(entity["images"] or []):
            if (picture := unreadable.load(source, entity["id"])) is not None:
                owners.append((entity["id"], index))
                pictures.append(picture)
    if not asked or not pictures:
        return {}
    vectors = _vectors(linker, asked + pictures)
    similarities = (vectors[len(asked) :] @ vectors[: len(asked)].T).amax(1).tolist()
    found: dict[str, dict] = {}
    for (entity, index), similarity in zip(owners, similarities, strict=True):
        if entity not in found or similarity > found[entity]["similarity"]:
            found[entity] = {"index": index, "similarity": similarity}
    return {entity: {**one, "similarity": round(one["similarity"], 4)} for entity, one in found.items()}


@torch.inference_mode()
def _vectors(linker: "DIMLinker", pictures: list[Image.Image]) -> Tensor:
    """Unit vectors `(P, D)` of pictures, projected as for the score."""
    model, parts = linker.model, []
    for start in range(0, len(pictures), _BATCH):
        pixels = linker.processor(images=pictures[start : start + _BATCH])["pixel_values"]
        parts.append(model.visual_projection(model.pool_pictures(pixels.to(model.device))).float().cpu())
    return torch.nn.functional.normalize(torch.cat(parts), dim=1)
