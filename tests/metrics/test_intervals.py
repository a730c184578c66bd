"""The bootstrap of any statistic and the paired test."""

import pytest
import torch

from dim.metrics.intervals import bootstrap_interval, bootstrap_statistic, paired_test


def mean_of(values):
    return lambda drawn: drawn @ values / drawn.sum(1)


@pytest.mark.parametrize("groups", [None, list("aabbbcdddd")])
def test_the_statistic_sees_the_very_draws_of_the_interval(groups):
    values = torch.rand(10, dtype=torch.float64)
    low, high = bootstrap_interval(values, groups=groups, samples=500, seed=3)
    found = bootstrap_statistic(mean_of(values), 10, groups=groups, samples=500, seed=3)
    assert found == pytest.approx((low, high), abs=0.01)  # nearest quantile against interpolated


def test_blocks_do_not_change_the_draws(monkeypatch):
    values = torch.rand(31, dtype=torch.float64)
    expected = bootstrap_statistic(mean_of(values), 31, samples=101)
    monkeypatch.setattr("dim.metrics.intervals.DRAWS_PER_BLOCK", 70)
    assert bootstrap_statistic(mean_of(values), 31, samples=101) == expected


def test_counts_are_those_of_a_sample():
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


def test_equal_systems_differ_by_chance_as_often_as_p_says():
    generator = torch.Generator().manual_seed(0)
    small = 0
    for seed in range(200):
        first, second = ((torch.rand(60, generator=generator) < 0.7).double() for _ in range(2))
        small += paired_test(first, second, samples=200, seed=seed)["p"] <= 0.1
    assert 0.03 <= small / 200 <= 0.15


def test_groups_make_the_test_careful():
    """Ten forms of ten mentions each, which fall together: 100 pairs, but ten facts."""
    groups = [form for form in range(10) for _ in range(10)]
    difference = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, -1, -1, -1]).repeat_interleave(10)
    single, grouped = (paired_test(difference, torch.zeros(100), groups=g, samples=2000) for g in (None, groups))
    assert single["difference"] == grouped["difference"] == pytest.approx(0.4)
    assert single["p"] < 0.01
    assert grouped["p"] == pytest.approx(0.344, abs=0.05)  # 2 * P(at least 7 of 10)
    assert grouped["low"] < 0 < single["low"]


def test_the_sign_is_that_of_the_first():
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
def test_what_the_test_refuses(change, message):
    arguments = {"first": torch.zeros(2), "second": torch.zeros(2), **change}
    with pytest.raises(ValueError, match=message):
        paired_test(arguments.pop("first"), arguments.pop("second"), **arguments)


def test_what_the_statistic_refuses():
    with pytest.raises(ValueError, match="nothing to draw"):
        bootstrap_statistic(lambda drawn: drawn[:, 0], 0)
    with pytest.raises(ValueError, match="level is 2"):
        bootstrap_statistic(lambda drawn: drawn[:, 0], 3, level=2)
