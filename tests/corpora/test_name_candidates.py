"""Candidates by name: the fast search gives what a naive one gives, whatever the order of the knowledge base."""

import math
import random
import string
import unicodedata
from collections import Counter

import pytest

from dim.corpora.build import name_candidates as candidates
from dim.corpora.build.name_candidates import name_candidates, recall
from dim.corpora.release import Entity, Mention
from dim.corpora.splits import seeded_order


def entities(*names: str) -> list[Entity]:
    return [Entity(f"e{number}", name) for number, name in enumerate(names)]


def tokens(text: str) -> set[tuple[str, str]]:
    """Words, initials and trigrams of a name, and its acronym as a word; without accents and case."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(sign))
    words = plain.split()
    found = {("word", word) for word in words} | {("initial", word[0]) for word in words}
    if len(words) > 1:
        found.add(("word", "".join(word[0] for word in words)))
    spaced = [f" {word} " for word in words]
    return found | {("gram", word[start : start + 3]) for word in spaced for start in range(len(word) - 2)}


def naive_scores(text: str, kb: list[Entity]) -> dict[str, float]:
    """Cosine of TF-IDF, idf = 1 + ln((1 + n) / (1 + df)) over all names; the best of an entity's names counts."""
    names = [(entity.id, tokens(name)) for entity in kb for name in (entity.name, *entity.aliases)]
    frequency = Counter(token for _, found in names for token in found)

    def vector(found: set[tuple[str, str]]) -> dict[tuple[str, str], float]:
        weights = {token: 1 + math.log((1 + len(names)) / (1 + frequency[token])) for token in found}
        length = math.sqrt(sum(weight**2 for weight in weights.values())) or 1
        return {token: weight / length for token, weight in weights.items()}

    query = vector(tokens(text))
    scores: dict[str, float] = {}
    for name, found in names:
        score = sum(weight * query.get(token, 0) for token, weight in vector(found).items())
        scores[name] = max(score, scores.get(name, 0))
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_naive_search(seed, monkeypatch):
    monkeypatch.setattr(candidates, "_BLOCK", 3)
    random.seed(seed)

    def name() -> str:
        return " ".join("".join(random.choices("abcÁé", k=random.randint(1, 6))) for _ in range(random.randint(1, 3)))

    kb = [Entity(f"e{place}", name(), aliases=[name() for _ in range(random.randint(0, 2))]) for place in range(30)]
    texts = [name() for _ in range(20)]
    found = name_candidates(texts, kb, limit=7)
    assert set(found) == set(texts)
    for text in texts:
        scores = naive_scores(text, kb)
        got = [scores[one] for one in found[text]]
        best = sorted((score for score in scores.values() if score > 1e-9), reverse=True)[:7]
        assert got == pytest.approx(best, abs=1e-5)
        assert len(set(found[text])) == len(found[text])


def test_case_accents_and_aliases_do_not_hide_a_name():
    kb = [Entity("e1", "Zoë O'Hara"), Entity("e2", "Robert Gale", aliases=["Bob Gale"]), Entity("e3", "Hill")]
    found = name_candidates(["ZOE", "bob"], kb)
    assert found["ZOE"][0] == "e1"
    assert found["bob"] == ["e2"]


def test_the_answer_is_not_forced_in():
    assert name_candidates(["xyz", ""], entities("Ada", "Bob")) == {"xyz": [], "": []}


def test_ties_are_broken_by_the_seed_and_not_by_the_order_of_the_knowledge_base():
    kb = [Entity(f"e{place}", "Springfield" if place % 3 else "Springfield Gorge") for place in range(300)]
    same = [entity.id for entity in kb if entity.name == "Springfield"]
    longer = [entity.id for entity in kb if entity.name != "Springfield"]

    def find(kb: list[Entity], limit: int, seed: int = 0) -> list[str]:
        return name_candidates(["Springfield"], kb, limit=limit, seed=seed)["Springfield"]

    for seed in (0, 1):
        order = seeded_order([entity.id for entity in kb], seed)
        expected = sorted(same, key=order.index) + sorted(longer, key=order.index)
        assert find(kb, 300, seed) == expected
        assert find(kb[::-1], 50, seed) == find(kb, 50, seed) == expected[:50]
    assert find(kb, 50, seed=0) != find(kb, 50, seed=1)


def test_a_knowledge_base_of_one():
    assert name_candidates(["Ada"], entities("Ada Byron")) == {"Ada": ["e0"]}


def test_names_in_any_script():
    kb = entities("東京都", "京都", "Москва")
    assert name_candidates(["京都", "москва"], kb)["京都"][0] == "e1"


@pytest.mark.parametrize("kb", [[], entities("", " ")])
def test_a_knowledge_base_without_names_is_refused(kb):
    with pytest.raises(ValueError, match="No entity has a name"):
        name_candidates(["Ada"], kb)


def test_recall():
    found = {"Ada": ["e1", "e2"], "Bob": [*string.ascii_lowercase, "e3"], "Eve": []}
    mentions = [
        Mention("m1", "", "Ada", "train", entity_id="e1"),
        Mention("m2", "", "Ada", "train", entity_id="e2"),
        Mention("m3", "", "Bob", "train", entity_id="e3"),
        Mention("m4", "", "Eve", "train", entity_id="e4"),
        Mention("m5", "", "Eve", "train"),
    ]
    assert recall(mentions, found) == {1: 25.0, 10: 50.0, 100: 75.0}
    assert recall(mentions[-1:], found) == {}
