"""Training batches, drawn at random from seed, epoch and index alone."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dim.errors import DIMError
from dim.training.augment import augment_pictures
from dim.training.data import MELData, MentionSide
from dim.training.inputs import entity_inputs, mention_inputs


@dataclass
class Batch:
    """One process's share of a global batch.

    Args:
        inputs: The model's inputs for this process's mentions `(B, ...)` and its part of the pool of entities.
        targets: `labels` `(B,)`, `entity_ids` `(E,)` and, with a lexical prior, `lexical_features` `(B, E, F)`, over
            the pool of all processes, process by process.
        pool_sizes: How many entities of the pool each process encodes.
        weight: Number of processes times this process's share of the mentions: weighted by it, a mean over processes is
            a mean over mentions.
        ids: Ids of this process's mentions, for messages.
        fixed_length: Whether the padding of texts must stay (SigLIP).
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    pool_sizes: list[int]
    weight: float
    ids: list[str]
    fixed_length: bool

    def pin_memory(self) -> "Batch":
        """Copies tensors on the CPU to pinned memory, from which a GPU reads them while the host goes on."""
        inputs, targets = ({name: value if value.is_cuda else value.pin_memory() for name, value in each.items()}
                           for each in (self.inputs, self.targets))  # fmt: skip
        return replace(self, inputs=inputs, targets=targets)


