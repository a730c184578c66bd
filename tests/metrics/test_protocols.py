"""Protocols against naive versions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.metrics.protocols import PROTOCOLS, CandidateLists, dim_limit, find_protocol, ranks_under


@st.composite
def cases(draw):
    """Scores with ties, golds (some NIL), and candidate lists of different lengths."""
    mentions, entities = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    scores = [[draw(st.sampled_from([-1.0, 0.0, 0.5, 2.0])) for _ in range(entities)] for _ in range(mentions)]
    gold = [draw(st.integers(-1, entities - 1)) for _ in range(mentions)]
    lists = [
        draw(st.lists(st.integers(0, entities - 1), unique=True, max_size=min(4, entities))) for _ in range(mentions)
    ]
    return scores, gold, lists


def naive(protocol, scores, gold, candidates, limit):
    if gold == -1:
        return math.nan
    if protocol == "full_kb":
        candidates = list(range(len(scores)))
    if protocol == "candidates_dim":
        candidates = candidates[:limit]
        if gold not in candidates:
            candidates = [*candidates[: limit - 1], gold]
    if gold not in candidates:
        return math.nan if protocol == "candidates_normalised" else math.inf
    others = [scores[place] for place in candidates if place != gold]
    ties = 0.0 if protocol == "candidates_dim" else 0.5
    return 1 + sum(one > scores[gold] for one in others) + ties * sum(one == scores[gold] for one in others)


def lists_of(rows):
    width = max(1, *map(len, rows), 0)
    return CandidateLists(torch.tensor([row + [-1] * (width - len(row)) for row in rows]).view(len(rows), width))


@settings(deadline=None, max_examples=200)
@given(case=cases(), protocol=st.sampled_from(sorted(PROTOCOLS)), limit=st.integers(1, 5))
def test_equals_the_naive_version(case, protocol, limit):
    scores, gold, lists = case
    found = ranks_under(protocol, torch.tensor(scores), torch.tensor(gold), lists_of(lists), limit).tolist()
    expected = [naive(protocol, *row, limit) for row in zip(scores, gold, lists, strict=True)]
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_gold_that_was_not_retrieved_is_a_miss_even_if_it_scores_best():
    lists, scores, gold = lists_of([[1, 2]]), torch.tensor([[9.0, 1.0, 2.0]]), torch.tensor([0])
    assert ranks_under("full_kb", scores, gold, lists).item() == 1
    assert ranks_under("candidates", scores, gold, lists).item() == math.inf
    assert math.isnan(ranks_under("candidates_normalised", scores, gold, lists).item())
    assert ranks_under("candidates_dim", scores, gold, lists).item() == 1


def test_labels_of_protocols():
    assert [name for name, one in PROTOCOLS.items() if one.comparable] == ["full_kb", "candidates"]
    assert {name: one.ties for name, one in PROTOCOLS.items() if one.ties != "mean"} == {"candidates_dim": "optimistic"}
    assert "flatters" in PROTOCOLS["candidates_dim"].meaning


def test_forcing_keeps_the_number_of_candidates():
    lists = lists_of([[0, 1, 2], [3], []]).forced(torch.tensor([5, 3, 4]), 3)
    assert lists.rows.tolist() == [[0, 1, 5], [3, -1, -1], [4, -1, -1]]


def test_recall():
    lists, gold = lists_of([[0, 1], [2, 1], [2, 0], [1]]), torch.tensor([0, 1, 1, -1])
    assert [lists.recall(gold, k) for k in (1, 2)] == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize(
    "candidates, message",
    [
        ({"m": ["e9"]}, "candidate 'e9' of mention 'm' is not in the entities"),
        ({"m": ["e1", "e1"]}, "at most 100 different"),
        ({"m": [f"e{n}" for n in range(101)]}, "at most 100 different"),
    ],
)
def test_invalid_lists_raise(candidates, message):
    with pytest.raises(ValueError, match=message):
        CandidateLists.from_ids(candidates, ["m"], {"e1": 0})


def test_unknown_protocols_and_missing_candidates_raise():
    with pytest.raises(ValueError, match="there is no protocol 'top'; there are full_kb, candidates"):
        find_protocol("top")
    with pytest.raises(ValueError, match="needs candidates"):
        ranks_under("candidates", torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), None)


def test_nan_raises_under_every_protocol():
    for protocol in PROTOCOLS:
        with pytest.raises(ValueError, match="nan in float32"):
            ranks_under(protocol, torch.tensor([[math.nan, 0.0]]), torch.tensor([1]), lists_of([[0, 1]]))


def test_limit_of_the_reference():
    assert [dim_limit(name) for name in ("x/wikidiverse", "WikiDiverse_plus/", "wikimel")] == [80, 80, 100]
