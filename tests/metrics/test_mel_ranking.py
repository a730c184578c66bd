"""The metric of `evaluate` against `dim.metrics.ranks`."""

import math
from pathlib import Path

import evaluate
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.metrics.ranks import TIES, gold_ranks, ranking_metrics

FOLDER = Path(__file__).resolve().parents[2] / "metrics" / "mel_ranking"


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(FOLDER))


ROWS = st.lists(
    st.lists(st.sampled_from([-1.5, 0.0, 0.1, 0.10000000001, 3.0]), min_size=1, max_size=6).flatmap(
        lambda scores: st.tuples(st.just(scores), st.integers(-1, len(scores) - 1))
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(rows=ROWS, ties=st.sampled_from(sorted(TIES)))
def test_equals_dim_metrics(metric, rows, ties):
    """Lists of different lengths; 0.1 and 0.10000000001 are one number in float32."""
    found = metric.compute(predictions=[row for row, _ in rows], references=[gold for _, gold in rows], ties=ties)
    ranks = torch.cat([gold_ranks(torch.tensor([row]), torch.tensor([gold]), ties) for row, gold in rows])
    expected = ranking_metrics(ranks)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["mentions"] == len(rows)
    assert found["mean rank"] == (pytest.approx(float(ranks.mean())) if ranks.isfinite().all() else None)


def test_normalize_excludes_misses(metric):
    rows = {"predictions": [[1.0, 0.0], [1.0]], "references": [0, -1]}
    assert metric.compute(**rows)["H@1"] == 50
    assert metric.compute(**rows, normalize=True)["H@1"] == 100


def test_batches(metric):
    metric.add_batch(predictions=[[1.0, 0.0]], references=[0])
    metric.add(prediction=[1.0, 0.0, 2.0], reference=0)
    assert metric.compute(ks=[1])["H@1"] == 50


@pytest.mark.parametrize(
    "rows, message",
    [
        (([[1.0, math.nan]], [0], {}), r"predictions\[0\]\[1\] is nan"),
        (([[1.0], [1e300]], [0, 0], {}), r"predictions\[1\]\[0\] is 1e\+300"),
        (([[1.0]], [1], {}), r"references\[0\] is 1"),
        (([[1.0]], [-2], {}), r"references\[0\] is -2"),
        (([[]], [0], {}), r"references\[0\] is 0: it must be an index of its 0 candidates"),
        (([[1.0]], [0], {"ks": [0]}), "ks is"),
        (([[1.0]], [0], {"ties": "none"}), "ties is 'none'"),
        (([[1.0]], [-1], {"normalize": True}), "no mention to rank"),
    ],
)
def test_what_it_refuses(metric, rows, message):
    predictions, references, options = rows
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references, **options)


def test_examples_of_card_and_description(metric):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    call = next(line for line in code.splitlines() if line.startswith("metric.compute"))
    found = eval(call, {"metric": metric})
    shown = code[code.index("# {") :].replace("#", "").replace("\n", " ")
    assert found == pytest.approx(eval(shown))
    assert f">>> {call}" in metric.inputs_description
    assert str(found) in metric.inputs_description
