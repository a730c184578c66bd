"""Lengths of time as users write them."""

from datetime import timedelta

import pytest

from dim.common.ages import read_age


@pytest.mark.parametrize(("text", "age"), [
    ("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)), ("4w", timedelta(weeks=4)),
])  # fmt: skip
def test_ages(text, age):
    assert read_age(text, units="mhdw") == age


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "1y", "30m", " 4w ", "100000d"])
def test_no_age(text):
    assert read_age(text) is None
