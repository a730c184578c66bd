"""Mentions by brackets, text and span: their meaning, and invalid ones."""

import re

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from dim.encoding.mention import NOWHERE
from dim.linking.mention import mention_row, one_picture_each, parse_brackets


def test_brackets_keep_offsets():
    text, spans = parse_brackets("a [[b c]] d [[b c]][[e]]")
    assert text == "a b c d b ce"
    assert [text[start:end] for start, end in spans] == ["b c", "b c", "e"]
    assert spans == [(2, 5), (8, 11), (11, 12)]


@hypothesis_given(st.text("[]\na", max_size=14))
def test_brackets_are_those_of_a_regular_expression(sentence):
    found = list(re.finditer(r"\[\[(.+?)\]\]", sentence))
    if not found:
        with pytest.raises(ValueError, match="Mark the mention"):
            parse_brackets(sentence)
        return
    text, spans = parse_brackets(sentence)
    assert text == re.sub(r"\[\[(.+?)\]\]", r"\1", sentence)
    assert [text[start:end] for start, end in spans] == [match[1] for match in found]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"text": "We saw [[Turkey]]."}, ("We saw Turkey.", "Turkey", 7, 13)),
        ({"text": "We saw Turkey.", "mention": "Turkey"}, ("We saw Turkey.", "Turkey", 7, 13)),
        ({"text": "he, the he", "span": (8, 10)}, ("he, the he", "he", 8, 10)),
        ({"text": "Nothing of it.", "mention": "Turkey"}, ("Nothing of it.", "Turkey", *NOWHERE)),
        ({"text": "", "mention": "Turkey"}, ("Turkey", "Turkey", 0, 6)),
    ],
)
def test_a_mention_is_a_row(given, expected):
    row = mention_row(given["text"], given.get("mention"), given.get("span"), "picture", "an answer")
    assert (row["sentence"], row["mention"], row["start"], row["end"]) == expected
    assert (row["image"], row["expert_answer"]) == ("picture", "an answer")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "We saw it."}, "Mark the mention by double brackets"),
        ({"text": "[[a]] and [[b]]"}, "2 mentions are marked; `link_sentence` links them all"),
        ({"text": "x", "mention": " "}, "The mention is empty"),
        ({"text": "x", "mention": "x", "span": (0, 1)}, "not both"),
        ({"text": "abc", "span": (2, 4)}, "does not lie in the sentence, which has 3 characters"),
        ({"text": "abc", "span": (1, 1)}, "does not lie in the sentence"),
    ],
)
def test_unclear_mentions_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        mention_row(given["text"], given.get("mention"), given.get("span"), None, None)


def test_several_pictures_are_rows_of_one():
    rows = [{"image": ["a", "b"]}, {"image": None}, {"image": []}, {"image": "c"}]
    single, owners = one_picture_each(rows)
    assert [row["image"] for row in single] == ["a", "b", None, None, "c"]
    assert owners == [0, 0, 1, 2, 3]
    assert one_picture_each(rows[3:]) == (rows[3:], None)
