"""The pictures of a dataset's mentions and entities, each as a function that returns its source."""

from collections.abc import Callable, Iterable
from functools import partial

import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor

from dim.common.fields import FieldError
from dim.common.pictures import PictureSource, load_picture
from dim.common.regions import cut_out
from dim.errors import DIMError
from dim.training.composites import composite_loaders, view_loaders

Loaders = list[Callable[[], PictureSource]]


def pictured(splits: Iterable[Dataset], entities: Dataset) -> tuple[int, int]:
    """How many mentions and how many entities have pictures."""
    mentions = sum(pc.sum(split.data.column("image").is_valid()).as_py() or 0 for split in splits)
    lengths = pc.list_value_length(entities.data.column("images"))
    return mentions, pc.sum(pc.greater(lengths, 0)).as_py() or 0


def mention_pictures(mentions: Dataset, loaders: Loaders, used: bool) -> Tensor:
    """Index of each mention's picture among `loaders`, -1 for none; mentions share a region of the same `image_id`."""
    names = mentions["image_id" if "image_id" in mentions.column_names else "id"][:]
    regions = mentions["region"][:] if "region" in mentions.column_names else [None] * len(names)
    present = mentions.data.column("image").is_valid().to_pylist() if used else [False] * len(names)
    known: dict[tuple[str, tuple[int, ...] | None], int] = {}
    indices = []
    for row, (name, region, there) in enumerate(zip(names, regions, present, strict=True)):
        key = name, None if region is None else tuple(region)
        if there and key not in known:
            known[key] = len(loaders)
            loaders.append(partial(_mention_picture, mentions, row))
        indices.append(known[key] if there else -1)
    return torch.tensor(indices)


def _mention_picture(mentions: Dataset, row: int) -> PictureSource:
    """The picture of a mention, or the region of it."""
    mention = mentions[row]
    if mention.get("region") is None:
        return mention["image"]
    try:
        return cut_out(load_picture(mention["image"]), mention["region"])
    except FieldError as error:
        raise DIMError(f"mention {mention['id']!r}: {error}.") from error


def entity_pictures(entities: Dataset, loaders: Loaders, used: bool) -> Tensor:
    """Indices of each entity's pictures among `loaders`, padded with -1, `(E, N)`."""
    lengths = pc.list_value_length(entities.data.column("images")).to_pylist() if used else [0] * len(entities)
    counts = [count or 0 for count in lengths]
    indices = torch.full((len(counts), max(1, *counts)), -1)
    for row, count in enumerate(counts):
        for column in range(count):
            indices[row, column] = len(loaders)
            loaders.append(partial(_entity_picture, entities, row, column))
    return indices


def _entity_picture(entities: Dataset, row: int, column: int) -> PictureSource:
    return entities[row]["images"][column]


def add_views(loaders: Loaders, mentions: Tensor, views: int) -> Tensor:
    """Adds views of training photographs to `loaders`.

    Args:
        loaders: The pictures; the views are appended.
        mentions: Index of each training mention's picture among `loaders`, -1 for none, `(M,)`.
        views: Views of each picture.

    Returns:
        Indices of each mention's picture and of its views among `loaders`, -1 for none, `(M, 1 + views)`.
    """
    pictures, of_mention = torch.unique(mentions[mentions >= 0], return_inverse=True)
    first = len(loaders)
    loaders += view_loaders([loaders[place] for place in pictures.tolist()], views)
    places = torch.full((len(mentions), 1 + views), -1)
    places[mentions >= 0, 1:] = torch.arange(first, len(loaders)).view(len(pictures), views)[of_mention]
    places[:, 0] = mentions
    return places


def add_composites(loaders: Loaders, entities: Tensor, mentions: Tensor, copies: int) -> Tensor:
    """Adds composites of the entities' pictures, on those of the mentions, to `loaders`.

    Args:
        loaders: The pictures; the composites are appended.
        entities: Index of each entity's picture among `loaders`, -1 for none, `(E,)`.
        mentions: The same of the training mentions, `(M,)`.
        copies: Composites of each entity with a picture.

    Returns:
        Indices of the composites among `loaders`, entity by entity, `copies` of each.

    Raises:
        DIMError: If composites are wanted, but no entity or no training mention has a picture.
    """
    if not copies:
        return entities.new_empty(0)
    for what, places in (("entity", entities), ("training mention", mentions)):
        if (places < 0).all():
            raise DIMError(f"--composites needs pictures, but no {what} has one that the model uses.")
    things, backgrounds = (
        [loaders[place] for place in places[places >= 0].tolist()] for places in (entities, mentions)
    )
    first = len(loaders)
    loaders += composite_loaders(things, backgrounds, copies)
    return torch.arange(first, len(loaders))
