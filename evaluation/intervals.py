"""How sure a metric is: percentile bootstrap intervals over mentions, or over groups of mentions."""

import math
from collections.abc import Hashable, Sequence

import torch

from dim.evaluation.ranking import DEFAULT_KS, mention_metrics

DRAWS_PER_BLOCK = 2**22  # draws held at once: 32 MiB of indices


def bootstrap_interval(
    values: torch.Tensor,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bound the mean of `values` by the percentile bootstrap (Efron 1979).

    Mentions with one surface form succeed and fail together, so drawing single mentions makes the interval too narrow.
    With `groups`, whole groups are drawn and a sample's mean is ``sum of the drawn values / number of them``.

    Args:
        values (`torch.Tensor` of shape `(M,)`): one number a mention, such as 1 for a hit.
        groups (`Sequence[Hashable]`, *optional*): `M` labels, such as the surface forms; without, every mention is
            a group of its own.
        samples (`int`): number of bootstrap samples.
        seed (`int`): of the draws; the same seed and groups draw the same mentions for every metric.
        level (`float`): share of the samples' means inside the interval, between 0 and 1.

    Returns:
        `tuple[float, float]`: low and high end, in the unit of `values`. A single group leaves nothing to draw:
            low = high.

    Raises:
        ValueError: for no values, values that are not finite, labels that are not one a value, `samples` below 1, or a
            `level` outside 0..1.

    Example:
        >>> bootstrap_interval(torch.tensor([1.0, 1.0, 1.0]))
        (1.0, 1.0)
        >>> bootstrap_interval(torch.tensor([0.0, 1.0]), groups=["Paris", "Rome"])  # means 0, 1/2 and 1 are drawn
        (0.0, 1.0)
    """
    if values.ndim != 1 or values.numel() == 0:
        raise ValueError(f"values must have the shape (mentions >= 1,), got {tuple(values.shape)}: nothing to average")
    values = values.to("cpu", torch.float64)
    if not bool(torch.isfinite(values).all()):
        row = int((~torch.isfinite(values)).nonzero()[0])
        raise ValueError(f"values[{row}] is {float(values[row])}: a mean needs finite values")
    if samples < 1:
        raise ValueError(f"samples is {samples}: draw at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: it must lie between 0 and 1, such as 0.95")
    sums, sizes = _group_totals(values, groups)  # (G,), (G,)

    generator = torch.Generator().manual_seed(seed)
    block = math.ceil(DRAWS_PER_BLOCK / len(sums))
    means = []
    for start in range(0, samples, block):
        shape = (min(block, samples - start), len(sums))
        draws = torch.randint(len(sums), shape, generator=generator)  # (samples of the block, G)
        means.append(sums[draws].sum(dim=1) / sizes[draws].sum(dim=1))
    tail = (1 - level) / 2
    low, high = torch.quantile(torch.cat(means), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def _group_totals(values: torch.Tensor, groups: Sequence[Hashable] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum and the number of `values (M,)` in every group, each float64 (G,), in the order of appearance."""
    if groups is None:
        return values, torch.ones_like(values)
    labels = groups.tolist() if isinstance(groups, torch.Tensor) else groups  # a tensor's elements hash by identity
    if len(labels) != len(values):
        raise ValueError(f"groups has {len(labels)} labels for {len(values)} values: give one label a value")
    numbers: dict[Hashable, int] = {}
    index = torch.tensor([numbers.setdefault(label, len(numbers)) for label in labels])  # (M,)
    empty = torch.zeros(len(numbers), dtype=torch.float64)
    return empty.index_add(0, index, values), empty.index_add(0, index, torch.ones_like(values))


def ranking_metrics_with_intervals(
    ranks: torch.Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Compute the metrics of [`ranking_metrics`] with a bootstrap interval each, in percent.

    Args:
        ranks (`torch.Tensor` of shape `(M,)`): ranks from [`gold_ranks`].
        ks (`Sequence[int]`): cut-offs, each at least 1.
        groups, samples, seed, level: as for [`bootstrap_interval`].

    Returns:
        `dict[str, dict[str, float]]`: `{"H@1": {"value": ..., "low": ..., "high": ...}, ..., "MRR": {...}}`.

    Raises:
        ValueError: as [`ranking_metrics`] and [`bootstrap_interval`].

    Example:
        >>> ranking_metrics_with_intervals(torch.tensor([1.0, 1.0]), ks=(1,))["H@1"]
        {'value': 100.0, 'low': 100.0, 'high': 100.0}
    """
    table = {}
    for name, values in mention_metrics(ranks, ks).items():
        low, high = bootstrap_interval(values, groups=groups, samples=samples, seed=seed, level=level)
        table[name] = {"value": 100 * float(values.mean()), "low": 100 * low, "high": 100 * high}
    return table
