"""Hard negatives: the entities that the model, or the name, takes for the answer."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from dim.corpora.build.name_candidates import name_candidates
from dim.corpora.release import Entity
from dim.modeling_dim import DIMModel
from dim.training.data import MELData
from dim.training.validation import encode_knowledge_base, encode_side

NEAREST, ALIKE = 12, 12  # entities of each kind that a mention's negatives are drawn from


class Miner:
    """Finds hard negatives for the training mentions: the model's nearest entities, and those of the likest names.

    Args:
        data: The prepared dataset.
        batch_size: Rows encoded at a time.
    """

    def __init__(self, data: MELData, batch_size: int):
        self.data, self.batch_size = data, batch_size

    @cached_property
    def alike(self) -> Tensor:
        """The entities of the likest names `(M, ALIKE)`, -1 for none; names do not change in training."""
        side, entities = self.data.train, self.data.entities
        named = [mention.text for mention in side.names[: len(side.ids)]]
        return name_neighbours(named, entities.names, entities.aliases, side.gold, ALIKE, seed=0)

    def encode(self, model: DIMModel) -> tuple[Tensor, Tensor]:
        """Vectors of the training mentions `(M, D)` and of the entities `(E, D)`, as the model is now."""
        side = self.data.train
        mentions = encode_side(model, self.data, side, torch.arange(len(side.ids)), self.batch_size)
        return mentions, encode_knowledge_base(model, self.data, self.batch_size)

    def mine(self, mentions: Tensor, entities: Tensor) -> Tensor:
        """Hard negatives.

        Args:
            mentions: Vectors of the training mentions `(M, D)`.
            entities: Vectors of the entities `(E, D)`.

        Returns:
            `torch.LongTensor` of shape `(M, C)`, rows of entities, -1 for none.
        """
        gold = self.data.train.gold
        nearest = nearest_entities(mentions, entities, gold, min(NEAREST, len(entities) - 1))
        return torch.cat([nearest, self.alike], 1)


def nearest_entities(mentions: Tensor, entities: Tensor, gold: Tensor, count: int, block: int = 512) -> Tensor:
    """The entities that a model ranks highest for each mention, its answer left out.

    Args:
        mentions: Mention vectors `(M, D)`.
        entities: Entity vectors `(E, D)`.
        gold: Row of each mention's answer, -1 for NIL, `(M,)`.
        count: How many entities each, at most `E - 1`.
        block: Mentions scored at a time.

    Returns:
        `torch.LongTensor` of shape `(M, count)`, best first.

    Example:

        >>> entities = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> nearest_entities(torch.tensor([[1.0, 0.0]]), entities, gold=torch.tensor([0]), count=2)
        tensor([[1, 2]])
    """
    found = []
    for rows in torch.arange(len(mentions)).split(block):
        scores = mentions[rows] @ entities.T
        known = gold[rows] >= 0
        scores[known.nonzero().flatten(), gold[rows][known]] = -torch.inf
        found.append(scores.topk(count).indices)
    return torch.cat(found)


def name_neighbours(
    mentions: Sequence[str], names: Sequence[str], aliases: Sequence[Sequence[str]], gold: Tensor, count: int, seed: int
) -> Tensor:
    """The entities whose names look most like each mention, its answer left out.

    Args:
        mentions: `M` mentions.
        names: Names of the `E` entities.
        aliases: Their other names.
        gold: Row of each mention's answer, -1 for NIL, `(M,)`.
        count: How many entities each, at most.
        seed: Decides between names that are equally alike.

    Returns:
        `torch.LongTensor` of shape `(M, count)`, best first, -1 behind the last.

    Example:

        >>> names = ["Henry VIII", "Henry Adams", "Paris"]
        >>> name_neighbours(["Henry"], names, [[], [], []], gold=torch.tensor([0]), count=1, seed=0)
        tensor([[1]])
    """
    entities = [
        Entity(str(row), name, aliases=list(other))
        for row, (name, other) in enumerate(zip(names, aliases, strict=True))
    ]
    lists = name_candidates(mentions, entities, count + 1, seed)
    rows = torch.full((len(mentions), count), -1)
    for place, (mention, answer) in enumerate(zip(mentions, gold.tolist(), strict=True)):
        found = [row for row in map(int, lists[mention]) if row != answer][:count]
        rows[place, : len(found)] = torch.tensor(found, dtype=torch.long)
    return rows


__all__ = ["Miner", "name_neighbours", "nearest_entities"]
