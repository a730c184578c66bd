"""Mentions are found where they stand, by the surest rule, and are not found where they do not stand."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from growth import grows
from hypothesis import given
from hypothesis import strategies as st

from dim.common.offsets import ABSENT, AMBIGUOUS, find_span, find_spans
from dim.common.text import Folded, words
from dim.folding_dim import fold
from dim.words_dim import find_mention, occurrences

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LETTERS = st.text("aAáeÉßsS .,'’-ıİ½\u0301\nいЖ", max_size=12)
NAMES = st.lists(st.sampled_from(["Ada", "Byron", "King", "von", "of", "Élise", "I", "met", "O'Neil"]), max_size=6)


@pytest.mark.parametrize(
    ("sentence", "mention", "found", "rule"),
    [
        ("The hen and he.", "he", "he", "verbatim"),
        ("The Obamas arrived.", "Obama", "Obama", "inside a word"),
        ("It cost US$12 then.", "$", "$", "inside a word"),
        ("They saw Ada there.", "  Ada ", "Ada", "verbatim"),
        ("Faris al-Sultan is a coach.", "Al-Sultan", "al-Sultan", "letter case"),
        ("Karl Weierstrass taught.", "Weierstraß", "Weierstrass", "letter case"),
        ("Tadamori Ōshima spoke.", "Oshima", "Ōshima", "accents"),
        ("We heard Beyonce\u0301 sing.", "Beyoncé", "Beyonce\u0301", "accents"),
        ("We heard Beyoncé sing.", "Beyonce\u0301", "Beyoncé", "accents"),
        ("John Roe, 1st Earl Roe, sat.", "John Roe 1st Earl Roe", "John Roe, 1st Earl Roe", "punctuation"),
        ("A coat of Ada\n Roe here.", "Ada Roe", "Ada\n Roe", "punctuation"),
        ("She met Lil' Roe.", "Lil’ Roe", "Lil' Roe", "punctuation"),
        ("The tour of Germany ended.", "Germany's", "Germany", "possessive"),
        ("Roe’s dog Rex barked.", "Roe dog Rex", "Roe’s dog Rex", "possessive"),
        ("Then Otto von Roe left.", "Otto Roe", "Otto von Roe", "small words"),
        ("August von und zu Roe left.", "August Roe", "August von und zu Roe", "small words"),
        ("Karl Eduard Roe left.", "Karl Eduard von Roe", "Karl Eduard Roe", "small words"),
        ("Russell J. Waters left.", "Russell Waters", "Russell J. Waters", "small words"),
        ("Mary II of Somewhere left.", "Mary Somewhere", "Mary II of Somewhere", "small words"),
        ("In 1990 Roe left.", "Ada Roe", "Roe", "part of the name"),
        ("President Roe left.", "Ada Roe", "Roe", "part of the name"),
        ("Ada left.", "Ada Roe", "Ada", "part of the name"),
        ("Ada Roe left.", "Dr. Ada Roe", "Ada Roe", "part of the name"),
        ("Ada Roe was a doctor; he knew.", "Ada Roe (1815) was a doctor; Roe", "Ada Roe", "part of the name"),
    ],
)
def test_rules(sentence, mention, found, rule):
    start, end, by = find_span(sentence, mention)
    assert (sentence[start:end], by) == (found, rule)


@pytest.mark.parametrize(
    ("sentence", "mention"),
    [
        ("The hen left.", "he is"),
        ("Mary Roe left.", "Ada Roe"),  # another first name
        ("Ada Lane left.", "Ada Roe"),  # another last name
        ("Mary von Roe left.", "Ada Roe"),  # bound by a particle
        ('Mary "May" Roe left.', "Ada Roe"),
        ("The Earl left.", "Earl Roe"),  # a title is no name
        ("Albert of Prussia left.", "Oskar of Prussia"),  # nor is a place
        ("The Duke of Sussex left.", "George Duke of Sussex"),
        ("Saxe is a place.", "Saxe-Lane"),  # half of a hyphenated name
        ("He was a doctor.", "Ada Roe was a doctor"),
        ("Ada left.", "Ada was a doctor"),  # one name of what is no name
        ("Malcolm left.", "X Y"),
        ("The 2 left ½ of it.", "1"),  # half a character
        ("Anything.", "\u0301"),
        ("Anything.", "—"),
        ("", "Ada"),
        ("Anything.", " "),
    ],
)
def test_what_is_not_there_is_not_found(sentence, mention):
    assert find_span(sentence, mention) == (-1, -1, ABSENT)


@pytest.mark.parametrize("sentence", ["Ada, who met the older Roe, left.", "Ada and then von Roe left."])
def test_two_parts_in_different_places_are_ambiguous(sentence):
    assert find_span(sentence, "Ada Roe") == (-1, -1, AMBIGUOUS)


def test_the_same_mention_again_is_its_next_occurrence():
    sentence = "Ada met Ada's friend Adam and Ada."
    found = find_spans(sentence, ["Ada", "Adam", "Ada", "Ada ", "Ada"])
    assert [span[0] for span in found] == [0, 21, 8, 30, 0]
    assert {rule for *_, rule in found} == {"verbatim"}


def test_occurrences_do_not_overlap():
    assert [span[:2] for span in find_spans("a a a a", ["a a"] * 3)] == [(0, 3), (4, 7), (0, 3)]


@given(LETTERS, LETTERS)
def test_verbatim_always_wins_and_agrees_with_the_processor(sentence, mention):
    if mention.strip() and mention.strip() in sentence:
        start, end, rule = find_span(sentence, mention)
        if rule in ("letter case", "accents"):  # where the mention itself would cut a character from its accent
            assert not list(occurrences(sentence, mention.strip(), whole_words=False))
            return
        assert rule in ("verbatim", "inside a word")
        assert (start, end) == find_mention(sentence, mention.strip())


@given(st.text(max_size=30), st.text(max_size=10), st.integers(0, 3))
def test_any_text_gives_a_slice_or_a_reason(sentence, mention, occurrence):
    start, end, rule = find_span(sentence, mention, occurrence)
    if rule in (ABSENT, AMBIGUOUS):
        assert (start, end) == (-1, -1)
    else:
        assert 0 <= start < end <= len(sentence)


@given(LETTERS, LETTERS, LETTERS)
def test_what_is_found_reads_like_the_mention(before, mention, after):
    """What each of the first rules ignores is all that differs."""
    sentence = f"{before} {mention.upper()} {after}"
    start, end, rule = find_span(sentence, mention)
    found = sentence[start:end]
    if rule in ("letter case", "accents"):
        assert fold(found) == fold(mention.strip())
    elif rule == "punctuation":
        assert [word.form for word in words(found)] == [word.form for word in words(mention)]


@given(NAMES, NAMES)
def test_what_is_found_of_a_name_is_words_of_it(line, name):
    sentence, mention = " ".join(line), " ".join(name)
    start, end, rule = find_span(sentence, mention)
    if rule in ("small words", "part of the name"):
        left = Counter(word.form for word in words(sentence[start:end]) if not (word.is_small or word.is_number))
        assert left <= Counter(word.form for word in words(mention))
        assert sentence[start:end] in sentence
        assert not re.search(r"^\s|\s$", sentence[start:end])


@given(st.text(alphabet="aÁß½ﬁ\u0301x", max_size=8))
def test_folded_offsets_lead_back(text):
    """Each slice that does not cut a character folds to the slice of the folded text."""
    folded = Folded(text)
    assert folded.text == fold(text) == "".join(fold(character) for character in text)
    for start in range(len(folded.text)):
        for end in range(start + 1, len(folded.text) + 1):
            span = folded.span(start, end)
            if span:
                assert fold(text[slice(*span)]) == folded.text[start:end]


def test_fold_keeps_the_marks_of_other_scripts():
    assert fold("हिन्दी") == unicodedata.normalize("NFKD", "हिन्दी")


def real(name: str) -> list[tuple[str, list[str]]]:
    if not (DATA / name).is_file():
        pytest.skip("needs ../shared/data")
    rows = json.loads((DATA / name).read_text("utf-8")).values()
    return [
        (row["sentence"], row["mentions"] if isinstance(row["mentions"], list) else [row["mentions"]]) for row in rows
    ]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "missing", "expected"),
    [
        (
            "melbench/Wikidata-MEL.json",
            584,
            {"small words": 552, "punctuation": 25, "part of the name": 4, AMBIGUOUS: 2, ABSENT: 1},
        ),
        ("melbench/Richpedia-MEL.json", 502, {"punctuation": 501, "part of the name": 1}),
    ],
)
def test_mentions_that_are_not_verbatim_in_their_sentence(name, missing, expected):
    rules: Counter[str] = Counter()
    for sentence, mentions in real(name):
        found = find_spans(sentence, mentions)
        rules.update(by for mention, (*_, by) in zip(mentions, found, strict=True) if mention not in sentence)
    assert rules.total() == missing
    assert rules == expected


@pytest.mark.parametrize("sentence, mention, span", [
    ("वह भारतीय भारत में है", "भारत", (10, 14, "verbatim")),
    ("বাংলাদেশের মানুষ", "বাংলাদেশ", (0, 8, "inside a word")),  # a case ending is written on the name
    ("Cafe\u0301 Roma", "Cafe", (0, 5, "accents")),
    ("Cafe\u0301 Roma", "CAFÉ", (0, 5, "accents")),
    ("שָׁלוֹם, שלום", "שלום", (9, 13, "verbatim")),
    ("I like C++ and C", "C", (15, 16, "verbatim")),
    ("我在北京工作", "北京", (2, 4, "inside a word")),
    ("我在IBM工作", "IBM", (2, 5, "verbatim")),
])  # fmt: skip
def test_marks_and_signs_belong_to_their_word(sentence, mention, span):
    assert find_span(sentence, mention) == span


@pytest.mark.parametrize("sentence, mention", [
    ("a " * 5_000, "a " * 4_000 + "b"),
    ("A von " * 3_000, "A von B C " * 20),
    ("s's " * 5_000, "x's y"),
    ("a\u0301" * 10_000, "A"),
    ("Ada " * 5_000, "Ada Byron Lovelace"),
])  # fmt: skip
def test_time_grows_with_the_length(sentence, mention):
    assert not grows(lambda text: find_span(text, mention), sentence, sentence * 4, floor=0.01)
