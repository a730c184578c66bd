"""Where a name is a whole word: in many scripts, with combining marks, signs and emoji; in time that grows linearly."""

import unicodedata

import pytest
from growth import grows

from dim.words_dim import find_mention, is_character_border, occurrences


def whole(name, sentence):
    return list(occurrences(sentence, name, whole_words=True))


NAMES_BEFORE_LETTERS = [
    ("हिन्द", "हिन्दी भाषा"),  # a name that ends before a vowel sign
    ("भारत", "भारतीय"),
    ("தமிழ", "தமிழ்"),
    ("தமிழ்", "தமிழ்நாடு"),
    ("বাংলাদেশ", "বাংলাদেশের"),
    ("తెలుగ", "తెలుగు"),
    ("ไท", "ไท่ย"),
    ("ไทย", "คนไทย"),
    ("محمد", "محمدين"),
    ("محمد", "مُحمدٌ".replace("ُ", "")),
    ("كتاب", "كتاب\u200cها"),  # a zero-width non-joiner is within a word
    ("ישרא", "יִשְׂרָאֵל"),
    ("שלום", "שלומ\u05b4ים".replace("מ", "ם")),
    ("ខ្មែ", "ខ្មែរ"),
    ("មែរ", "ខ្មែរ"),  # below the consonant before
    ("မြန်", "မြန်မာ"),
    ("မ", "မြန်မာ"),
    ("ລາ", "ລາວ"),
    ("서울", "서울은"),
    ("Cafe", "Cafe\u0301"),
    ("Donau", "Donau\u00addampfer"),
    ("Ιθακ", "Ιθάκη"),
    ("Росси", "Россия"),
    ("Հայ", "Հայաստան"),
    ("საქართველო", "საქართველოს"),
    ("C", "C++"),
    ("C", "C#"),
    ("NET", ".NET"),
    (".NET", "ASP.NET"),
    ("!!", "!!!"),
    ("🇫", "🇫🇷"),
    ("👍", "👍🏽"),
    ("👨", "👨\u200d👩\u200d👧"),
    ("👧", "👨\u200d👩\u200d👧"),
    ("🏴", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"),
    ("1", "1\ufe0f\u20e3"),
    ("1", "1,000"),
    ("000", "1,000"),
    ("14", "3.14"),
    ("3", "3.14"),
    ("10", "10\u2019000"),
    ("١", "١٫٥".replace("٫", ".")),
]


@pytest.mark.parametrize("name, longer", NAMES_BEFORE_LETTERS)
def test_a_name_inside_a_longer_word_is_no_whole_word(name, longer):
    assert whole(name, longer) == []
    sentence = f"{longer}, {name}."
    assert find_mention(sentence, name) == (len(longer) + 2, len(longer) + 2 + len(name))


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("भारत", "वह भारत में है"),
        ("हिन्दी", "(हिन्दी)।"),
        ("محمد", "ذهب محمد، ثم عاد"),
        ("ישראל", "\u200fישראל\u200f היא"),  # direction marks are not part of the word
        ("România", "în România."),
        ("Obama", "Obama's dog"),
        ("C++", "C++, C"),
        ("C#", "in C#."),
        ("F#", "F#"),
        (".NET", "a .NET program"),
        ("IBM", "我在IBM公司工作"),
        ("Toyota", "Toyotaは"),
        ("北京", "我爱(北京)"),
        ("ไทย", "ประเทศ ไทย"),
        ("ไทย", "ประเทศ\u200bไทย"),  # the zero-width space separates words
        ("🍕", "Pizza🍕and"),
        ("🇩🇪", "🇫🇷🇩🇪"),
        ("!!!", "I saw !!! live"),
        ("A", "A+B"),
    ],
)
def test_a_name_of_its_own_is_a_whole_word(name, sentence):
    start = sentence.index(name)
    assert whole(name, sentence) == [(start, start + len(name))]


def test_a_name_within_a_script_without_spaces_is_found():
    assert find_mention("我在北京工作", "北京") == (2, 4)
    assert find_mention("มาประเทศไทยวันนี้", "ไทย") == (8, 11)


def test_a_part_of_a_character_is_the_last_resort():
    assert find_mention("বাংলাদেশের মানুষ", "বাংলাদেশ") == (0, 8)
    assert find_mention("Cafe\u0301, cafe Cafes", "Cafe") == (12, 16)


@pytest.mark.parametrize("text", ["é", "각", "한", "ḍ̇", "ซ้ำ", "क़ी"])
def test_borders_of_characters_are_those_of_the_composed_form(text):
    decomposed = unicodedata.normalize("NFD", text)
    inner = [index for index in range(1, len(decomposed)) if not is_character_border(decomposed, index)]
    assert inner or len(unicodedata.normalize("NFC", text)) == 1


@pytest.mark.parametrize(
    "sentence, mention",
    [
        ("a" * 20_000, "a"),
        ("a" * 20_000, "a" * 10_000 + "b" + "a" * 10),
        ("a" * 20_001, "a" * 10_000),
        ("a\u0301" * 10_000, "a"),
        ("\u0301" * 20_000, "\u0301"),
        ("\u200f" * 20_000, "\u200f"),
        ("🇫" * 20_000, "🇫"),
        ("👨\u200d" * 10_000, "👨"),
        ("!" * 20_000, "!"),
        ("C" + "+" * 20_000, "C"),
        ("+" * 20_000, "++"),
        ("ก" * 20_000, "ก"),
        (" " * 20_000 + "x", "x"),
    ],
)
def test_time_grows_with_the_length(sentence, mention):
    def read(text):
        list(occurrences(text, mention, whole_words=True))
        if mention in text:
            find_mention(text, mention)

    assert not grows(read, sentence, sentence * 4, floor=0.005)
