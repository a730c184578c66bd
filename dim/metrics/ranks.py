"""Ranks of gold entities, and metrics of ranks.

A rank counts the candidates above the gold entity; ties count half: ``1 + #better + #ties / 2``, the mean rank over all
orders of the tied candidates. Nothing is sorted, so the order of the knowledge base has no influence.
"""

import math
from collections.abc import Sequence

import torch

from dim.errors import DIMError
from dim.metrics.counting import count_better_and_tied

DEFAULT_KS = (1, 3, 5, 10, 20)
TIES = {"mean": 0.5, "optimistic": 0.0, "pessimistic": 1.0}
"""Value that each other candidate with the gold's score adds to its rank, by policy."""


def _checked_scores(scores: torch.Tensor, first_row: int = 0) -> torch.Tensor:
    """Returns `scores (M, N)` in float32; raises for wrong shapes, wrong types and values that cannot be ranked."""
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise DIMError(f"scores must have the shape (mentions, candidates >= 1), got {tuple(scores.shape)}")
    if not scores.is_floating_point():
        raise DIMError(f"scores must be floating point, got {scores.dtype}: convert them first")
    scores = scores.to(torch.float32)
    finite = torch.isfinite(scores)
    if not bool(finite.all()):
        row, column = (int(i) for i in (~finite).nonzero()[0])
        raise DIMError(
            f"scores[{first_row + row}, {column}] is {float(scores[row, column])} in float32: "
            "a score that is not finite has no rank, check the code that computed it"
        )
    return scores


def _checked_gold(gold: torch.Tensor, mentions: int, candidates: int) -> torch.Tensor:
    """Returns `gold (M,)` as int64 on the CPU; raises for wrong shapes, wrong types and indices outside -1..N-1."""
    if gold.dtype == torch.bool or gold.is_floating_point() or gold.is_complex():
        raise DIMError(f"gold must hold integer indices of candidates, got {gold.dtype}")
    if gold.shape != (mentions,):
        raise DIMError(f"gold must have the shape ({mentions},), one index for each mention, got {tuple(gold.shape)}")
    gold = gold.to("cpu", torch.int64)
    outside = (gold < -1) | (gold >= candidates)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise DIMError(
            f"gold[{row}] is {int(gold[row])}: it must be an index of the {candidates} candidates, "
            "or -1 if the gold entity is not among them"
        )
    return gold


def _checked_ties(ties: str) -> str:
    if ties not in TIES:
        raise DIMError(f"ties is {ties!r}: it must be one of {', '.join(TIES)}")
    return ties


def _ranks_of(better: torch.Tensor, tied: torch.Tensor, ties: str) -> torch.Tensor:
    """Ranks, float64 (M,), from the numbers of candidates above the gold and of others with its score."""
    return 1.0 + better.to(torch.float64) + TIES[ties] * tied.to(torch.float64)


def gold_ranks(scores: torch.Tensor, gold: torch.Tensor, ties: str = "mean") -> torch.Tensor:
    """Ranks the gold entity of each mention among its candidates.

    ``rank = 1 + #(strictly better) + #(other candidates with exactly the gold's score) / 2``, compared in float32.

    Args:
        scores (`torch.Tensor` of shape `(M, N)`): floating point, higher is better.
        gold (`torch.Tensor` of shape `(M,)`): index of the gold entity in `0..N-1`, or -1 if it is not among the
            candidates.
        ties (`str`): how tied candidates count. `mean`: half, the mean rank over all orders of the tied candidates, as
            in all tables of this project. `optimistic`: not at all, as in published code that counts only strictly
            better candidates. `pessimistic`: fully.

    Returns:
        `torch.Tensor` of shape `(M,)`: float64 on the CPU; 1 is the best rank, `inf` means that the gold is not among
            the candidates.

    Raises:
        DIMError: for a score that is not finite in float32 (the message gives its row and column), a gold index out of
            range, a wrong shape or dtype, or an unknown `ties`.

    Example:
        >>> scores = torch.tensor([[0.9, 0.5, 0.1], [0.5, 0.5, 0.1], [0.9, 0.5, 0.1]])
        >>> gold_ranks(scores, torch.tensor([1, 0, -1]))  # one is better; tied for ranks 1 and 2; not retrieved
        tensor([2.0000, 1.5000,    inf], dtype=torch.float64)
        >>> gold_ranks(scores, torch.tensor([1, 0, -1]), ties="pessimistic")
        tensor([2., 2., inf], dtype=torch.float64)
    """
    _checked_ties(ties)
    scores = _checked_scores(scores)
    gold = _checked_gold(gold, *scores.shape)
    gold_scores = scores.gather(1, gold.clamp(min=0).to(scores.device).unsqueeze(1))  # (M, 1); for -1 overwritten below
    better = (scores > gold_scores).sum(dim=1).cpu()  # (M,)
    tied = (scores == gold_scores).sum(dim=1).cpu() - 1  # (M,), without the gold itself
    return _ranks_of(better, tied, ties).masked_fill(gold == -1, math.inf)


