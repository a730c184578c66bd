"""The counts of `dim.metrics.counting` on a GPU: half precision rules out almost all pairs, exact sums decide the rest.

A product in float16 is more than ten times as fast as one in float32, and the bound of its rounding error is known. A
score that is further from the gold's than that bound is decided; the others are summed in float64. To read all scores
takes about as long as the product, so they are read once, for the best score of every 256 entities.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 256  # entities whose scores are looked at if the best of them can reach the gold's
_CHUNKS = 2**16  # chunks looked at together
_QUERIES = 8192  # most queries in one block
_PAIRS = 2**24  # numbers multiplied in float64 at a time: 128 MiB
_EVEN = 1024  # pairs are summed in multiples of this number, since a GPU adds up fewer sums in another order
_SHARE = 1 / 512  # of a block's pairs: above, a float32 product takes less time than their exact sums


def count_on_gpu(
    queries: Tensor, entities: Tensor, gold: Tensor, scale: float, block_bytes: int, lengths: Tensor, longest: float
) -> tuple[Tensor, Tensor]:
    """Counts as `count_better_and_tied` does, whose other arguments and result these are; the vectors are checked.

    Args:
        queries: `(M, D)`, floating point.
        entities: `(N, D)`, floating point.
        gold: Index of each gold `(M,)`, int64; -1 for none.
        scale: Positive factor.
        block_bytes: Largest size of one block of float32 scores; a block has at least 256 columns.
        lengths: Lengths of the queries `(M,)`, float64.
        longest: Length of the longest entity.

    Returns:
        Both counts `(M,)`, int64, on the device, without the gold itself.
    """
    (mentions, width), device = queries.shape, queries.device
    gold, every = gold.to(device), torch.arange(mentions, device=device)
    target = _exact(queries, every, entities, gold.clamp(min=0), scale).masked_fill(gold < 0, math.inf)
    better, tied = (torch.zeros(mentions, dtype=torch.int64, device=device) for _ in range(2))
    rows = max(1, min(mentions, _QUERIES, block_bytes // (4 * _CHUNK)))
    height = _CHUNK * max(1, block_bytes // (4 * max(rows, width) * _CHUNK))
    with _full_sums() as full:
        wide = _single(queries, target, lengths, longest, scale)
        narrow = _half(queries, target, lengths, longest, scale) if full else wide
        for start in range(0, len(entities), height):
            block = entities[start : start + height]
            for first in range(0, mentions, rows):
                part = slice(first, min(first + rows, mentions))
                most = _EVEN + int(_SHARE * (part.stop - first) * len(block))
                sure, mention, entity = _sift(narrow, part, block, most)
                if len(mention) > most:
                    sure, mention, entity = _sift(wide, part, block, len(block) * rows)
                better[part] += sure
                mention, entity = mention + first, entity + start
                exact = _exact(queries, mention, entities, entity, scale)
                better.index_add_(0, mention, (exact > target[mention]).long())
                tied.index_add_(0, mention, ((exact == target[mention]) & (entity != gold[mention])).long())
    return better, tied


@dataclass(frozen=True)
class _Product:
    """Scores in some precision, in units of each query; a score above `high` or below `low` is surely so.

    Args:
        queries: `(M, D)`.
        factor: Factor of the entities before they are rounded to the type of the queries.
        low: `(M,)`, float32.
        high: `(M,)`, float32.
    """

    queries: Tensor
    factor: float
    low: Tensor
    high: Tensor

    def scores(self, part: slice, block: Tensor) -> Tensor:
        """Scores `(m, n)` of a slice of the queries; `n` is a multiple of `_CHUNK`, `-inf` after the block's end."""
        queries, count = self.queries[part], len(block)
        keys = queries.new_empty(-(-count // _CHUNK) * _CHUNK, queries.shape[1])
        torch.mul(block.float(), self.factor, out=keys[:count])  # one pass, rounded as it is written
        keys[count:] = 0
        scores = _multiply(queries, keys)
        scores[:, count:] = -math.inf
        return scores


def _multiply(queries: Tensor, keys: Tensor) -> Tensor:
    return queries @ keys.T


def _half(queries: Tensor, target: Tensor, lengths: Tensor, longest: float, scale: float) -> _Product:
    """The product in float16. Powers of two bring the length of each query and of the longest entity to 0.5 .. 1."""
    width, exponents = queries.shape[1], torch.frexp(lengths)[1].double()
    factor = 2.0 ** -min(max(math.frexp(longest)[1], -100), 120)  # in the range of float32
    own = torch.exp2(-exponents)
    ours, theirs = lengths * own, longest * factor
    # relative errors: of both vectors and of the score 2**-11 each, and of `width` sums; then those of tiny numbers
    error = 1.01 * ours * theirs * (3 * 2.0**-11 + width * 2.0**-22)
    error += (ours + theirs + 1) * width * 2.0**-24 + width * 2.0**-125 * own * factor / scale
    middle = target.double() * own * (factor / scale)
    return _Product(
        (queries.double() * own[:, None]).half(), factor, (middle - error).float(), (middle + error).float()
    )


def _single(queries: Tensor, target: Tensor, lengths: Tensor, longest: float, scale: float) -> _Product:
    """The product in float32; its error is bounded as in `dim.metrics.counting`."""
    width = queries.shape[1]
    error = ((width + 8) * 2.0**-23 * scale * longest * lengths + width * 2.0**-125).float()
    return _Product(queries.float(), scale, target - error, target + error)


def _sift(product: _Product, part: slice, block: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts the scores that are surely above the gold's, and finds those that the product does not decide.

    Returns:
        The counts `(m,)`, and rows and columns of the undecided pairs; unfinished if these are more than `most`.
    """
    scores = product.scores(part, block)
    low, high = product.low[part], product.high[part]
    width = scores.shape[1] // _CHUNK
    chunks = scores.view(-1, _CHUNK)
    reached = (chunks.amax(1).view(-1, width) >= low[:, None]).flatten().nonzero().flatten()
    sure = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    rows, columns, count = [reached[:0]], [reached[:0]], 0
    for some in reached.split(_CHUNKS):
        row, values = some // width, chunks[some]  # (C,), (C, _CHUNK)
        above = values > high[row, None]
        sure.index_add_(0, row, above.sum(1))
        near = ((values >= low[row, None]) ^ above).flatten().nonzero().flatten()
        place = near // _CHUNK
        rows.append(row[place])
        columns.append(some[place] % width * _CHUNK + near % _CHUNK)
        count += len(near)
        if count > most:
            break
    return sure, torch.cat(rows), torch.cat(columns)


def _exact(queries: Tensor, rows: Tensor, entities: Tensor, columns: Tensor, scale: float) -> Tensor:
    """Scores of pairs `(P,)`, summed in float64, rounded once to float32."""
    count, size = len(rows), max(_EVEN, _PAIRS // queries.shape[1] // _EVEN * _EVEN)
    if not count:
        return torch.empty(0, device=queries.device)
    more = -count % _EVEN
    rows, columns = (torch.cat([index, index[:1].expand(more)]) for index in (rows, columns))
    sums = [(queries[row].double() * entities[column].double()).sum(dim=1)
            for row, column in zip(rows.split(size), columns.split(size), strict=True)]  # fmt: skip
    return (torch.cat(sums)[:count] * scale).float()


@contextmanager
def _full_sums() -> Iterator[bool]:
    """Forbids partial sums in float16; tells whether products of float16 are summed in float32."""
    settings = torch.backends.cuda.matmul
    before = settings.allow_fp16_reduced_precision_reduction
    settings.allow_fp16_reduced_precision_reduction = False
    try:
        yield not settings.allow_fp16_accumulation
    finally:
        settings.allow_fp16_reduced_precision_reduction = before
