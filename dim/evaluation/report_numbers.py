"""The numbers of a report: metrics with intervals, slices, calibration, NIL and paired tests, as plain JSON."""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from dim.evaluation.outcome import Outcome, crossed_nil, crossed_temperature
from dim.metrics.calibration_error import expected_calibration_error, reliability_bins
from dim.metrics.intervals import bootstrap_statistic, paired_test, ranking_metrics_with_intervals
from dim.metrics.nil import nil_metrics
from dim.metrics.ranks import DEFAULT_KS, mention_metrics

BINS = 15
HISTOGRAM = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 100), (101, None))
"""Ranks that share a bar of the histogram; a tie's rank counts as the next whole one."""

Interval = dict[str, float | None]


def rank_numbers(ranks: Tensor, groups: Sequence[Hashable], samples: int, seed: int) -> dict[str, Any]:
    """Metrics of one protocol, each with its interval.

    Args:
        ranks: `(M,)`; NaN for mentions that are left out.
        groups: What is drawn as a whole, one label a mention.
        samples: Bootstrap samples.
        seed: Of the draws.

    Returns:
        `mentions`, and by metric `{"value", "low", "high"}`: H@k and MRR in percent; `mean rank` (`None` where a gold
            was not retrieved: its rank is infinite) and `median rank` (the lowest that half of the mentions reach).
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


def _interval(statistic: Any, values: Tensor, draws: dict[str, Any], factor: float = 1.0) -> Interval:
    value = float(statistic(torch.ones(1, len(values), dtype=torch.float64)))
    low, high = bootstrap_statistic(statistic, len(values), **draws)
    return {name: _finite(factor * one) for name, one in (("value", value), ("low", low), ("high", high))}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def histogram(ranks: Tensor) -> dict[str, int]:
    """How many golds have which rank.

    Args:
        ranks: `(M,)`; NaN for mentions that are left out.

    Returns:
        Counts by range of ranks, and those not retrieved.

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
    """H@1 and MRR of each slice.

    Args:
        ranks: `(M,)`; NaN for mentions that are left out.
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
    """How far a system's confidence in its best entity can be believed.

    Args:
        outcome: The outcome of a system whose scores are logits.
        half: Halves of the mentions; the temperature of each is fitted on the other.
        groups, samples, seed: As for [`rank_numbers`].

    Returns:
        `ECE` in percent with its interval (the bins stay those of the whole split) and `bins`, as the scores are
            (`raw`), and with the other half's temperature (`fitted`) where it could be fitted. NIL mentions count as
            wrong, whatever was found.
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
    low, high = bootstrap_statistic(lambda drawn: (drawn @ gap).abs().sum(1) / drawn.sum(1), len(order), **draws)
    value = expected_calibration_error(confidence, correct, BINS)
    made = reliability_bins(confidence, correct, BINS)
    return {
        "ECE": {"value": 100 * value, "low": 100 * low, "high": 100 * high},
        "bins": [{"count": one.count, "confidence": one.confidence, "accuracy": one.accuracy} for one in made],
    }


def nil_numbers(
    outcome: Outcome, half: Tensor, groups: Sequence[Hashable], samples: int, seed: int
) -> dict[str, Any] | None:
    """How well a system tells NIL mentions by its confidence, with the threshold that is best for the other half.

    Args:
        outcome: The outcome.
        half, groups, samples, seed: As for [`calibration_numbers`].

    Returns:
        Precision, recall and F1 in percent with their intervals; `None` where there is no NIL, or nothing else.
    """
    nil = outcome.gold < 0
    if not bool(nil.any()) or bool(nil.all()):
        return None
    called = crossed_nil(outcome.confidence(), outcome.gold, half)
    if called is None:
        return None
    right, said, is_nil = (called & nil).double(), called.double(), nil.double()
    parts = {
        "NIL precision": (right, said),
        "NIL recall": (right, is_nil),
        "NIL F1": (2 * right, said + is_nil),
    }
    draws: dict[str, Any] = {"groups": groups, "samples": samples, "seed": seed}
    values, found = nil_metrics(called, nil), {}
    for name, (part, whole) in parts.items():
        low, high = bootstrap_statistic(
            lambda drawn, part=part, whole=whole: drawn @ part / (drawn @ whole).clamp(min=1),  # type: ignore[misc]
            len(nil),
            **draws,
        )
        found[name] = {"value": values[name], "low": 100 * low, "high": 100 * high}
    return found | {"NIL mentions": int(nil.sum()), "called NIL": int(called.sum())}


def compare(
    first: Outcome, second: Outcome, protocol: str, groups: Sequence[Hashable], samples: int, seed: int
) -> list[dict[str, Any]]:
    """Paired tests of two systems under a protocol.

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


__all__ = ["calibration_numbers", "compare", "histogram", "nil_numbers", "rank_numbers", "slice_numbers"]
