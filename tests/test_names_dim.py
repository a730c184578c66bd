"""Words and telling signs of names: names that differ stay apart, in any script and any normal form."""

import itertools
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from dim.common.text import words
from dim.folding_dim import composed, decomposed, fold
from dim.names_dim import name_words, sentence_words, telling_signs, without_qualifier

SIGNED = ["C", "C++", "C#", "C--", "C*", "F", "F#", "J", "J++", ".NET", "NET", "ASP.NET", "A", "A+", "A-", "A*", "1",
          "+1", "-1", "Help", "Help!", "Help?", "Help?!", "5", "$5", "€5", "Who", "¿Who?", "A+B", "A B", "Q#", "Q",
          "100%", "100", "★", "☆", "☭", "$", "€", "@", "#", "&", "!!!", "???", "?!", "!?", "!", "!!", "…", "·", "≠",
          "=", "+", "++", "+44", "44", "🅰️", "A️"[:1] + "B"]  # fmt: skip
EMOJI = ["🍕", "🍔", "👍", "👍🏽", "👍🏿", "👨\u200d👩\u200d👧", "👨👩👧", "👩\u200d👩\u200d👧", "🇫🇷", "🇩🇪",
         "🇫🇷🇩🇪", "🏴",
         "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
         "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "🏳️\u200d🌈", "🏳️", "1️⃣", "2️⃣", "#️⃣", "1", "ℹ️",
         "i",
         "Ⓜ️", "m", "‼️", "⁉️", "!!", "🈚", "無", "❤️", "🧡", "❤️\u200d🔥", "®️", "©️", "™️"]  # fmt: skip


def key(name):
    return tuple(name_words(name)), telling_signs(name)


@pytest.mark.parametrize("names", [SIGNED, EMOJI])
def test_names_that_differ_in_signs_are_told_apart(names):
    same = [pair for pair in itertools.combinations(names, 2) if key(pair[0]) == key(pair[1])]
    assert same == []


@given(st.lists(st.characters(categories=("So",)), min_size=2, max_size=2, unique=True))
def test_two_symbols_are_told_apart(pair):
    forms = [unicodedata.normalize("NFKD", sign) for sign in pair]
    assert (key(pair[0]) == key(pair[1])) <= (forms[0] == forms[1] or any(form.isalnum() for form in forms))


def test_every_two_emoji_are_told_apart():
    emoji = [chr(code) for code in range(0x80, 0x1FAFF) if regex.match(r"\p{Emoji}", chr(code))]
    emoji = [sign + "\ufe0f" if sign in "©®™" else sign for sign in emoji]
    assert len({key(sign) for sign in emoji}) == len(emoji) > 1300
    assert not {key(sign) for sign in emoji} & {key(letter) for letter in "aimpox無得合空"}


@pytest.mark.parametrize("one, other", [
    ("Martin L. King, Jr.", "martin l king jr"), ("Beyoncé Knowles-Carter (singer)", "BEYONCE KNOWLES CARTER"),
    ("O'Hara", "O’Hara"), ("AC/DC", "AC DC"), ("#MeToo", "MeToo"), ("❤️", "❤"),
    ("ශ්\u200dරී", "ශ්රී"), ("St. John", "St John"),
    ("\u200fישראל", "ישראל"), ("Do\u00adnau", "Donau"), ("!!! (band)", "!!!"), ("!!!", "！！！"),
    ("Rock & Roll", "Rock/Roll"),
])  # fmt: skip
def test_names_that_differ_in_nothing_that_counts_are_one(one, other):
    assert key(one) == key(other)


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Z", "Cf")), max_size=12))
def test_composed_and_decomposed_names_are_one(name):
    assert key(unicodedata.normalize("NFC", name)) == key(unicodedata.normalize("NFD", name))


@pytest.mark.parametrize("text", ["أُمّة", "שָׁלוֹם", "각하", "ガギ", "ḍ̇", "ạ̈"])
def test_folding_does_not_depend_on_the_normal_form(text):
    assert fold(unicodedata.normalize("NFC", text)) == fold(unicodedata.normalize("NFD", text))


@given(st.text())
def test_decomposed_is_the_canonical_form(text):
    assert decomposed(text) == unicodedata.normalize("NFD", text)
    assert composed(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    "name", ["हिन्दी", "தமிழ்", "తెలుగు", "বাংলা", "മലയാളം", "ไทย", "ລາວ", "ខ្មែរ", "မြန်မာ", "שָׁלוֹם", "مُحَمَّد"]
)
def test_marks_belong_to_their_word(name):
    assert len(name_words(name)) == 1
    assert len(words(name)) == 1


@pytest.mark.parametrize("sentence, name, expected", [
    ("I like C++.", "C++", True), ("I like C++.", "C", False), ("C# or F#?", "F", False), ("C# or F#?", "F#", True),
    ("We heard !!! live", "!!!", True), ("Wait!!!", "!!!", False), ("Good 🍕yes", "🍕", True),
    ("Good 👍🏽", "👍", False),
    ("वह भारतीय है", "भारत", False), ("वह भारत में है", "भारत", True), ("Cafe\u0301s", "cafe", False),
])  # fmt: skip
def test_words_of_a_sentence(sentence, name, expected):
    assert (set(name_words(name)) <= sentence_words(sentence)) == expected


@given(st.text("() ab\n", max_size=12))
def test_a_qualifier_is_what_a_regular_expression_finds(name):
    assert without_qualifier(name) == regex.sub(r"\([^()]*\)\s*\Z", "", name)
