"""What is evaluated: anything with a name that scores mentions against a whole knowledge base, block by block."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dim.metrics.evaluator import Block

_SCORES = 2**23  # scores held at a time: 32 MiB in float32


class System(Protocol):
    """A ranker of a knowledge base, made for it: its columns are the entities' rows.

    Args:
        name: What it is called in every table.
        probabilistic: Whether `softmax(scores)` is meant as a probability, so that its calibration can be judged.
    """

    name: str
    probabilistic: bool

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """Scores of mentions with every entity.

        Args:
            mentions: `M` rows of the config `mentions`; a list or a `datasets.Dataset`.

        Yields:
            Which mentions, in order and without gaps, and their scores `(m, E)`, float32, on the CPU.
        """


def parts(mentions: int, entities: int) -> Iterator[slice]:
    """Rows of mentions whose scores with all entities fit into 32 MiB.

    Args:
        mentions: How many mentions.
        entities: How many entities.

    Yields:
        Rows, in order.

    Example:
        >>> list(parts(5, 2**22))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, _SCORES // entities)
    for start in range(0, mentions, size):
        yield slice(start, min(start + size, mentions))


def as_scores(table: object) -> Tensor:
    """A NumPy table as contiguous float32 scores."""
    return torch.as_tensor(table, dtype=torch.float32).contiguous()


__all__ = ["Block", "System", "as_scores", "parts"]
