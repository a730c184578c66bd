"""Training batches: which mentions, which negatives, which pictures, all by seed, epoch and step alone."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dim.training.augment import augment_pictures
from dim.training.data import EntitySide, MELData, MentionSide


@dataclass
class Batch:
    """One process's share of a global batch.

    Args:
        inputs: What the towers read: this process's mentions `(B, ...)` and its part of the pool.
        targets: `labels` `(B,)`, `entity_ids` `(E,)` and, with a lexical prior, `lexical_features` `(B, E, F)`, over
            the pool of all processes.
        pool_sizes: How many entities of the pool each process encodes; the pool is theirs, process by process.
        weight: Processes times this process's share of the mentions, so that a mean over processes is one over
            mentions.
        ids: Ids of this process's mentions, to name them when something goes wrong.
        fixed_length: Whether the texts' padding belongs to them (SigLIP).
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    pool_sizes: list[int]
    weight: float
    ids: list[str]
    fixed_length: bool


class BatchSampler(Dataset):
    """Draws the batches of a run; the same seed, epoch and step give the same batch, in whatever order they are asked.

    That makes a run resumable at any step: there is no state to save. The draws are made for the global batch, of which
    a process takes its share, so that they do not depend on the number of processes.

    Args:
        data: The prepared dataset.
        batch_size: Mentions of a batch, over all processes.
        seed: Seed of the run.
        rank: Number of this process; it gets every `world`-th mention of a batch.
        world: Number of processes.
        lexical: Whether batches hold lexical features, where the data has some.
    """

    def __init__(self, data: MELData, batch_size: int, seed: int, rank: int = 0, world: int = 1, lexical: bool = True):
        self.data, self.batch_size, self.seed, self.rank, self.world = data, batch_size, seed, rank, world
        self.names = data.names if lexical else None
        self.rows = (data.train.gold >= 0).nonzero().flatten()  # a NIL mention has no gold to be pulled to
        self.negatives = data.train.candidates  # (M, C), rows of entities, -1 behind the last
        self.epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; a rest that would leave a process without a mention is left out."""
        full, rest = divmod(len(self.rows), self.batch_size)
        return max(1, full + (rest >= max(2, self.world)))

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step of the current epoch; what a `DataLoader` asks for."""
        return self.batch(self.epoch, step)

    def batch(self, epoch: int, step: int) -> Batch:
        """This process's share of one global batch.

        Args:
            epoch: Number of the epoch, from 0.
            step: Number of the batch in it, from 0.

        Returns:
            Tensors on the CPU. The pool holds each gold once, then the explicit negatives.
        """
        train, arguments, world = self.data.train, self.data.arguments, self.world
        order = torch.randperm(len(self.rows), generator=self._generator(epoch, 0))
        rows = self.rows[order[step * self.batch_size : (step + 1) * self.batch_size]]
        generator = self._generator(epoch, 1 + step)
        places = train.pictures[rows]
        places = torch.where(torch.rand(len(rows), generator=generator) < arguments.picture_dropout, -1, places)
        hidden = (torch.rand(len(rows), generator=generator) < arguments.mention_masking) & (places >= 0)
        pool = train.gold[rows]
        if arguments.negatives != "in_batch":
            pool = torch.cat([pool, self._negatives(rows[~hidden], generator)])
        pool = torch.unique(pool)
        if len(pool) < world:  # every process must have one to encode
            others = torch.randperm(len(self.data.entities.ids), generator=generator)
            pool = torch.cat([pool, others[~torch.isin(others, pool)][: world - len(pool)]])
        shares = [pool[rank::world] for rank in range(world)]
        pool = torch.cat(shares)

        own = slice(self.rank, None, world)
        count, rows, places, hidden = len(rows), rows[own], places[own], hidden[own]
        change = None
        if arguments.augment:
            change = partial(augment_pictures, generator=self._generator(epoch, -1 - step * world - self.rank))
        inputs = mention_inputs(self.data, train, rows, places, change, hidden)
        inputs |= entity_inputs(self.data, self.data.entities, shares[self.rank], change)
        gold = train.gold[rows]
        targets = {"labels": (pool == gold[:, None]).long().argmax(1), "entity_ids": pool}
        if self.names is not None:
            texts = [train.names[row] for row in (rows + hidden.long() * len(train.ids)).tolist()]
            targets["lexical_features"] = self.names(texts, pool)
        return Batch(
            inputs=inputs,
            targets=targets,
            pool_sizes=[len(share) for share in shares],
            weight=world * len(rows) / count,
            ids=[train.ids[row] for row in rows.tolist()],
            fixed_length=self.data.processor.padding == "max_length",
        )

    def _negatives(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Up to `num_candidates` explicit negatives of each of these mentions, drawn anew each time."""
        negatives = self.negatives[rows]  # (B, C)
        if negatives.shape[1] > self.data.arguments.num_candidates:
            keys = torch.rand(negatives.shape, generator=generator).masked_fill(negatives < 0, 2.0)
            negatives = negatives.gather(1, keys.argsort(1)[:, : self.data.arguments.num_candidates])
        return negatives[negatives >= 0]

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


__all__ = ["Batch", "BatchSampler", "entity_inputs", "mention_inputs"]
