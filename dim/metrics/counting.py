"""Counts of entities with a higher score than the gold, or an equal one: float32 blocks, float64 near the gold."""

import math

import numpy as np
import torch
from torch import Tensor

from dim.errors import DIMError
from dim.metrics.counting_on_gpu import count_on_gpu

_QUERIES = 1024  # most queries in one block
_PAIRS = 2**22  # numbers multiplied in float64 at a time: 32 MiB


def count_better_and_tied(
    queries: Tensor, entities: Tensor, gold: Tensor, scale: float, block_bytes: int
) -> tuple[Tensor, Tensor]:
    """Counts the entities whose score ``float32(scale * q . e)``, summed in float64, is above or equal to the gold's.

    Args:
        queries: `(M, D)`, floating point.
        entities: `(N, D)`, floating point; read once, block by block.
        gold: Index of each gold `(M,)`, int64 on the CPU; the counts of -1 have no meaning.
        scale: Positive factor.
        block_bytes: Largest size of one block of float32 scores.

    Returns:
        Both counts `(M,)`, int64 on the CPU, without the gold itself.

    Raises:
        DIMError: If a vector is not finite, a score may not be finite in float32, or torch's float32 products are
            set to a lower precision.

    Example:
        >>> entities = torch.tensor([[2.0], [3.0], [2.0]])
        >>> count_better_and_tied(torch.tensor([[1.0]]), entities, torch.tensor([0]), 1.0, 1024)
        (tensor([1]), tensor([1]))
    """
    if torch.get_float32_matmul_precision() != "highest":
        raise DIMError(
            "torch multiplies float32 in a lower precision, which would change ranks: "
            "call torch.set_float32_matmul_precision('highest')"
        )
    mentions, width = queries.shape
    lengths = _lengths(queries, "queries", 0)
    if queries.is_cuda:
        longest = float(_lengths(entities, "entities", 0).max())
        _check_range(lengths, longest, scale)
        better, tied = count_on_gpu(queries, entities, gold, scale, block_bytes, lengths, longest)
        return better.cpu(), tied.cpu()
    index = gold.clamp(min=0)
    target = torch.cat(
        [_exact(queries[rows], entities[index[rows]], scale) for rows in _parts(mentions, max(1, _PAIRS // width))]
    ) if mentions else torch.empty(0)  # (M,) float32  # fmt: skip
    wide = queries.float()
    better = torch.zeros(mentions, dtype=torch.int64)
    tied = torch.zeros_like(better)
    rows_at_a_time = max(1, min(mentions, _QUERIES, block_bytes // 4))
    height = max(1, block_bytes // (4 * rows_at_a_time))
    for start in range(0, len(entities), height):
        block = entities[start : start + height]
        longest = float(_lengths(block, "entities", start).max())
        _check_range(lengths, longest, scale)
        # bound of the rounding error: of vectors, scale, products, sums, bounds; and of numbers too small for float32
        margin = ((width + 8) * 2.0**-23 * scale * longest * lengths + width * 2.0**-125).float()  # (M,)
        high, low = (target + margin)[:, None], (target - margin)[:, None]  # (M, 1)
        keys = (block.float() * scale).T
        for rows in _parts(mentions, rows_at_a_time):
            scores = wide[rows] @ keys  # (m, n)
            own = gold[rows] - start  # the gold's column, if it is in this block
            inside = ((own >= 0) & (own < len(block))).nonzero().flatten()
            scores[inside, own[inside]] = -math.inf
            above = scores > high[rows]
            better[rows] += _count(above)
            row, entity = _positions((scores >= low[rows]) ^ above)  # too close to the gold's score for float32
            for pairs in _parts(len(row), max(1, _PAIRS // width)):
                mention = row[pairs] + rows.start
                exact = _exact(queries[mention], block[entity[pairs]], scale)
                better.index_add_(0, mention, (exact > target[mention]).long())
                tied.index_add_(0, mention, (exact == target[mention]).long())
    return better.cpu(), tied.cpu()


def _count(mask: Tensor) -> Tensor:
    """Number of true values in each row; by NumPy, which is seven times as fast on CPUs as torch."""
    return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1))


def _positions(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the true values; by NumPy, which is ten times as fast on CPUs as torch if they are few."""
    flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    return flat // mask.shape[1], flat % mask.shape[1]


def _exact(queries: Tensor, entities: Tensor, scale: float) -> Tensor:
    """Scores of pairs `(P,)`, summed in float64, rounded once to float32."""
    return ((queries.double() * entities.double()).sum(dim=1) * scale).float()


def _lengths(vectors: Tensor, what: str, first: int) -> Tensor:
    """Lengths of vectors `(P,)` in float64; raises if one is not finite."""
    lengths = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64)
    if not bool(torch.isfinite(lengths).all()):
        row = int((~torch.isfinite(lengths)).nonzero()[0])
        raise DIMError(f"{what}[{first + row}] holds a value that is not finite: its scores would have no rank")
    return lengths


def _check_range(lengths: Tensor, longest: float, scale: float) -> None:
    if len(lengths) and scale * longest * float(lengths.max()) >= torch.finfo(torch.float32).max:
        row = int(lengths.argmax())
        raise DIMError(f"scores of queries[{row}] may be too large for float32: make the vectors shorter")


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
