"""The name matcher against exact values and a naive version."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from dim.evaluation.systems import name_match
from dim.evaluation.systems.baselines import BM25, CharNgrams, FuzzyName
from dim.evaluation.systems.name_match import NameMatch, comparable

WORDS = st.text(alphabet="abÀéß Łи1.-", min_size=1, max_size=12).filter(str.strip)


def naive_score(mention: str, forms: list[str]) -> float:
    """Scores one mention against one entity's forms, pair by pair."""
    pairs = [(comparable(mention), comparable(form)) for form in forms]
    return max(fuzz.token_set_ratio(a, b) + fuzz.ratio(a, b) / 1000 for a, b in pairs)


@settings(deadline=None)
@given(
    mentions=st.lists(WORDS, max_size=6),
    entities=st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=6),
)
def test_equals_the_oracle(mentions, entities):
    match = NameMatch([forms[0] for forms in entities], [forms[1:] for forms in entities])
    scores = match.scores(mentions)
    assert scores.shape == (len(mentions), len(entities))
    assert scores.dtype == torch.float32
    expected = [[naive_score(mention, forms) for forms in entities] for mention in mentions]
    torch.testing.assert_close(scores, torch.tensor(expected).view(scores.shape), rtol=0, atol=2e-5)


def test_exact_scores():
    match = NameMatch(["Taylor Swift", "Swift", "Paris"])
    scores = match.scores(["Swift", "abc"])
    # "swift" in "taylor swift": token set 100, ratio 200 * 5 / (5 + 12); "abc" and "paris": one letter in common, "a"
    expected = [[100 + 1000 / 17 / 1000, 100.1, 0], [0, 0, 200 / 8 * 1.001]]
    expected[0][2] = fuzz.token_set_ratio("swift", "paris") + fuzz.ratio("swift", "paris") / 1000
    expected[1][:2] = [fuzz.ratio("abc", name) * 1.001 for name in ("taylor swift", "swift")]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=0, atol=2e-5)


def test_the_order_of_words_counts_only_between_equal_token_sets():
    scores = NameMatch(["Swift Taylor", "Taylor Swift", "Taylor Alison Swift"]).scores(["Taylor Swift"])
    assert scores.argsort(descending=True).tolist() == [[1, 2, 0]]
    assert scores.min() > 100


def test_the_best_of_name_and_aliases_counts():
    names, aliases = ["Sir Elton John", "Reg Strikes"], [["Reginald Dwight", "Elton"], []]
    scores = NameMatch(names, aliases).scores(["Reginald Dwight", "Elton", "Reg Strikes"])
    hundred = torch.tensor(100.1)
    assert torch.equal(scores[[0, 1, 2], [0, 0, 1]], hundred.expand(3))
    assert torch.equal(scores[0, 0], NameMatch(aliases[0]).scores(["Reginald Dwight"]).max())
    assert NameMatch(names).scores(["Reginald Dwight"])[0, 0] < 60


def test_entities_with_the_same_name_tie():
    scores = NameMatch(["Springfield", "Paris", "Springfield"]).scores(["springfield"])
    assert scores[0, 0] == scores[0, 2] > scores[0, 1]


def test_comparable():
    forms = {
        "BEYONCÉ": "beyonce",
        "Straße": "strasse",
        "Dvořák": "dvorak",
        "İstanbul": "istanbul",
        "ΆΡΗΣ": "αρησ",
        "ﬁrst": "first",
        "Łódź": "łodz",  # the bar is no mark
        "हिन्दी": "हिन्दी",  # vowel signs are letters
        "ガ": "ガ",
        "서울": "서울",
    }
    assert {text: comparable(text) for text in forms} == forms
    assert {form: comparable(form) for form in forms.values()} == {form: form for form in forms.values()}


def test_case_and_accents_do_not_count():
    assert NameMatch(["Beyoncé Knowles"]).scores(["BEYONCE KNOWLES"]).item() == torch.tensor(100.1).item()


def test_equal_mentions_are_scored_once(monkeypatch):
    seen = []
    cdist = name_match.process.cdist
    monkeypatch.setattr(name_match.process, "cdist", lambda a, b, **kw: seen.append(list(a)) or cdist(a, b, **kw))
    scores = NameMatch(["Paris", "Rome"]).scores(["Rome", "rome", "Paris", "Rome"])
    assert seen == [["rome", "paris"]] * 2
    assert scores.argmax(dim=1).tolist() == [1, 1, 0, 1]
    assert torch.equal(scores[0], scores[3])


def test_no_mentions():
    assert NameMatch(["Paris", "Rome"]).scores([]).shape == (0, 2)


@pytest.mark.parametrize(
    "names, aliases, message",
    [
        ([], None, "names is empty"),
        (["a", "b"], [["c"]], "aliases has 1 entries for 2 names"),
        (["a", " "], None, r"names\[1\] or one of its aliases is blank"),
        (["a", "b"], [["c", ""], []], r"names\[0\] or one of its aliases is blank"),
        (["a"], ["alias"], r"aliases\[0\] is the string 'alias'"),
    ],
)
def test_invalid_names_raise(names, aliases, message):
    with pytest.raises(ValueError, match=message):
        NameMatch(names, aliases)


@pytest.mark.parametrize("mentions, message", [("Paris", "is the string 'Paris'"), (["a", "\t"], r"mentions\[1\] is")])
def test_invalid_mentions_raise(mentions, message):
    with pytest.raises(ValueError, match=message):
        NameMatch(["a"]).scores(mentions)


def test_all_entities_tie_for_a_picture_alone():
    rows = [{"mention": "", "sentence": ""}, {"mention": "Ruby", "sentence": "A ruby."}]
    names = ["Ruby", "Opal", "---"]
    for system in (FuzzyName(names), BM25(names, ["a red gem", "", ""]), CharNgrams(names)):
        [(_, scores)] = system.scores(rows)
        assert len(set(scores[0].tolist())) == 1, system.name
        assert scores[1].argmax() == 0, system.name
