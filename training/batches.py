"""Training batches: which mentions, which negatives, which pictures, all by seed, epoch and step alone."""

from functools import partial

import torch
from torch import Tensor

from dim.training.augment import augment_pictures
from dim.training.data import EntitySide, MELData, MentionSide


class BatchSampler:
    """Draws the batches of a run; the same seed, epoch and step give the same batch, in whatever order they are asked.

    That makes a run resumable at any step: there is no state to save.

    Args:
        data: The prepared dataset.
        batch_size: Mentions of a batch, over all processes.
        seed: Seed of the run.
        rank: Number of this process; it gets every `world`-th mention of a batch.
        world: Number of processes.
    """

    def __init__(self, data: MELData, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        self.data, self.batch_size, self.seed, self.rank, self.world = data, batch_size, seed, rank, world
        self.rows = (data.train.gold >= 0).nonzero().flatten()  # a NIL mention has no gold to be pulled to

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; a rest that would leave a process without a mention is left out."""
        full, rest = divmod(len(self.rows), self.batch_size)
        return max(1, full + (rest >= max(2, self.world)))

    def batch(self, epoch: int, step: int) -> dict[str, Tensor]:
        """The model's inputs for one step of one process, `labels` and `entity_ids` included.

        Args:
            epoch: Number of the epoch, from 0.
            step: Number of the step in it, from 0.

        Returns:
            Tensors on the CPU. The pool holds each gold once, then the explicit negatives.
        """
        order = torch.randperm(len(self.rows), generator=self._generator(epoch, 0))
        start = step * self.batch_size
        rows = self.rows[order[start : start + self.batch_size]][self.rank :: self.world]
        generator = self._generator(epoch, 1 + step * self.world + self.rank)
        train, arguments = self.data.train, self.data.arguments

        places = train.pictures[rows]
        places = torch.where(torch.rand(len(rows), generator=generator) < arguments.picture_dropout, -1, places)
        hidden = (torch.rand(len(rows), generator=generator) < arguments.mention_masking) & (places >= 0)
        pool = train.gold[rows]
        if arguments.negatives == "candidates":
            pool = torch.cat([pool, self._candidates(rows[~hidden], generator)])
        pool = torch.unique(pool)
        change = partial(augment_pictures, generator=generator) if arguments.augment else None
        batch = mention_inputs(self.data, train, rows, places, change, hidden)
        batch |= entity_inputs(self.data, self.data.entities, pool, change)
        batch["labels"] = torch.searchsorted(pool, train.gold[rows])
        batch["entity_ids"] = pool
        return batch

    def ids(self, epoch: int, step: int) -> list[str]:
        """Ids of the mentions in a batch, to name them when something goes wrong."""
        order = torch.randperm(len(self.rows), generator=self._generator(epoch, 0))
        rows = self.rows[order[step * self.batch_size : (step + 1) * self.batch_size]][self.rank :: self.world]
        return [self.data.train.ids[row] for row in rows.tolist()]

    def _candidates(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Up to `num_candidates` candidates of each of these mentions, drawn anew each time."""
        candidates = self.data.train.candidates[rows]  # (B, C)
        if candidates.shape[1] > self.data.arguments.num_candidates:
            keys = torch.rand(candidates.shape, generator=generator).masked_fill(candidates < 0, 2.0)
            candidates = candidates.gather(1, keys.argsort(1)[:, : self.data.arguments.num_candidates])
        return candidates[candidates >= 0]

    def _generator(self, epoch: int, stream: int) -> torch.Generator:
        generator = torch.Generator()
        return generator.manual_seed(((self.seed * 100_003 + epoch) * 1_000_003 + stream) % (2**63))


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
        rows: Which mentions, `(B,)`.
        pictures: Row of each one's picture in the picture bank, -1 for none, `(B,)`.
        change: Augmentation of the pictures.
        hidden: Which mentions have their name hidden, `(B,)`; none by default.

    Returns:
        Arguments of [`DIMModel.forward`] for the mention side.
    """
    texts = rows if hidden is None else rows + hidden.long() * len(side.ids)  # the second half has the names hidden
    batch = side.mentions.fetch(texts, "mention") | side.sentences.fetch(texts, "sentence")
    if side.experts is not None:
        batch |= side.experts.fetch(rows, "expert") | {"expert_mask": side.has_expert[rows]}
    if data.pictures is not None:
        batch |= data.pictures.fetch(pictures, "", change)
    return batch


def entity_inputs(data: MELData, side: EntitySide, rows: Tensor, change: partial | None = None) -> dict[str, Tensor]:
    """The model's inputs for entities `rows` `(E,)` of the knowledge base; `change` augments their pictures."""
    batch = side.texts.fetch(rows, "entity")
    if data.pictures is not None:
        batch |= data.pictures.fetch(side.pictures[rows], "entity_", change)
    return batch


__all__ = ["BatchSampler", "entity_inputs", "mention_inputs"]
