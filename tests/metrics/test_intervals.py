"""Bootstrap intervals and the paired test, against naive versions and in simulations."""

import math

import numpy as np
import pytest
import torch

from dim.metrics.intervals import (
    bootstrap_interval,
    bootstrap_statistic,
    paired_test,
    ranking_metrics_with_intervals,
)
from dim.metrics.ranks import ranking_metrics


def mean_of(values):
    return lambda drawn: drawn @ values / drawn.sum(1)


def test_coverage_equals_the_level():
    """300 test sets of 200 mentions from a linker that is right in 70 % of the cases."""
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for seed in range(300):
        low, high = bootstrap_interval((torch.rand(200, generator=generator) < 0.7).float(), samples=300, seed=seed)
        covered += low <= 0.7 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_coverage_needs_groups():
    """60 surface forms of 10 mentions that succeed or fail as one."""
    generator = torch.Generator().manual_seed(0)
    forms = [form for form in range(60) for _ in range(10)]
    covered = {"single": 0, "grouped": 0}
    for seed in range(100):
        values = (torch.rand(60, generator=generator) < 0.6).double().repeat_interleave(10)
        for name, groups in (("single", None), ("grouped", forms)):
            low, high = bootstrap_interval(values, groups=groups, samples=200, seed=seed)
            covered[name] += low <= 0.6 <= high
    assert covered["grouped"] >= 88
    assert covered["single"] < 65


def test_equals_a_naive_bootstrap_of_groups():
    values, groups = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]), ["b", "a", "b", "c", "b"]
    members = {"b": [1.0, 0.0, 1.0], "a": [0.0], "c": [1.0]}  # in the order of appearance
    draws = np.random.default_rng(7).integers(3, size=(50, 3))
    drawn = [[x for i in row for x in members["bac"[i]]] for row in draws.tolist()]
    means = torch.tensor([sum(row) / len(row) for row in drawn], dtype=torch.float64)
    expected = (means.quantile(0.1).item(), means.quantile(0.9).item())
    assert bootstrap_interval(values, groups=groups, samples=50, seed=7, level=0.8) == pytest.approx(expected)


def test_any_labels_that_hash():
    values = torch.tensor([1.0, 0.0, 0.5])
    for labels in (torch.tensor([4, 9, 4]), ("x", "y", "x"), [(1, "a"), None, (1, "a")]):
        assert bootstrap_interval(values, groups=labels) == bootstrap_interval(values, groups=[0, 1, 0])


def test_unique_labels_equal_no_groups_and_seeds_repeat():
    values = torch.rand(30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, groups=range(30), seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_a_wider_level_is_a_wider_interval():
    values = torch.rand(50)
    low, high = bootstrap_interval(values, level=0.5)
    wider = bootstrap_interval(values, level=0.99)
    assert wider[0] < low < values.mean() < high < wider[1]


def test_one_group_gives_the_mean():
    assert bootstrap_interval(torch.tensor([0.0, 1.0]), groups=["a", "a"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    "values, arguments, message",
    [
        ([], {}, "nothing to average"),
        ([1.0, math.nan], {}, r"values\[1\] is nan"),
        ([1.0, 0.0], {"groups": ["a"]}, "groups has 1 labels for 2 values"),
        ([1.0], {"samples": 0}, "samples is 0"),
        ([1.0], {"level": 95}, "level is 95: it must lie between 0 and 1"),
    ],
)
def test_invalid_intervals_raise(values, arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(torch.tensor(values), **arguments)


def test_metrics_with_intervals():
    ranks = torch.tensor([1.0, 2.0, 3.0, math.inf] * 20)
    table = ranking_metrics_with_intervals(ranks, (1, 3), samples=200)
    assert {name: row["value"] for name, row in table.items()} == ranking_metrics(ranks, (1, 3))
    low, high = bootstrap_interval((ranks <= 3).double(), samples=200)
    assert (table["H@3"]["low"], table["H@3"]["high"]) == (100 * low, 100 * high)
    assert all(row["low"] < row["value"] < row["high"] for row in table.values())


def test_blocks_do_not_change_the_draws(monkeypatch):
    values = torch.rand(31, dtype=torch.float64)
    expected = bootstrap_statistic(mean_of(values), 31, samples=101)
    monkeypatch.setattr("dim.metrics.intervals.DRAWS_PER_BLOCK", 70)
    assert bootstrap_statistic(mean_of(values), 31, samples=101) == expected


def test_whole_groups_are_drawn():
    seen = []

    def statistic(drawn):
        seen.append(drawn)
        return drawn[:, 0]

    bootstrap_statistic(statistic, 5, groups=["a", "a", "b", "c", "c"], samples=40)
    drawn = torch.cat(seen)
    assert drawn.shape == (40, 5)
    assert (drawn[:, [0, 2, 3]].sum(1) == 3).all()  # three groups are drawn
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert len(drawn.unique(dim=0)) > 5


def test_p_is_calibrated_for_equal_systems():
    generator = torch.Generator().manual_seed(0)
    small = 0
    for seed in range(200):
        first, second = ((torch.rand(60, generator=generator) < 0.7).double() for _ in range(2))
        small += paired_test(first, second, samples=200, seed=seed)["p"] <= 0.1
    assert 0.03 <= small / 200 <= 0.15


def test_groups_widen_interval_and_p():
    """Ten forms of ten mentions with equal outcomes: 100 pairs, but ten independent ones."""
    groups = [form for form in range(10) for _ in range(10)]
    difference = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, -1, -1, -1]).repeat_interleave(10)
    single, grouped = (paired_test(difference, torch.zeros(100), groups=g, samples=2000) for g in (None, groups))
    assert single["difference"] == grouped["difference"] == pytest.approx(0.4)
    assert single["p"] < 0.01
    assert grouped["p"] == pytest.approx(0.344, abs=0.05)  # 2 * P(at least 7 of 10)
    assert grouped["low"] < 0 < single["low"]


def test_difference_is_first_minus_second():
    better, worse = torch.ones(20), torch.zeros(20)
    assert paired_test(worse, better, samples=100)["difference"] == -1
    assert paired_test(better, worse, samples=100)["p"] == pytest.approx(1 / 101)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"second": torch.zeros(3)}, "one shape"),
        ({"samples": 0}, "samples is 0"),
        ({"groups": ["a"]}, "1 labels for 2 values"),
    ],
)
def test_invalid_pairs_raise(change, message):
    arguments = {"first": torch.zeros(2), "second": torch.zeros(2), **change}
    with pytest.raises(ValueError, match=message):
        paired_test(arguments.pop("first"), arguments.pop("second"), **arguments)


def test_invalid_statistics_raise():
    with pytest.raises(ValueError, match="nothing to draw"):
        bootstrap_statistic(lambda drawn: drawn[:, 0], 0)
    with pytest.raises(ValueError, match="level is 2"):
        bootstrap_statistic(lambda drawn: drawn[:, 0], 3, level=2)
