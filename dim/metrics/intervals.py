"""How sure a metric is: percentile bootstrap over mentions or groups of mentions, and a paired test of two systems."""

import math
from collections.abc import Callable, Hashable, Sequence

import torch

from dim.errors import DIMError
from dim.metrics.ranks import DEFAULT_KS, mention_metrics

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
        DIMError: for no values, values that are not finite, labels that are not one a value, `samples` below 1, or a
            `level` outside 0..1.

    Example:
        >>> bootstrap_interval(torch.tensor([1.0, 1.0, 1.0]))
        (1.0, 1.0)
        >>> bootstrap_interval(torch.tensor([0.0, 1.0]), groups=["Paris", "Rome"])  # means 0, 1/2 and 1 are drawn
        (0.0, 1.0)
    """
    if values.ndim != 1 or values.numel() == 0:
        raise DIMError(f"values must have the shape (mentions >= 1,), got {tuple(values.shape)}: nothing to average")
    values = values.to("cpu", torch.float64)
    if not bool(torch.isfinite(values).all()):
        row = int((~torch.isfinite(values)).nonzero()[0])
        raise DIMError(f"values[{row}] is {float(values[row])}: a mean needs finite values")
    _check_draws(samples, level)
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


def bootstrap_statistic(
    statistic: Callable[[torch.Tensor], torch.Tensor],
    count: int,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bound anything that can be computed from how often each mention was drawn, such as a median or an F1.

    Args:
        statistic (`Callable`): takes how often each mention was drawn, `(S, M)` float64, one sample a row, and gives
            the statistic of each sample `(S,)`. It is called with blocks of samples.
        count (`int`): number of mentions `M`.
        groups, samples, seed, level: as for [`bootstrap_interval`]; the same mentions are drawn.

    Returns:
        `tuple[float, float]`: low and high end.

    Raises:
        DIMError: as [`bootstrap_interval`].

    Example:
        >>> values = torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> bootstrap_statistic(lambda drawn: drawn @ values / drawn.sum(1), 2)  # the mean
        (0.0, 1.0)
    """
    _check_draws(samples, level)
    if count < 1:
        raise DIMError(f"count is {count}: there is nothing to draw")
    index, number = _group_index(groups, count)
    generator = torch.Generator().manual_seed(seed)
    block = math.ceil(DRAWS_PER_BLOCK / max(number, count))
    found = []
    for start in range(0, samples, block):
        size = min(block, samples - start)
        draws = torch.randint(number, (size, number), generator=generator)  # (samples of the block, G)
        times = torch.zeros(size, number, dtype=torch.float64).scatter_add_(1, draws, torch.ones_like(draws).double())
        found.append(statistic(times[:, index]))
    tail = (1 - level) / 2
    low, high = torch.quantile(
        torch.cat(found), torch.tensor([tail, 1 - tail], dtype=torch.float64), interpolation="nearest"
    ).tolist()
    return low, high


def paired_test(
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Compare two systems on the same mentions: the mean difference, its interval, and how likely chance gives as much.

    The p-value is that of the paired randomisation test (Noreen 1989): if the systems were equal, each mention's (or
    group's) two outcomes could as well be swapped: ``p = (1 + #(|swapped| >= |difference|)) / (1 + samples)``.

    Args:
        first (`torch.Tensor` of shape `(M,)`): one number a mention, such as 1 for a hit.
        second (`torch.Tensor` of shape `(M,)`): the other system's, of the same mentions in the same order.
        groups, seed: as for [`bootstrap_interval`].
        samples (`int`): number of bootstrap samples, and of swaps.

    Returns:
        `dict[str, float]`: `{"difference": first - second, "low": ..., "high": ..., "p": ...}`.

    Raises:
        DIMError: if the shapes differ, and as [`bootstrap_interval`].

    Example:
        >>> paired_test(torch.ones(8), torch.zeros(8))["difference"], paired_test(torch.ones(8), torch.ones(8))["p"]
        (1.0, 1.0)
    """
    if first.shape != second.shape:
        raise DIMError(
            f"first and second must have one shape, got {tuple(first.shape)} and {tuple(second.shape)}: "
            "compare systems on the same mentions"
        )
    difference = first.to("cpu", torch.float64) - second.to("cpu", torch.float64)
    low, high = bootstrap_interval(difference, groups=groups, samples=samples, seed=seed)
    sums, _ = _group_totals(difference, groups)
    observed = float(sums.sum().abs())
    generator = torch.Generator().manual_seed(seed)
    block = math.ceil(DRAWS_PER_BLOCK / len(sums))
    as_much = 0
    for start in range(0, samples, block):
        signs = torch.randint(2, (min(block, samples - start), len(sums)), generator=generator).double() * 2 - 1
        as_much += int(((signs @ sums).abs() >= observed * (1 - 1e-12)).sum())
    return {"difference": float(difference.mean()), "low": low, "high": high, "p": (1 + as_much) / (1 + samples)}


def _check_draws(samples: int, level: float) -> None:
    if samples < 1:
        raise DIMError(f"samples is {samples}: draw at least 1")
    if not 0 < level < 1:
        raise DIMError(f"level is {level}: it must lie between 0 and 1, such as 0.95")


def _group_index(groups: Sequence[Hashable] | None, count: int) -> tuple[torch.Tensor, int]:
    """Group of each value `(M,)`, numbered in the order of appearance, and how many groups there are."""
    if groups is None:
        return torch.arange(count), count
    labels = groups.tolist() if isinstance(groups, torch.Tensor) else groups  # a tensor's elements hash by identity
    if len(labels) != count:
        raise DIMError(f"groups has {len(labels)} labels for {count} values: give one label a value")
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(label, len(numbers)) for label in labels]), len(numbers)


def _group_totals(values: torch.Tensor, groups: Sequence[Hashable] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum and the number of `values (M,)` in every group, each float64 (G,), in the order of appearance."""
    index, number = _group_index(groups, len(values))
    empty = torch.zeros(number, dtype=torch.float64)
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
        DIMError: as [`ranking_metrics`] and [`bootstrap_interval`].

    Example:
        >>> ranking_metrics_with_intervals(torch.tensor([1.0, 1.0]), ks=(1,))["H@1"]
        {'value': 100.0, 'low': 100.0, 'high': 100.0}
    """
    table = {}
    for name, values in mention_metrics(ranks, ks).items():
        low, high = bootstrap_interval(values, groups=groups, samples=samples, seed=seed, level=level)
        table[name] = {"value": 100 * float(values.mean()), "low": 100 * low, "high": 100 * high}
    return table
