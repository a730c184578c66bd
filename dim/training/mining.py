"""Mining of hard negatives: wrong entities that the model ranks high, or whose names resemble the mention."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dim.corpora.build.name_candidates import name_candidates
from dim.corpora.release import Entity
from dim.modeling_dim import DIMModel
from dim.training.data import MELData
from dim.training.validation import encode_knowledge_base, encode_side

NEAREST, ALIKE = 12, 12  # hard negatives of each kind for a mention


class HardNegativeMiner:
    """Finds hard negatives for the training mentions: the nearest entities, and those with the most similar names.

    Args:
        data: The prepared dataset.
        batch_size: Rows encoded at a time.
        progress: Whether to show progress bars.
    """

    def __init__(self, data: MELData, batch_size: int, progress: bool = False):
        self.data, self.batch_size, self.progress = data, batch_size, progress

    @cached_property
    def alike(self) -> Tensor:
        """Indices of the entities with the most similar names `(M, ALIKE)`, padded with -1; the same for all epochs."""
        side, entities = self.data.train, self.data.entities
        texts = [mention.text for mention in side.mentions[: len(side.ids)]]
        return name_neighbours(texts, entities.names, entities.aliases, side.gold, ALIKE, 0, self.progress)

    def encode(self, model: DIMModel) -> tuple[Tensor, Tensor]:
        """Encodes the training mentions `(M, D)` and the entities `(E, D)` by the current model."""
        side = self.data.train
        bars = ("mining: mentions", "mining: entities") if self.progress else (None, None)
        mentions = encode_side(model, self.data, side, torch.arange(len(side.ids)), self.batch_size, bars[0])
        return mentions, encode_knowledge_base(model, self.data, self.batch_size, bars[1])

    def mine(self, mentions: Tensor, entities: Tensor) -> Tensor:
        """Finds the hard negatives of each training mention.

        Args:
            mentions: Vectors of the training mentions `(M, D)`.
            entities: Vectors of the entities `(E, D)`.

        Returns:
            `torch.LongTensor` of shape `(M, C)`, indices of entities, padded with -1.
        """
        gold = self.data.train.gold
        count = min(NEAREST, len(entities) - 1)
        nearest = nearest_entities(mentions, entities, gold, count, progress=self.progress)
        return torch.cat([nearest, self.alike], 1)


def nearest_entities(
    mentions: Tensor, entities: Tensor, gold: Tensor, count: int, block: int = 512, progress: bool = False
) -> Tensor:
    """Finds the entities that a model ranks highest for each mention, without its gold.

    Args:
        mentions: Mention vectors `(M, D)`.
        entities: Entity vectors `(E, D)`.
        gold: Index of each mention's gold, -1 for NIL, `(M,)`.
        count: Entities for each mention, at most `E - 1`.
        block: Mentions scored at a time.
        progress: Whether to show a progress bar.

    Returns:
        `torch.LongTensor` of shape `(M, count)`, best first.

    Example:

        >>> entities = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> nearest_entities(torch.tensor([[1.0, 0.0]]), entities, gold=torch.tensor([0]), count=2)
        tensor([[1, 2]])
    """
    found = []
    blocks = torch.arange(len(mentions)).split(block)
    for rows in tqdm(blocks, desc="mining: nearest", leave=False, disable=not progress):
        scores = mentions[rows] @ entities.T
        known = gold[rows] >= 0
        scores[known.nonzero().flatten(), gold[rows][known]] = -torch.inf
        found.append(scores.topk(count).indices)
    return torch.cat(found)


def name_neighbours(
    mentions: Sequence[str],
    names: Sequence[str],
    aliases: Sequence[Sequence[str]],
    gold: Tensor,
    count: int,
    seed: int,
    progress: bool = False,
) -> Tensor:
    """Finds the entities whose names are most similar to each mention, without its gold.

    Args:
        mentions: `M` mentions.
        names: Names of the `E` entities.
        aliases: Their other names.
        gold: Index of each mention's gold, -1 for NIL, `(M,)`.
        count: Entities for each mention, at most.
        seed: Breaks ties between names.
        progress: Whether to show a progress bar.

    Returns:
        `torch.LongTensor` of shape `(M, count)`, best first, padded with -1.

    Example:

        >>> names = ["Henry VIII", "Henry Adams", "Paris"]
        >>> name_neighbours(["Henry"], names, [[], [], []], gold=torch.tensor([0]), count=1, seed=0)
        tensor([[1]])
    """
    entities = [
        Entity(str(row), name, aliases=list(other))
        for row, (name, other) in enumerate(zip(names, aliases, strict=True))
    ]
    lists = name_candidates(mentions, entities, count + 1, seed, progress)
    rows = torch.full((len(mentions), count), -1)
    for index, (mention, answer) in enumerate(zip(mentions, gold.tolist(), strict=True)):
        found = [row for row in map(int, lists[mention]) if row != answer][:count]
        rows[index, : len(found)] = torch.tensor(found, dtype=torch.long)
    return rows
