"""Ids as row indices."""

import pytest

from dim.common.ids import gold_indices, index_of
from dim.errors import DIMError


def test_ids_map_to_rows():
    assert index_of([]) == {}
    assert gold_indices(["m1", "m2", "m3"], ["b", "", "a"], index_of(["a", "b"])) == [1, -1, 0]


def test_repeated_and_unknown_ids_are_named():
    with pytest.raises(DIMError, match="The id 'b' occurs more than once"):
        index_of(["a", "b", "c", "b"])
    with pytest.raises(DIMError, match="The entity 'x' of mention 'm2' is not in the entities"):
        gold_indices(["m1", "m2"], ["a", "x"], {"a": 0})
