"""Splits that are made are disjoint and repeatable; splits that are cleaned share nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dim.corpora.release import Mention, Rejected, Release
from dim.corpora.splits import clean, disjoint_splits, seeded_order
from dim.folding_dim import fold

SPLITS = ("train", "validation", "test")


def release(*mentions: Mention) -> Release:
    return Release("jsonl", list(mentions), [], notes=["kept"], rows_in=len(mentions))


def test_the_order_is_that_of_a_hash_and_stays_so():
    """A change here changes every published id and split."""
    assert seeded_order(["Q1", "Q2", "Q3", "Q4", "Q5"], seed=0) == ["Q1", "Q4", "Q5", "Q3", "Q2"]
    assert seeded_order(["Q1", "Q2", "Q3", "Q4", "Q5"], seed=1) != seeded_order(["Q1", "Q2", "Q3", "Q4", "Q5"], seed=0)


@given(st.lists(st.text(max_size=4), max_size=40), st.integers(), st.randoms())
def test_the_order_depends_on_ids_and_seed_alone(ids, seed, shuffler):
    shuffled = [*ids, *ids[:3]]
    shuffler.shuffle(shuffled)
    assert seeded_order(shuffled, seed) == seeded_order(ids, seed)
    assert sorted(seeded_order(ids, seed)) == sorted(set(ids))


@pytest.mark.parametrize(
    ("groups", "sizes"), [(9, (9, 0, 0)), (10, (8, 1, 1)), (99, (81, 9, 9)), (1000, (800, 100, 100))]
)
def test_tenths_are_exact(groups, sizes):
    splits = disjoint_splits([f"Q{number}" for number in range(groups)], seed=7)
    assert tuple(list(splits.values()).count(split) for split in SPLITS) == sizes


def test_one_split_can_be_held_out_alone():
    splits = disjoint_splits([f"Q{number}" for number in range(50)], seed=0, held_out=("validation",))
    assert [list(splits.values()).count(split) for split in SPLITS] == [45, 5, 0]


def test_numbers_do_not_tell_the_split():
    """The held-out groups are not the first or last ones of the file."""
    splits = disjoint_splits([f"Q{number}" for number in range(1000)], seed=0)
    places = [number for number in range(1000) if splits[f"Q{number}"] == "test"]
    assert 350 < sum(places) / len(places) < 650


ROWS = [
    Mention("a", "Ada met Roe.", "Ada", "train"),
    Mention("b", "ada met  ROÉ", "Ada", "validation"),
    Mention("c", "Someone else.", "Someone", "train", image="1.jpg", image_id="p1"),
    Mention("d", "And another.", "another", "test", image="1.jpg", image_id="p1"),
    Mention("e", "A third one.", "third", "validation", image="2.jpg", image_id="p2"),
    Mention("f", "A fourth one.", "fourth", "test", image="3.jpg", image_id="p3"),
    Mention("g", "A fifth one.", "fifth", "train", image="4.jpg", image_id="p4"),
]


def test_what_is_shared_is_dropped_from_the_earlier_split():
    before = release(*ROWS)
    cleaned, dropped = clean(before)
    assert [mention.id for mention in cleaned.mentions] == ["b", "d", "e", "f", "g"]
    assert dropped == [
        Rejected("train", "a", "its sentence is also in validation"),
        Rejected("train", "c", "its picture is also in test"),
    ]
    assert cleaned.notes == [
        "kept",
        "Dropped from train, its picture is also in test: 1.",
        "Dropped from train, its sentence is also in validation: 1.",
    ]
    assert before.notes == ["kept"]
    assert len(before.mentions) == len(ROWS)


def test_pictures_are_compared_by_content_where_it_is_known():
    cleaned, dropped = clean(release(*ROWS), {"p2": "same", "p3": "same", "p4": "same"})
    assert {leak.key: (leak.file, leak.reason) for leak in dropped} == {
        "a": ("train", "its sentence is also in validation"),
        "c": ("train", "its picture is also in test"),
        "e": ("validation", "its picture is also in test"),
        "g": ("train", "its picture is also in test"),
    }
    assert [mention.id for mention in cleaned.mentions] == ["b", "d", "f"]


def test_a_row_that_is_dropped_drops_no_other():
    """The validation row goes for its picture, so the training row may keep the sentence that only it had."""
    rows = [
        Mention("a", "Ada met Roe.", "Ada", "train", image_id="p1"),
        Mention("b", "Ada met Roe.", "Ada", "validation", image_id="p2"),
        Mention("c", "Another.", "Another", "test", image_id="p2"),
    ]
    cleaned, dropped = clean(release(*rows))
    assert [leak.key for leak in dropped] == ["b"]
    assert [mention.id for mention in cleaned.mentions] == ["a", "c"]


def test_rows_without_a_picture_share_none():
    rows = [Mention("a", "One.", "One", "train"), Mention("b", "Two.", "Two", "test")]
    assert clean(release(*rows), {"": "x"})[1] == []


def test_sentences_without_words_are_compared_as_they_are():
    rows = [Mention("a", "!!", "!", "train"), Mention("b", "??", "?", "test"), Mention("c", "??", "?", "train")]
    assert [leak.key for leak in clean(release(*rows))[1]] == ["c"]


MENTIONS = st.builds(
    Mention,
    id=st.just(""),
    sentence=st.sampled_from(["One.", "one", "Two!", "Thrée", "Three"]),
    mention=st.just("x"),
    split=st.sampled_from(SPLITS),
    image=st.sampled_from(["", "1.jpg", "2.jpg"]),
    image_id=st.sampled_from(["", "p1", "p2", "p3"]),
)


@given(st.lists(MENTIONS, max_size=12), st.dictionaries(st.sampled_from(["p1", "p2", "p3"]), st.sampled_from("xy")))
def test_against_a_naive_oracle(mentions, pictures):
    rows = [replace(mention, id=str(number)) for number, mention in enumerate(mentions)]
    random.Random(0).shuffle(rows)

    def same(left: Mention, right: Mention) -> bool:
        hashes = pictures.get(left.image_id), pictures.get(right.image_id)
        return (
            fold(left.sentence).strip(".! ") == fold(right.sentence).strip(".! ")
            or (left.image != "" and left.image == right.image)
            or (left.image_id != "" and left.image_id == right.image_id)
            or (hashes[0] is not None and hashes[0] == hashes[1])
        )

    def kept_of(split: str, *later: list[Mention]) -> list[Mention]:
        others = [other for held in later for other in held]
        return [row for row in rows if row.split == split and not any(same(row, other) for other in others)]

    test = kept_of("test")
    validation = kept_of("validation", test)
    train = kept_of("train", validation, test)
    cleaned, dropped = clean(release(*rows), pictures)
    expected = {row.id for row in (*train, *validation, *test)}
    assert [row.id for row in cleaned.mentions] == [row.id for row in rows if row.id in expected]
    assert {leak.key for leak in dropped} == {row.id for row in rows} - expected
