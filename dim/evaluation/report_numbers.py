"""Numbers of a report as plain JSON: metrics with intervals, slices, calibration, NIL and paired tests."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dim.evaluation.outcome import Outcome, crossed_nil, crossed_temperature
from dim.metrics.calibration_error import expected_calibration_error, reliability_bins
from dim.metrics.intervals import bootstrap_statistic, paired_test, ranking_metrics_with_intervals
from dim.metrics.ranks import DEFAULT_KS, mention_metrics

BINS = 15
HISTOGRAM = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 100), (101, None))
"""Ranges of ranks in the histogram; the rank of a tie is rounded up."""

Interval = dict[str, float | None]


def rank_numbers(ranks: Tensor, groups: Sequence[Hashable], samples: int, seed: int) -> dict[str, Any]:
    """Computes the metrics of one protocol, each with its interval.

    Args:
        ranks: `(M,)`; NaN for excluded mentions.
        groups: Labels of the `M` mentions; mentions with the same label are drawn together.
        samples: Number of bootstrap samples.
        seed: Seed of the draws.

    Returns:
        `mentions`, and by metric `{"value", "low", "high"}`: H@k and MRR in percent; `mean rank` (`None` if a gold was
            not retrieved: its rank is infinite) and `median rank` (the lowest rank that half of the mentions reach).
    """
    kept = (~ranks.isnan()).nonzero().flatten()
    if not len(kept):
        return {"mentions": 0}
    ranks, labels = ranks[kept], [groups[row] for row in kept.tolist()]
    draws: dict[str, Any] = {"groups": labels, "samples": samples, "seed": seed}
    table: dict[str, Any] = {"mentions": len(ranks)}
    table |= ranking_metrics_with_intervals(ranks, DEFAULT_KS, **draws)
    mean = None if bool(ranks.isinf().any()) else _interval(lambda drawn: drawn @ ranks / drawn.sum(1), ranks, draws)
    order = ranks.argsort(stable=True)

    def median(drawn: Tensor) -> Tensor:
        reached = drawn[:, order].cumsum(1)
        return ranks[order][(reached >= reached[:, -1:] / 2).long().argmax(1)]

    return table | {"mean rank": mean, "median rank": _interval(median, ranks, draws)}


def _interval(
    statistic: Callable[[Tensor], Tensor], values: Tensor, draws: dict[str, Any], factor: float = 1.0
) -> Interval:
    value = float(statistic(torch.ones(1, len(values), dtype=torch.float64)))
    low, high = bootstrap_statistic(statistic, len(values), **draws)
    return {name: _finite(factor * one) for name, one in (("value", value), ("low", low), ("high", high))}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def histogram(ranks: Tensor) -> dict[str, int]:
    """Counts golds by their rank.

    Args:
        ranks: `(M,)`; NaN for excluded mentions.

    Returns:
        Counts by range of ranks, and the number of golds that were not retrieved.

    Example:
        >>> histogram(torch.tensor([1.0, 1.5, 7.0, math.inf, math.nan]))
        {'1': 1, '2': 1, '3-5': 0, '6-10': 1, '11-20': 0, '21-100': 0, '101+': 0, 'not retrieved': 1}
    """
    whole = ranks[~ranks.isnan()].ceil()
    counts = {}
    for low, high in HISTOGRAM:
        name = f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
        counts[name] = int(((whole >= low) & (whole <= (high or 2**53))).sum())
    return counts | {"not retrieved": int(whole.isinf().sum())}


def slice_numbers(
    ranks: Tensor, slices: dict[str, dict[str, Tensor]], groups: Sequence[Hashable], samples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Computes H@1 and MRR of each slice.

    Args:
        ranks: `(M,)`; NaN for excluded mentions.
        slices: Masks by slice, by group, from [`dim.evaluation.slices.make_slices`].
        groups, samples, seed: As for [`rank_numbers`].

    Returns:
        `mentions`, `H@1` and `MRR` by slice, by group.
    """
    found: dict[str, dict[str, Any]] = {}
    for group, masks in slices.items():
        found[group] = {}
        for name, mask in masks.items():
            rows = (mask & ~ranks.isnan()).nonzero().flatten()
            if len(rows):
                labels = [groups[row] for row in rows.tolist()]
                table = ranking_metrics_with_intervals(ranks[rows], (1,), groups=labels, samples=samples, seed=seed)
                found[group][name] = {"mentions": len(rows), **table}
    return found


