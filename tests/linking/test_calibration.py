"""Calibration on made-up rankings whose probabilities are known."""

import json
import math

import pytest
import torch

from dim.errors import DIMError
from dim.linking import calibrate
from dim.linking.calibrate import fit, held_out_entities
from dim.linking.calibration import FILE, Calibration, evidence_of
from dim.linking.ranking import Ranking

COUNT, CANDIDATES = 3000, 6


def made_up(temperature=2.5, seed=0):
    """Mentions whose answer is drawn from `softmax(scores / temperature)`; NIL where nothing scores well."""
    torch.manual_seed(seed)
    scores = torch.randn(COUNT, CANDIDATES) * 4 + 10
    nil = torch.rand(COUNT) < 0.25
    scores[nil] -= 6
    probabilities = (scores.double() / temperature).softmax(1)
    answer = torch.multinomial(probabilities, 1)[:, 0]
    rows = torch.stack([torch.randperm(100)[:CANDIDATES] for _ in range(COUNT)])
    gold = torch.where(nil, -1, rows.gather(1, answer[:, None])[:, 0])
    absent = torch.rand(COUNT, CANDIDATES) < 0.2
    absent &= torch.arange(CANDIDATES) != answer[:, None]
    scores, rows = scores.masked_fill(absent, -math.inf), rows.masked_fill(absent, -1)
    scores, order = scores.sort(1, descending=True)
    rows = rows.gather(1, order)
    nothing = torch.zeros(COUNT, CANDIDATES, 0)
    return Ranking(rows, scores, scores, nothing, torch.ones_like(rows)), gold


@pytest.fixture(scope="module")
def fitted():
    ranking, gold = made_up()
    return fit(ranking, gold, list(range(COUNT)))


def test_it_finds_the_temperature(fitted):
    assert fitted.temperature == pytest.approx(2.5, rel=0.15)
    assert fitted.measured["ECE"] < 4
    assert fitted.measured["NIL F1"] > 75
    assert fitted.measured["mentions"] == COUNT


def test_probabilities_are_calibrated_on_other_mentions(fitted):
    ranking, gold = made_up(seed=1)
    probabilities, nil = fitted(ranking)
    torch.testing.assert_close(probabilities.sum(1) + nil, torch.ones(COUNT, dtype=torch.float64))
    for low, high in ((0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (probabilities[:, 0] >= low) & (probabilities[:, 0] < high)
        right = (ranking.rows[:, 0] == gold)[inside].double().mean()
        assert right == pytest.approx(probabilities[inside, 0].mean().item(), abs=0.06)


def test_a_stated_precision_is_reached():
    ranking, gold = made_up()
    strict = fit(ranking, gold, list(range(COUNT)), precision=0.9)
    probabilities, _ = strict(ranking)
    linked = probabilities[:, 0] >= strict.threshold
    assert (ranking.rows[linked, 0] == gold[linked]).double().mean() >= 0.9
    assert linked.any()
    with pytest.raises(ValueError, match="no threshold reaches"):
        fit(ranking, gold.masked_fill(torch.rand(COUNT) < 0.9, 1000), list(range(COUNT)), precision=1.0)


def test_nothing_learned_from_the_fold_that_is_judged(monkeypatch):
    ranking, gold = made_up()
    seen = []
    honest = calibrate._fit
    monkeypatch.setattr(calibrate, "_fit", lambda part, *rest: seen.append(part.rows) or honest(part, *rest))
    groups = [row // 2 for row in range(COUNT)]
    fit(ranking, gold, groups)
    folds = calibrate._folds(groups)
    assert folds[::2].equal(folds[1::2])  # a group is never split
    for fold, rows in enumerate(seen[:5]):
        assert rows.equal(ranking.rows[folds != fold])


def test_candidates_that_are_missing_get_nothing(fitted):
    scores = torch.tensor([[9.0, -math.inf], [-math.inf, -math.inf]])
    rows = torch.tensor([[3, -1], [-1, -1]])
    ranking = Ranking(rows, scores, scores.clamp(min=-1), torch.zeros(2, 2, 0), rows)
    probabilities, nil = fitted(ranking)
    assert probabilities[0, 1] == 0
    assert nil[1] == 1
    assert torch.isfinite(evidence_of(ranking)[1]).all()


def test_save_and_load(fitted, tmp_path):
    fitted.save(tmp_path)
    assert Calibration.load(tmp_path / FILE) == fitted
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ValueError, match="is not a calibration"):
        Calibration.load(tmp_path / "x.json")


@pytest.mark.parametrize("name, value", [
    *(("temperature", value) for value in (0, -1, 0.0, 1e-320, math.nan, math.inf, None, "2", True, [1], 10**400)),
    *(("nil_bias", value) for value in (math.nan, -math.inf, None, "x")),
    *(("threshold", value) for value in (-0.1, 1.5, math.nan, None)),
    *(("nil_weights", value) for value in ({"margin": math.nan}, {"margin": "1"}, [1.0], None)),
    ("measured", 3),
])  # fmt: skip
def test_numbers_that_give_no_probabilities_are_refused(name, value, tmp_path):
    good = {"temperature": 2.0, "nil_bias": 0.5, "nil_weights": {"margin": -1.0}, "threshold": 0.4, "measured": {}}
    path = tmp_path / FILE
    path.write_text(json.dumps(good))
    Calibration.load(path)
    path.write_text(json.dumps(good | {name: value}))
    with pytest.raises(DIMError, match="is not a( valid)? calibration") as refused:
        Calibration.load(path)
    assert str(path) in str(refused.value)
    assert name in str(refused.value) or value == 10**400


@pytest.mark.parametrize("text", ["[" * 200_000, "", "null", "{}", "NaN", '"x"'])
def test_a_file_that_is_no_calibration_is_refused(text, tmp_path):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DIMError, match="is not a calibration"):
        Calibration.load(tmp_path / FILE)


def test_what_cannot_be_fitted():
    ranking, gold = made_up()
    with pytest.raises(ValueError, match="None of the mentions is NIL"):
        fit(ranking, gold.clamp(min=0), list(range(COUNT)))
    with pytest.raises(ValueError, match="needs at least five"):
        fit(ranking, gold, [0] * COUNT)
    other = Ranking(ranking.rows, ranking.scores, ranking.scores, torch.zeros(COUNT, CANDIDATES, 17), ranking.channels)
    with pytest.raises(ValueError, match="other lexical features"):
        fit(ranking, gold, list(range(COUNT)))(other)


def test_held_out_entities_are_golds():
    gold = torch.tensor([5, 5, 7, -1, 9, 11, 13])
    found = held_out_entities(gold, 0.4, seed=0)
    assert len(found) == 2
    assert set(found.tolist()) <= {5, 7, 9, 11, 13}
    assert held_out_entities(gold, 0.4, seed=0).equal(found)


def test_a_ranking_without_some_entities():
    ranking, _ = made_up()
    gone = ranking.rows[0, :2]
    less = ranking.without(gone)
    assert not torch.isin(less.rows, gone).any()
    left = [row for row in ranking.rows[0, 2:].tolist() if row >= 0]
    assert less.rows[0].tolist() == left + [-1] * (CANDIDATES - len(left))
    assert less.scores[0, :4].equal(ranking.scores[0, 2:])
    assert (less.scores[0, 4:] == -math.inf).all()