def gold_ranks_from_embeddings(
    queries: torch.Tensor,
    entities: torch.Tensor,
    gold: torch.Tensor,
    *,
    scale: float = 1.0,
    ties: str = "mean",
    block_bytes: int | None = None,
) -> torch.Tensor:
    """Ranks the gold entities by dot product, in blocks, without holding all `M * N` scores in memory.

    A score is ``float32(scale * q . e)``, summed in float64. The order of additions in a matrix product depends on the
    size of the block, so in float32 two equal entities can get different scores. The float32 product therefore decides
    only pairs whose distance from the gold's score is larger than the rounding error; the others, a few in ten
    thousand, are summed in float64. On a GPU, a product in float16 does the same with its larger error. The ranks do
    not depend on the device or on `block_bytes`, and equal entities tie.

    Args:
        queries (`torch.Tensor` of shape `(M, D)`): mention vectors, floating point.
        entities (`torch.Tensor` of shape `(N, D)`): entity vectors, floating point, on the queries' device. They are
            read once, block by block, so they may be memory-mapped.
        gold (`torch.Tensor` of shape `(M,)`): as for [`gold_ranks`].
        scale (`float`): positive factor, such as CLIP's logit scale.
        ties (`str`): as for [`gold_ranks`].
        block_bytes (`int`, *optional*): largest size of one block of float32 scores (on a GPU, at least 256 columns). A
            few arrays of that size are in memory at a time. The default is fastest: 4 MiB, which fits a processor's
            cache, and 1 GiB on a GPU.

    Returns:
        `torch.Tensor` of shape `(M,)`: equal to `gold_ranks(scale * (queries.double() @ entities.double().T), gold)`.

    Raises:
        DIMError: as [`gold_ranks`], and for shapes that do not match, a vector that is not finite, a scale that is not
            positive, a `block_bytes` below 4, or if torch may multiply in less than float32.

    Example:
        >>> queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> entities = torch.tensor([[2.0, 0.0], [3.0, 1.0], [2.0, 0.0]])
        >>> gold_ranks_from_embeddings(queries, entities, torch.tensor([0, 1]))  # scores 2 3 2 and 0 1 0
        tensor([2.5000, 1.0000], dtype=torch.float64)
    """
    _checked_ties(ties)
    if queries.ndim != 2 or entities.ndim != 2 or queries.shape[1] != entities.shape[1] or entities.shape[0] == 0:
        raise DIMError(
            "queries and entities must have the shapes (M, D) and (N >= 1, D), "
            f"got {tuple(queries.shape)} and {tuple(entities.shape)}"
        )
    if not (queries.is_floating_point() and entities.is_floating_point()):
        raise DIMError(f"queries and entities must be floating point, got {queries.dtype} and {entities.dtype}")
    if not (math.isfinite(scale) and scale > 0):
        raise DIMError(f"scale is {scale}: it must be a positive finite number, or it would change the order")
    if block_bytes is None:
        block_bytes = 2**30 if queries.is_cuda else 4 * 2**20
    if block_bytes < 4:
        raise DIMError(f"block_bytes is {block_bytes}: a block holds at least one score of 4 bytes")
    gold = _checked_gold(gold, queries.shape[0], entities.shape[0])
    better, tied = count_better_and_tied(queries, entities, gold, scale, block_bytes)
    return _ranks_of(better, tied, ties).masked_fill(gold == -1, math.inf)


