"""Name features equal RapidFuzz pair by pair, over names and aliases, for any rows."""

import re
import string

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz
from rapidfuzz.distance import JaroWinkler

from dim.folding_dim import fold
from dim.name_features_dim import NAME_FEATURES, NameFeatures, name_words
from dim.names_dim import telling_signs

NAMES = ["Taylor Swift", "Taylor (band)", "Łódź", "…", "José de San Martín", "Swift"]
ALIASES = [["T-Swift", "Tay"], [], ["Lodz"], [], ["San Martín"], []]


def naive(mention, sentence, forms):
    """The features of one pair of names without telling signs, the maximum over the entity's forms."""
    own, rows = name_words(mention), []
    for form in forms:
        words = name_words(form)
        here = {*re.findall(r"[^\W_]+", fold(sentence)), *re.findall(r"(?<!\S)-+(?!\S)", sentence)}
        a, b = " ".join(own), " ".join(words)
        rows.append([
            float(a == b and telling_signs(mention) == telling_signs(form)),
            fuzz.ratio(a, b) / 100, fuzz.token_set_ratio(a, b) / 100,
            JaroWinkler.normalized_similarity(a, b), float(bool(own and words) and own[0] == words[0]),
            float(bool(own and words) and own[-1] == words[-1]),
            sum(word in here for word in set(words)) / max(1, len(set(words))),
        ])  # fmt: skip
    return [*np.max(rows, axis=0), float(forms[0].endswith(")"))]


@given(
    mention=st.text(string.ascii_letters[:6] + " é-", min_size=1, max_size=12),
    sentence=st.text(string.ascii_letters[:6] + " é-", max_size=30),
    entities=st.lists(
        st.lists(st.text(string.ascii_letters[:6] + " é-", min_size=1, max_size=12), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    ),
)
@settings(max_examples=80, deadline=None)
def test_equals_the_naive_pairs(mention, sentence, entities):
    features = NameFeatures([forms[0] for forms in entities], [forms[1:] for forms in entities])
    found = features([mention], [sentence])[0]
    expected = torch.tensor([naive(mention, sentence, forms) for forms in entities], dtype=torch.float32)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rows", [[0], [5, 2], [4, 0, 3], [1, 1]])
def test_rows_are_columns_of_the_whole(rows):
    features = NameFeatures(NAMES, ALIASES)
    mentions, sentences = ["Taylor", "LODZ", "Swift", "Taylor"], ["Swift sang.", "In Łódź.", "", "T-Swift!"]
    whole = features(mentions, sentences)
    assert whole.shape == (4, len(NAMES), len(NAME_FEATURES))
    assert torch.equal(features(mentions, sentences, torch.tensor(rows)), whole[:, rows])


def test_aliases_accents_and_qualifiers_count():
    equal = NAME_FEATURES.index("equal")
    assert NameFeatures(NAMES, ALIASES)(["LODZ"], ["x"])[0, 2, equal] == 1  # by its alias
    assert NameFeatures(NAMES)(["LODZ"], ["x"])[0, 2, equal] == 0  # the stroke of Ł is no accent
    features = NameFeatures(NAMES, ALIASES)(["san martin", "Taylor"], ["", "Taylor sings"])
    assert features[0, 4, equal] == 1
    assert features[1, :, NAME_FEATURES.index("qualified")].tolist() == [0, 1, 0, 0, 0, 0]
    assert features[1, 1, NAME_FEATURES.index("words_in_sentence")] == 1


def test_pairs_are_cells_of_the_whole():
    features = NameFeatures(NAMES, ALIASES)
    mentions, sentences = ["Taylor", "LODZ", "…", "Taylor"], ["Swift sang.", "In Łódź.", "", "T-Swift!"]
    rows = torch.tensor([[0, 5, 0], [2, 1, 3], [3, 3, 4], [4, 1, 0]])
    whole = features(mentions, sentences)
    assert torch.equal(features.pairs(mentions, sentences, rows), whole[torch.arange(4)[:, None], rows])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one entity"):
        NameFeatures([])
    with pytest.raises(ValueError, match="2 names, but aliases for 1"):
        NameFeatures(["a", "b"], [[]])


SIGNED = ["C", "C++", "C#", "F", "F#", ".NET", "NET", "!!!", "???", "?!", "$", "@", "\u262d", "🍕", "🍔", "👍", "👍🏽",
          "🇫🇷", "🇩🇪", "+44", "44", "Help", "Help!"]  # fmt: skip


@pytest.mark.parametrize("rows", [None, torch.arange(len(SIGNED)).expand(len(SIGNED), -1)])
def test_names_of_signs_equal_only_themselves(rows):
    features = NameFeatures(SIGNED)
    sentences = ["x"] * len(SIGNED)
    found = features(SIGNED, sentences) if rows is None else features.pairs(SIGNED, sentences, rows)
    assert torch.equal(found[:, :, NAME_FEATURES.index("equal")], torch.eye(len(SIGNED)))


@pytest.mark.parametrize("name, longer, alone", [
    ("भारत", "वह भारतीय है", "वह भारत में है"), ("தமிழ்", "தமிழ்நாடு", "அது தமிழ் மொழி"),
    ("বাংলা", "বাংলাদেশে", "সে বাংলা বলে"), ("מ", "מִ", "מ"), ("မ", "မြန်", "မ မာ"), ("ស", "សី", "ស"),
    ("محمد", "المحمدية", "ذهب محمد، ثم عاد"), ("ישראל", "הישראלים", "את ישראל."), ("C", "C++", "C, C++"),
    ("ไท", "มาไท่ย", "มาไท วันนี้"), ("서울", "서울은", "서울 은"),
])  # fmt: skip
def test_words_in_the_sentence_are_whole(name, longer, alone):
    found = NameFeatures([name])([name] * 2, [longer, alone])[:, 0, NAME_FEATURES.index("words_in_sentence")]
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize(
    "name, sentence",
    [("北京", "我在北京工作"), ("ไทย", "เขาไปประเทศไทยเมื่อวาน"), ("東京", "東京に住む"), ("IBM", "我在IBM公司工作")],
)
def test_a_name_is_found_in_a_script_without_spaces(name, sentence):
    assert NameFeatures([name])([name], [sentence])[0, 0, NAME_FEATURES.index("words_in_sentence")] == 1
