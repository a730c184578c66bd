"""Calibration and NIL against naive versions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.metrics.calibration_error import expected_calibration_error, fit_temperature, reliability_bins
from dim.metrics.nil import best_nil_threshold, nil_metrics, threshold_for

ANSWERS = st.lists(
    st.tuples(st.integers(0, 8).map(lambda x: x / 8), st.booleans()), min_size=1, max_size=30
)  # many equal confidences


def unzip(answers):
    return [one for one, _ in answers], [two for _, two in answers]


@settings(deadline=None)
@given(answers=ANSWERS, bins=st.integers(1, 8))
def test_bins_have_equal_mass_and_add_up(answers, bins):
    confidence, correct = unzip(answers)
    made = reliability_bins(confidence, correct, bins)
    sizes = [one.count for one in made]
    assert sum(sizes) == len(answers)
    assert len(made) == min(bins, len(answers))
    assert max(sizes) - min(sizes) <= 1
    assert sum(one.accuracy * one.count for one in made) == pytest.approx(sum(correct))
    assert [one.confidence for one in made] == sorted(one.confidence for one in made)


@settings(deadline=None)
@given(answers=ANSWERS, seed=st.integers(0, 9))
def test_the_order_of_the_answers_does_not_matter(answers, seed):
    shuffled = [answers[row] for row in np.random.default_rng(seed).permutation(len(answers))]
    first, second = (expected_calibration_error(*unzip(one), bins=4) for one in (answers, shuffled))
    assert first == pytest.approx(second)


def test_known_calibration_errors():
    confidence = [0.1] * 50 + [0.9] * 50
    assert expected_calibration_error(confidence, [0] * 45 + [1] * 5 + [1] * 45 + [0] * 5, 2) == pytest.approx(0)
    assert expected_calibration_error(confidence, [1] * 50 + [0] * 50, 2) == pytest.approx(0.9)
    assert expected_calibration_error([0.8] * 4, [1, 1, 1, 0], 1) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "confidence, correct, bins, message",
    [
        ([], [], 3, "one shape"),
        ([0.5], [1, 0], 3, "one shape"),
        ([0.5, 1.5], [1, 0], 3, r"confidence\[1\] is 1.5"),
        ([0.5, math.nan], [1, 0], 3, r"confidence\[1\] is nan"),
        ([0.5], [2], 3, r"correct\[0\] is 2.0"),
        ([0.5], [1], 0, "bins is 0"),
    ],
)
def test_invalid_answers_raise(confidence, correct, bins, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins(confidence, correct, bins)


def test_temperature_is_recovered():
    """Golds drawn from softmax(scores / 3): the fit finds 3, and the confidence is then calibrated."""
    generator = torch.Generator().manual_seed(0)
    scores = 6 * torch.randn(20_000, 5, generator=generator)
    gold = torch.multinomial(torch.softmax(scores / 3, 1), 1, generator=generator)[:, 0]
    temperature = fit_temperature(scores, gold)
    assert temperature == pytest.approx(3, rel=0.03)
    before, after = (torch.softmax(scores / t, 1).max(1) for t in (1, temperature))
    assert expected_calibration_error(before.values, before.indices == gold) > 0.1
    assert expected_calibration_error(after.values, after.indices == gold) < 0.02


def test_temperature_ignores_rows_without_gold_and_missing_candidates():
    scores = torch.tensor([[2.0, 0.0, -math.inf], [2.0, 0.0, -math.inf], [9.0, 1.0, 0.0], [2.0, 0.0, -math.inf]])
    gold = torch.tensor([0, 1, -1, 0])
    expected = 2 / math.log(2)  # right in 2 of 3: softmax difference log 2
    assert fit_temperature(scores, gold) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "scores, gold, message",
    [
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64), "do not fit"),
        (torch.zeros(2, 3), torch.tensor([-1, -1]), "no mention has its gold"),
        (torch.tensor([[math.nan, 0.0]]), torch.tensor([0]), "NaN or inf"),
        (torch.tensor([[math.inf, 0.0]]), torch.tensor([0]), "NaN or inf"),
    ],
)
def test_invalid_scores_raise(scores, gold, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(scores, gold)


@settings(deadline=None)
@given(answers=ANSWERS, precision=st.floats(0, 1))
def test_threshold_is_the_lowest_that_reaches_the_precision(answers, precision):
    confidence, correct = unzip(answers)

    def reached(threshold):
        linked = [right for sure, right in answers if sure >= threshold]
        return sum(linked) / len(linked)

    good = [threshold for threshold in confidence if reached(threshold) >= precision]
    if good:
        assert threshold_for(confidence, correct, precision=precision) == min(good)
    else:
        with pytest.raises(ValueError, match="no threshold reaches"):
            threshold_for(confidence, correct, precision=precision)


@settings(deadline=None)
@given(answers=ANSWERS)
def test_best_nil_threshold_is_the_best(answers):
    confidence, nil = unzip(answers)

    def f1(threshold):
        return nil_metrics([sure < threshold for sure in confidence], nil)["NIL F1"]

    best = max(f1(threshold) for threshold in [*confidence, 2.0])
    assert f1(best_nil_threshold(confidence, nil)) == pytest.approx(best)


def test_nil_metrics_without_predictions_are_0():
    assert nil_metrics([0, 0], [1, 0]) == {"NIL precision": 0.0, "NIL recall": 0.0, "NIL F1": 0.0}
    assert nil_metrics([1, 1], [1, 1]) == {"NIL precision": 100.0, "NIL recall": 100.0, "NIL F1": 100.0}


def test_invalid_nil_arguments_raise():
    with pytest.raises(ValueError, match="must be 0 or 1"):
        nil_metrics([0.5], [1])
    with pytest.raises(ValueError, match="precision is 2"):
        threshold_for([0.5], [1], precision=2)
