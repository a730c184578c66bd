"""Mapping of ids and labels to indices."""

import pytest

from dim.common.ids import gold_indices, group_indices, index_of
from dim.errors import DIMError


def test_ids_and_labels_become_indices():
    assert index_of([]) == {}
    assert gold_indices(["m1", "m2", "m3"], ["b", "", "a"], index_of(["a", "b"]), "data, train") == [1, -1, 0]
    assert group_indices([(1, "a"), None, (1, "a"), "b"]) == [0, 1, 0, 2]


def test_repeated_and_unknown_ids_are_named():
    with pytest.raises(DIMError, match="The id 'b' occurs more than once"):
        index_of(["a", "b", "c", "b"])
    with pytest.raises(DIMError, match="data, train: the entity 'x' of mention 'm2' is not in the entities"):
        gold_indices(["m1", "m2"], ["a", "x"], {"a": 0}, "data, train")