class BatchDataset(Dataset):
    """The batches of an epoch. The same seed, epoch and index always give the same batch.

    A run can therefore be resumed at any step without saved state. Each process takes its share of a global batch, so
    the draws do not depend on the number of processes. Composites fill batches of their own, whose pool may be any
    entity: in a batch with mentions, an entity that has no training mention would only ever be a negative.

    Args:
        data: The prepared dataset.
        batch_size: Mentions in a global batch.
        seed: Seed of the run.
        rank: Index of this process; it gets every `world`-th mention of a batch.
        world: Number of processes.
        lexical: Whether batches hold lexical features, if the data has them.

    Raises:
        DIMError: If there are fewer mentions with an entity than processes.
    """

    def __init__(self, data: MELData, batch_size: int, seed: int, rank: int = 0, world: int = 1, lexical: bool = True):
        self.data, self.batch_size, self.seed, self.rank, self.world = data, batch_size, seed, rank, world
        self.lexical_features = data.lexical_features if lexical else None
        self.rows = (data.train.gold >= 0).nonzero().flatten()  # a NIL mention has no positive
        if len(self.rows) < world:
            raise DIMError(
                f"{len(self.rows)} training mentions with an entity are too few for {world} processes: start at most "
                f"{len(self.rows)}."
            )
        self.negatives = data.train.candidates  # (M, C), indices of entities, padded with -1
        self.epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch; a last batch that would leave a process without a mention is dropped."""
        composites = self.data.composites
        return self._batches_of(len(self.rows)) + (self._batches_of(len(composites.ids)) if composites else 0)

    def _batches_of(self, mentions: int) -> int:
        full, rest = divmod(mentions, self.batch_size)
        return max(1, full + (rest >= max(2, self.world)))

    def __getitem__(self, index: int) -> Batch:
        """Returns a batch of the current epoch, for a `DataLoader`."""
        return self.batch(self.epoch, index)

    def steps(
        self, epoch: int, first: int, accumulation: int, num_workers: int, ahead: bool = False
    ) -> Iterator[list[Batch]]:
        """Yields the batches of each optimizer step of an epoch.

        Args:
            epoch: Index of the epoch.
            first: Index of the first step.
            accumulation: Batches in a step; a last step with fewer is dropped.
            num_workers: Worker processes that draw batches in advance.
            ahead: Whether to pin batches for a GPU and, without workers, to draw the next one in a thread meanwhile.
        """
        self.epoch = epoch
        loader = DataLoader(
            self,
            sampler=range(first * accumulation, len(self) // accumulation * accumulation),
            batch_size=None,
            num_workers=num_workers,
            pin_memory=ahead,
            generator=torch.Generator(),  # the default generator drives dropout, and must not be drawn from
        )
        batches: list[Batch] = []
        for batch in one_ahead(loader) if ahead and not num_workers else loader:
            batches.append(batch)
            if len(batches) == accumulation:
                yield batches
                batches = []

    def batch(self, epoch: int, index: int) -> Batch:
        """Draws this process's share of a global batch.

        Args:
            epoch: Index of the epoch.
            index: Index of the batch in it.

        Returns:
            Tensors on the CPU. The pool holds each gold and each explicit negative once.
        """
        arguments, world = self.data.arguments, self.world
        side, rows = self._drawn(epoch, index)
        generator = self._generator(epoch, 1 + index)
        pictures = self._pictures(side, rows, generator)
        dropped = torch.rand(len(rows), generator=generator) < arguments.picture_dropout
        pictures = torch.where(dropped & side.has_sentence[rows], -1, pictures)
        hidden = (torch.rand(len(rows), generator=generator) < arguments.mention_masking) & (pictures >= 0)
        pool = self._pool(side, rows, hidden, generator)
        without = self._without_pictures(torch.isin(pool, side.gold[rows]), generator)
        shares = [pool[rank::world] for rank in range(world)]

        own = slice(self.rank, None, world)
        count, rows, pictures, hidden = len(rows), rows[own], pictures[own], hidden[own]
        change = None
        if arguments.augment:
            change = partial(augment_pictures, generator=self._generator(epoch, -1 - index * world - self.rank))
        inputs = mention_inputs(self.data, side, rows, pictures, change, hidden)
        inputs |= entity_inputs(self.data, self.data.entities, shares[self.rank], change, without[own])
        return Batch(
            inputs=inputs,
            targets=self._targets(side, rows, hidden, torch.cat(shares)),
            pool_sizes=[len(share) for share in shares],
            weight=world * len(rows) / count,
            ids=[side.ids[row] for row in rows.tolist()],
            fixed_length=self.data.processor.text_padding == "max_length",
        )

    def _drawn(self, epoch: int, index: int) -> tuple[MentionSide, Tensor]:
        """The mentions of a global batch: a split or the composites, and the indices of its mentions."""
        generator = self._generator(epoch, 0)
        rows = self.rows[torch.randperm(len(self.rows), generator=generator)]
        side: MentionSide = self.data.train
        if self.data.composites is not None:
            composites = torch.randperm(len(self.data.composites.ids), generator=generator)
            index = int(torch.randperm(len(self), generator=generator)[index])
            if index >= self._batches_of(len(rows)):
                side, index, rows = self.data.composites, index - self._batches_of(len(rows)), composites
        return side, rows[index * self.batch_size : (index + 1) * self.batch_size]

    def _pictures(self, side: MentionSide, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The pictures of mentions, or one of the views of each."""
        views = self.data.views
        if side is not self.data.train or views.shape[1] == 1:
            return side.pictures[rows]
        return views[rows, torch.randint(views.shape[1], (len(rows),), generator=generator)]

    def _pool(self, side: MentionSide, rows: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """The entities that the mentions of a global batch are scored against, each once."""
        pool = side.gold[rows]
        if self.data.arguments.negatives != "in_batch" and side is self.data.train:
            pool = torch.cat([pool, self._negatives(rows[~hidden], generator)])
        pool = torch.unique(pool)
        if len(pool) < self.world:  # every process must have an entity to encode
            others = torch.randperm(len(self.data.entities.ids), generator=generator)
            pool = torch.cat([pool, others[~torch.isin(others, pool)][: self.world - len(pool)]])
        return pool

    def _without_pictures(self, golds: Tensor, generator: torch.Generator) -> Tensor:
        """Which entities of a pool lose their pictures: a random share of them, in most batches none.

        The square of that share of the golds does, since entities that people write about have pictures more often than
        others. What an entity without pictures scores against a picture is learned from this.
        """
        chosen, share = torch.rand(2, generator=generator)
        draws = torch.rand(len(golds), generator=generator)
        return (draws < torch.where(golds, share**2, share)) & (chosen < self.data.arguments.entity_picture_dropout)

    def _targets(self, side: MentionSide, rows: Tensor, hidden: Tensor, pool: Tensor) -> dict[str, Tensor]:
        order = pool.argsort()  # each entity is there once, and every gold is
        targets = {"labels": order[torch.searchsorted(pool[order], side.gold[rows])], "entity_ids": pool}
        if self.lexical_features is not None:
            mentions = [side.mentions[row] for row in (rows + hidden.long() * len(side.ids)).tolist()]
            targets["lexical_features"] = self.lexical_features(mentions, pool)
        return targets

    def _negatives(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draws up to `num_candidates` explicit negatives for each of these mentions."""
        negatives = self.negatives[rows]  # (B, C)
        if negatives.shape[1] > self.data.arguments.num_candidates:
            keys = torch.rand(negatives.shape, generator=generator).masked_fill(negatives < 0, 2.0)
            negatives = negatives.gather(1, keys.argsort(1)[:, : self.data.arguments.num_candidates])
        return negatives[negatives >= 0]

    def _generator(self, epoch: int, stream: int) -> torch.Generator:
        generator = torch.Generator()
        return generator.manual_seed(((self.seed * 100_003 + epoch) * 1_000_003 + stream) % (2**63))


def one_ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yields batches; a thread draws each while the one before is in use."""
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(next, source, None)
        while (batch := drawn.result()) is not None:
            drawn = pool.submit(next, source, None)
            yield batch
