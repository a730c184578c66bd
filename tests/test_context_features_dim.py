"""Years against life spans, pronouns against gender: equal to a naive implementation, 0 without evidence."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dim.context_features_dim import CONTEXT_FEATURES, MAX_READ, ContextFeatures, gender, life_span


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Sex: male. Birth: 1971, Los Angeles. Religion: Judaism.", (1971, None)),
        ("Birth: 0063. Death: 014.", (63, 14)),
        ("Sex: male. Death: 1896, Paris.", (None, 1896)),
        ("Taylor Swift (born December 13, 1989) is an American singer.", (1989, None)),
        ("An actor born in Leeds on 4 May 1843; he died in 1896.", (1843, 1896)),
        ("Hans Holbein (c. 1497 - 1543) was a painter.", (1497, 1543)),
        ("A battle of 1815.", (None, None)),
        ("Born in Leeds. Moved in 1900.", (None, None)),  # another sentence's year is not the birth's
        ("", (None, None)),
    ],
)
def test_life_span(description, expected):
    assert life_span(description) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sex: female. Spouse: King Henry.", -1),
        ("Gender: Male.", 1),
        ("Her Majesty", -1),
        ("He and she", 0),
        ("There the thesis", 0),  # whole words only
        ("", 0),
    ],
)
def test_gender(text, expected):
    assert gender(text) == expected


def naive(years, birth, death):
    """One pair, feature by feature, in plain Python."""
    end = death if death is not None else None if birth is None else birth + 100
    if not years:
        return [0.0] * 7
    alive = birth is not None and end is not None and any(birth <= year <= end for year in years)
    before = [birth - year for year in years] if birth is not None else [0]
    after = [year - end for year in years] if end is not None else [0]
    age = min(years) - birth if birth is not None else -1
    return [
        float(alive),
        float(min(before) > 0),
        float(min(after) > 0),
        math.log1p(max(0, min(before))) / 5,
        math.log1p(max(0, min(after))) / 5,
        float(0 <= age < 16),
        float(16 <= age < 80),
    ]


@given(st.text("( )1298-–a.\u0661", max_size=24))
def test_a_life_span_in_brackets_is_what_a_regular_expression_finds(text):
    slow = re.search(r"\([^()]*?\b(\d{3,4})\b[^()\d]*[–—-][^()]*?\b(\d{3,4})\s*\)", text)
    assert life_span(text) == ((None, None) if slow is None else (int(slow[1]), int(slow[2])))


def test_the_beginning_of_a_description_is_read():
    assert life_span("x " * (MAX_READ // 2) + "(1497 - 1543)") == (None, None)
    assert life_span("x" * (MAX_READ - 13) + "(1497 - 1543) and more") == (1497, 1543)
    assert ContextFeatures(["x " * MAX_READ + "she"])(["She"])[0, 0].tolist() == [0.0] * len(CONTEXT_FEATURES)


YEARS = st.integers(1400, 2099)


@given(st.lists(YEARS, max_size=3), st.lists(st.tuples(st.none() | YEARS, st.none() | YEARS), min_size=1, max_size=4))
def test_equals_the_naive_pairs(years, lives):
    told = [
        " ".join(f"{word}: {year}." for word, year in zip(("Birth", "Death"), life, strict=True) if year is not None)
        for life in lives
    ]
    found = ContextFeatures(told)([" and ".join(f"{year}s" for year in years)])[0]
    expected = torch.tensor([[*naive(years, *life), 0.0, 0.0] for life in lives])
    torch.testing.assert_close(found, expected)


def test_rows_and_pairs_are_parts_of_the_whole():
    features = ContextFeatures(["Sex: male. Birth: 1900.", "Sex: female. Death: 1950.", ""])
    sentences = ["She, in 1940", "nothing", "In 1890 and 2010, his"]
    whole = features(sentences)
    assert whole.shape == (3, 3, len(CONTEXT_FEATURES))
    assert not whole[1].any()
    assert not whole[:, 2].any()
    assert whole[0, :, -2:].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert torch.equal(features(sentences, torch.tensor([2, 0])), whole[:, [2, 0]])
    rows = torch.tensor([[0, 1], [1, 1], [2, 0]])
    assert torch.equal(features(sentences, rows), whole[torch.arange(3)[:, None], rows])
