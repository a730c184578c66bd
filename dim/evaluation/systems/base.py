"""Interface of the systems that an evaluation compares."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dim.metrics.evaluator import Block

_SCORES = 2**23  # most scores in memory: 32 MiB in float32


class System(Protocol):
    """A ranker that was built for a knowledge base; the columns of its scores are the entities.

    Args:
        name: Name in every table.
        probabilistic: Whether `softmax(scores)` is a probability, so that its calibration can be measured.
    """

    name: str
    probabilistic: bool

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """Scores mentions against every entity, block by block.

        Args:
            mentions: `M` rows of the config `mentions`; a list or a `datasets.Dataset`.

        Yields:
            Slices of the mentions, in order and without gaps, with their scores `(m, E)`, float32, on the CPU.
        """


def parts(mentions: int, entities: int) -> Iterator[slice]:
    """Splits mentions into blocks whose scores with all entities fit into 32 MiB.

    Args:
        mentions: Number of mentions.
        entities: Number of entities.

    Yields:
        Slices of the mentions, in order.

    Example:
        >>> list(parts(5, 2**22))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, _SCORES // entities)
    for start in range(0, mentions, size):
        yield slice(start, min(start + size, mentions))


def as_scores(table: object) -> Tensor:
    """Converts a NumPy table to contiguous float32 scores."""
    return torch.as_tensor(table, dtype=torch.float32).contiguous()
