"""The model's inputs for some mentions or entities of a prepared dataset."""

from functools import partial

from torch import Tensor

from dim.training.data import EntitySide, MELData, MentionSide


def mention_inputs(
    data: MELData,
    side: MentionSide,
    rows: Tensor,
    pictures: Tensor,
    change: partial | None = None,
    hidden: Tensor | None = None,
) -> dict[str, Tensor]:
    """The model's inputs for some mentions of a split.

    Args:
        data: The prepared dataset.
        side: The split.
        rows: Indices of the mentions, `(B,)`.
        pictures: Index of each mention's picture in the picture bank, -1 for none, `(B,)`.
        change: Augmentation of the pictures.
        hidden: Whether to hide each mention's name, `(B,)`; none by default.

    Returns:
        Arguments of [`DIMModel.forward`] for the mention side.
    """
    texts = rows if hidden is None else rows + hidden.long() * len(side.ids)  # the names of the second half are hidden
    batch = side.mention_texts.fetch(texts, "mention") | side.sentence_texts.fetch(texts, "sentence")
    if side.caption_texts is not None:
        batch |= side.caption_texts.fetch(rows, "expert") | {"expert_mask": side.has_caption[rows]}
    if not side.has_sentence.all():
        batch["sentence_mask"] = side.has_sentence[rows]
    if data.pictures is not None:
        batch |= data.pictures.fetch(pictures, "", change)
    return batch


def entity_inputs(
    data: MELData,
    side: EntitySide,
    rows: Tensor,
    change: partial | None = None,
    without_pictures: Tensor | None = None,
) -> dict[str, Tensor]:
    """The model's inputs for some entities.

    Args:
        data: The prepared dataset.
        side: The knowledge base.
        rows: Indices of the entities, `(E,)`.
        change: Augmentation of the pictures.
        without_pictures: Which entities to take as if they had no pictures, `(E,)`; none by default.

    Returns:
        Arguments of [`DIMModel.forward`] for the entity side.
    """
    batch = side.texts.fetch(rows, "entity")
    if data.pictures is not None:
        pictures = side.pictures[rows]
        if without_pictures is not None:
            pictures = pictures.masked_fill(without_pictures[:, None], -1)
        batch |= data.pictures.fetch(pictures, "entity_", change)
    return batch