def calibration_numbers(
    outcome: Outcome, half: Tensor, groups: Sequence[Hashable], samples: int, seed: int
) -> dict[str, Any]:
    """Measures the calibration of a system's confidence in its best entity.

    Args:
        outcome: The outcome of a system whose scores are logits.
        half: Halves of the mentions; the temperature of each is fitted on the other.
        groups, samples, seed: As for [`rank_numbers`].

    Returns:
        `ECE` in percent with its interval (with the bins of the whole split) and `bins`: of the scores themselves
            (`raw`), and with the temperature of the other half (`fitted`), if it could be fitted. NIL mentions count as
            wrong.
    """
    temperature = crossed_temperature(outcome, half)
    found = {"raw": _calibration(outcome.confidence(), outcome.correct, groups, samples, seed)}
    if temperature is not None:
        fitted = outcome.confidence(temperature)
        found["fitted"] = _calibration(fitted, outcome.correct, groups, samples, seed)
        found["fitted"]["temperatures"] = sorted({round(one, 4) for one in temperature.tolist()})
    return found


def _calibration(
    confidence: Tensor, correct: Tensor, groups: Sequence[Hashable], samples: int, seed: int
) -> dict[str, Any]:
    order = confidence.argsort(stable=True)
    bins = torch.zeros(len(order), min(BINS, len(order)), dtype=torch.float64)
    for number, rows in enumerate(order.tensor_split(bins.shape[1])):
        bins[rows, number] = 1
    gap = (correct.double() - confidence.double())[:, None] * bins  # (M, bins)
    draws: dict[str, Any] = {"groups": groups, "samples": samples, "seed": seed}
    error = _interval(lambda drawn: (drawn @ gap).abs().sum(1) / drawn.sum(1), order, draws, 100)
    error["value"] = 100 * expected_calibration_error(confidence, correct, BINS)
    return {"ECE": error, "bins": [asdict(one) for one in reliability_bins(confidence, correct, BINS)]}


def nil_numbers(
    outcome: Outcome, half: Tensor, groups: Sequence[Hashable], samples: int, seed: int
) -> dict[str, Any] | None:
    """Measures the detection of NIL mentions by confidence, with the threshold that is best for the other half.

    Args:
        outcome: The outcome.
        half, groups, samples, seed: As for [`calibration_numbers`].

    Returns:
        Precision, recall and F1 in percent with their intervals; `None` if no mention is NIL, or all of them.
    """
    nil = outcome.gold < 0
    if not bool(nil.any()) or bool(nil.all()):
        return None
    predicted = crossed_nil(outcome.confidence(), outcome.gold, half)
    if predicted is None:
        return None
    right, said, is_nil = (predicted & nil).double(), predicted.double(), nil.double()
    draws: dict[str, Any] = {"groups": groups, "samples": samples, "seed": seed}

    def ratio(part: Tensor, whole: Tensor) -> Interval:
        return _interval(lambda drawn: drawn @ part / (drawn @ whole).clamp(min=1), nil, draws, 100)

    return {
        "NIL precision": ratio(right, said),
        "NIL recall": ratio(right, is_nil),
        "NIL F1": ratio(2 * right, said + is_nil),
        "NIL mentions": int(nil.sum()),
        "called NIL": int(predicted.sum()),
    }


def compare(
    first: Outcome, second: Outcome, protocol: str, groups: Sequence[Hashable], samples: int, seed: int
) -> list[dict[str, Any]]:
    """Compares two systems under a protocol by paired tests.

    Args:
        first: Outcome of one system.
        second: Outcome of the other, on the same mentions.
        protocol: Name of the protocol.
        groups, samples, seed: As for [`rank_numbers`].

    Returns:
        For H@1 and MRR: names, the difference `first - second` in percent with its interval, and `p`.
    """
    ranks = first.ranks[protocol], second.ranks[protocol]
    rows = (~ranks[0].isnan()).nonzero().flatten()
    if not len(rows):
        return []
    labels = [groups[row] for row in rows.tolist()]
    values = [mention_metrics(one[rows], (1,)) for one in ranks]
    found = []
    for metric in ("H@1", "MRR"):
        test = paired_test(values[0][metric], values[1][metric], groups=labels, samples=samples, seed=seed)
        percent = {name: 100 * test[name] for name in ("difference", "low", "high")}
        names = {"first": first.name, "second": second.name, "protocol": protocol, "metric": metric}
        found.append({**names, **percent, "p": test["p"]})
    return found