def top_k(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Finds the `k` best candidates of each mention: best first, equal scores in the order of their indices.

    Args:
        scores (`torch.Tensor` of shape `(M, N)`): floating point, higher is better.
        k (`int`): number of candidates, `1..N`.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: scores in float32 and candidate indices in int64, both of shape `(M, k)`.

    Raises:
        DIMError: for a `k` outside `1..N`, a wrong shape or dtype, or a score that is not finite in float32.

    Example:
        >>> top_k(torch.tensor([[0.5, 2.0, 0.5]]), k=2)
        (tensor([[2.0000, 0.5000]]), tensor([[1, 0]]))
    """
    scores = _checked_scores(scores)
    if not 1 <= k <= scores.shape[1]:
        raise DIMError(f"k is {k}, but there are {scores.shape[1]} candidates: ask for 1 to {scores.shape[1]}")
    last = torch.topk(scores, k, dim=1).values[:, -1:]  # (M, 1); `topk` itself orders equal scores arbitrarily
    above, equal = scores > last, scores == last
    left = k - above.sum(dim=1, keepdim=True)
    indices = (above | (equal & (equal.cumsum(dim=1) <= left))).nonzero()[:, 1].view(len(scores), k)
    values, order = torch.sort(scores.gather(1, indices), dim=1, descending=True, stable=True)
    return values, indices.gather(1, order)


def mention_metrics(ranks: torch.Tensor, ks: Sequence[int] = DEFAULT_KS) -> dict[str, torch.Tensor]:
    """Computes each mention's contribution to each metric: 1 or 0 for a hit, and its reciprocal rank (0 for `inf`).

    Args:
        ranks (`torch.Tensor` of shape `(M,)`): ranks from [`gold_ranks`]; 1.5 is not a hit at 1, `inf` is never a hit.
        ks (`Sequence[int]`): cut-offs, each at least 1.

    Returns:
        `dict[str, torch.Tensor]`: `{"H@1": ..., ..., "MRR": ...}`, each float64 of shape `(M,)` in 0..1.

    Raises:
        DIMError: if there are no ranks, a rank is below 1 or NaN, or a `k` is below 1.

    Example:
        >>> mention_metrics(torch.tensor([1.0, 4.0]), ks=(3,))
        {'H@3': tensor([1., 0.], dtype=torch.float64), 'MRR': tensor([1.0000, 0.2500], dtype=torch.float64)}
    """
    if ranks.ndim != 1 or ranks.numel() == 0:
        raise DIMError(f"ranks must have the shape (mentions >= 1,), got {tuple(ranks.shape)}: nothing to average")
    if any(k < 1 for k in ks):
        raise DIMError(f"ks is {tuple(ks)}: hits are counted at 1 or more")
    ranks = ranks.to("cpu", torch.float64)
    wrong = ~(ranks >= 1)  # also true for NaN
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise DIMError(f"ranks[{row}] is {float(ranks[row])}: a rank is at least 1, use gold_ranks to compute it")
    return {**{f"H@{k}": (ranks <= k).to(torch.float64) for k in ks}, "MRR": 1.0 / ranks}


def recall_at(ranks: torch.Tensor, k: int) -> float:
    """Computes recall@k, the share of mentions whose gold entity has rank `k` or better, 0..1 (H@k for one gold each).

    Arguments and errors are those of [`mention_metrics`].

    Example:
        >>> recall_at(torch.tensor([1.0, 1.5, 4.0, float("inf")]), k=3)
        0.5
    """
    return float(mention_metrics(ranks, [k])[f"H@{k}"].mean())


def ranking_metrics(ranks: torch.Tensor, ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
    """Computes hits at every `k` and the mean reciprocal rank, in percent.

    Arguments and errors are those of [`mention_metrics`].

    Returns:
        `dict[str, float]`: `{"H@1": ..., ..., "MRR": ...}`, each in 0..100.

    Example:
        >>> ranking_metrics(torch.tensor([1.0, 2.0, 4.0, 4.0]), ks=(1, 3))  # MRR: (1 + 1/2 + 1/4 + 1/4) / 4
        {'H@1': 25.0, 'H@3': 50.0, 'MRR': 50.0}
    """
    return {name: 100 * float(values.mean()) for name, values in mention_metrics(ranks, ks).items()}
