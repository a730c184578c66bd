"""Uncertainty of metrics: percentile bootstrap over mentions or groups of mentions, paired test of two systems."""

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import scipy.stats
import torch

from dim.common.ids import group_indices
from dim.errors import DIMError
from dim.metrics.ranks import DEFAULT_KS, mention_metrics

DRAWS_PER_BLOCK = 2**22
"""Draws held in memory at a time: 32 MiB of indices."""


def bootstrap_interval(
    values: torch.Tensor,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Computes a percentile bootstrap interval of the mean of `values` (Efron 1979).

    Mentions with the same surface form are usually all right or all wrong, so resampling single mentions makes the
    interval too narrow. With `groups`, whole groups are drawn; the mean of a sample is the sum of its values divided by
    their number.

    Args:
        values (`torch.Tensor` of shape `(M,)`): one number for each mention, such as 1 for a hit.
        groups (`Sequence[Hashable]`, *optional*): `M` labels, such as the surface forms; by default, every mention is
            a group of its own.
        samples (`int`): number of bootstrap samples.
        seed (`int`): seed of the draws; the same seed and groups draw the same mentions for every metric.
        level (`float`): confidence level, between 0 and 1.

    Returns:
        `tuple[float, float]`: lower and upper end, in the unit of `values`. Both are the mean if there is only one
            group.

    Raises:
        DIMError: if there are no values, a value is not finite, there is not one label for each value, `samples` is
            below 1, or `level` is outside 0..1.

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
    return bootstrap_statistic(
        lambda drawn: drawn @ values / drawn.sum(1), len(values), groups=groups, samples=samples, seed=seed, level=level
    )


def bootstrap_statistic(
    statistic: Callable[[torch.Tensor], torch.Tensor],
    count: int,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Computes a percentile bootstrap interval of any statistic, such as a median or an F1 (`scipy.stats.bootstrap`).

    Args:
        statistic (`Callable`): takes how often each mention was drawn, float64 of shape `(S, M)` with one sample in
            each row, and returns the statistic of each sample `(S,)`. It is called with blocks of samples.
        count (`int`): number of mentions `M`.
        groups, samples, seed, level: as for [`bootstrap_interval`]; the same mentions are drawn.

    Returns:
        `tuple[float, float]`: lower and upper end.

    Raises:
        DIMError: as [`bootstrap_interval`].

    Example:
        >>> values = torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> bootstrap_statistic(lambda drawn: drawn @ values / drawn.sum(1), 2)  # the mean
        (0.0, 1.0)
    """
    if samples < 1:
        raise DIMError(f"samples is {samples}: draw at least 1")
    if not 0 < level < 1:
        raise DIMError(f"level is {level}: it must lie between 0 and 1, such as 0.95")
    if count < 1:
        raise DIMError(f"count is {count}: there is nothing to draw")
    index, number = _group_index(groups, count)

    def of_draws(draws: np.ndarray, axis: int) -> np.ndarray:
        """The statistic of samples of groups `(S, G)`."""
        times = torch.zeros(draws.shape, dtype=torch.float64)
        times.scatter_add_(axis, torch.from_numpy(draws), torch.ones_like(times))
        return statistic(times[:, index]).numpy()

    if number == 1:  # nothing to draw, which SciPy refuses
        value = float(of_draws(np.zeros((1, 1), np.int64), -1)[0])
        return value, value
    with np.errstate(invalid="ignore"):  # infinite ranks
        found = scipy.stats.bootstrap(
            (np.arange(number),), of_draws, n_resamples=samples, batch=math.ceil(DRAWS_PER_BLOCK / max(number, count)),
            vectorized=True, confidence_level=level, method="percentile", rng=np.random.default_rng(seed),
        )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired_test(
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Compares two systems on the same mentions: mean difference, its bootstrap interval, and a p-value.

    The p-value is that of the paired randomisation test (Noreen 1989). If the systems were equal, the two outcomes of
    each mention (or group) could be swapped: ``p = (1 + #(|swapped| >= |difference|)) / (1 + samples)``.

    Args:
        first (`torch.Tensor` of shape `(M,)`): one number for each mention, such as 1 for a hit.
        second (`torch.Tensor` of shape `(M,)`): those of the other system, for the same mentions in the same order.
        groups, seed: as for [`bootstrap_interval`].
        samples (`int`): number of bootstrap samples, and of random swaps.

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
    index, number = _group_index(groups, len(difference))
    sums = torch.zeros(number, dtype=torch.float64).index_add(0, index, difference)  # (G,)
    observed = float(sums.sum().abs())
    generator = torch.Generator().manual_seed(seed)
    block = math.ceil(DRAWS_PER_BLOCK / number)
    as_large = 0
    for start in range(0, samples, block):
        signs = torch.randint(2, (min(block, samples - start), number), generator=generator).double() * 2 - 1
        as_large += int(((signs @ sums).abs() >= observed * (1 - 1e-12)).sum())
    return {"difference": float(difference.mean()), "low": low, "high": high, "p": (1 + as_large) / (1 + samples)}


def _group_index(groups: Sequence[Hashable] | None, count: int) -> tuple[torch.Tensor, int]:
    """Group of each value `(M,)`, numbered in the order of appearance, and the number of groups."""
    if groups is None:
        return torch.arange(count), count
    labels = groups.tolist() if isinstance(groups, torch.Tensor) else groups  # a tensor's elements hash by identity
    if len(labels) != count:
        raise DIMError(f"groups has {len(labels)} labels for {count} values: give one label for each value")
    index = torch.tensor(group_indices(labels))
    return index, int(index.max()) + 1


def ranking_metrics_with_intervals(
    ranks: torch.Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    *,
    groups: Sequence[Hashable] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Computes the metrics of [`ranking_metrics`] with a bootstrap interval each, in percent.

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
