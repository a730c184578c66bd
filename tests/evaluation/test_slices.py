"""Slices of a small split with known rows."""

import torch

from dim.evaluation.slices import Table, make_slices


def table(**changes):
    columns = {
        "mentions": ["Beyoncé", "queen b", "Swift", "Ghost", "SWIFT"],
        "has_picture": [True, False, True, False, False],
        "entity_types": ["person", "", "bird", "", ""],
        "gold": torch.tensor([0, 0, 2, -1, 1]),
        "names": ["Beyonce", "Taylor Swift", "Swift"],
        "aliases": [["Queen B"], ["Swift"], []],
        "descriptions": ["singer " * 12, "", "a bird"],
        "types": ["artist", "person", "bird"],
        "enhanced": [True, False, False],
        "train_forms": ["Bey"],
        "train_gold": [0],
    }
    return Table(**{**columns, **changes})


def test_slices_of_each_row():
    found = {group: {n: m.tolist() for n, m in masks.items()} for group, masks in make_slices(table()).items()}
    yes, no = True, False
    assert found == {
        "name": {
            "equals the name": [yes, no, yes, no, no],
            "equals an alias": [no, yes, no, no, yes],
        },
        "picture": {"with picture": [yes, no, yes, no, no], "without picture": [no, yes, no, no, yes]},
        "form": {"ambiguous form": [no, no, yes, no, yes], "unambiguous form": [yes, yes, no, no, no]},
        "type": {
            "artist": [no, yes, no, no, no],
            "bird": [no, no, yes, no, no],
            "person": [yes, no, no, no, yes],
        },
        "description": {
            "11 to 30 words": [yes, yes, no, no, no],
            "1 to 10 words": [no, no, yes, no, no],
            "no description": [no, no, no, no, yes],
        },
        "enhancement": {"enhanced": [yes, yes, no, no, no], "original": [no, no, yes, no, yes]},
        "entity": {"seen in training": [yes, yes, no, no, no], "unseen in training": [no, no, yes, no, yes]},
    }


def test_a_form_with_two_answers_in_the_data_is_ambiguous():
    found = make_slices(table(aliases=[[], [], []], train_forms=["beyonce"], train_gold=[1]))
    assert found["form"]["ambiguous form"].tolist() == [True, False, True, False, True]


def test_groups_with_one_slice_are_omitted():
    found = make_slices(table(has_picture=[False] * 5, enhanced=[False] * 3, train_forms=(), train_gold=()))
    assert set(found) == {"name", "form", "type", "description"}


def test_rare_types_share_a_slice():
    kinds = [f"kind {number}" for number in range(10) for _ in range(10 - number)]
    count = len(kinds)
    rows = table(
        mentions=["Swift"] * count, has_picture=[True] * count, entity_types=kinds, gold=torch.ones(count).long()
    )
    masks = make_slices(rows)["type"]
    assert len(masks) == 9
    assert int(masks["other types"].sum()) == 3
