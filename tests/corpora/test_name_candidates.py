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
    return [Entity(f"e{place}", name) for place, name in enumerate(names)]


def grams(text: str) -> Counter[str]:
    """N-grams of 2 to 4 characters of the words, each with a space before and behind it, without accents and case."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(sign))
    counts: Counter[str] = Counter()
    for word in plain.split():
        padded = f" {word} "
        for length in (2, 3, 4):
            if len(padded) <= length:  # a word as short as the n-gram counts once, and no longer n-gram is cut from it
                counts[padded] += 1
                break
            counts.update(padded[start : start + length] for start in range(len(padded) - length + 1))
    return counts


def naive_scores(text: str, kb: list[Entity]) -> dict[str, float]:
    """Cosine of TF-IDF, idf = 1 + ln((1 + n) / (1 + df)) over all names; the best of an entity's names counts."""
    names = [(entity.id, grams(name)) for entity in kb for name in (entity.name, *entity.aliases)]
    frequency = Counter(gram for _, counts in names for gram in counts)
    idf = {gram: 1 + math.log((1 + len(names)) / (1 + count)) for gram, count in frequency.items()}

    def vector(counts: Counter[str]) -> dict[str, float]:
        weights = {gram: count * idf[gram] for gram, count in counts.items() if gram in idf}
        length = math.sqrt(sum(weight**2 for weight in weights.values())) or 1
        return {gram: weight / length for gram, weight in weights.items()}

    query = vector(grams(text))
    scores: dict[str, float] = {}
    for name, counts in names:
        score = sum(weight * query.get(gram, 0) for gram, weight in vector(counts).items())
        scores[name] = max(score, scores.get(name, 0))
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_naive_search(seed, monkeypatch):
    monkeypatch.setattr(candidates, "_BLOCK_CELLS", 200)  # several blocks
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
    kb = [Entity("e1", "Zoë O'Brien"), Entity("e2", "Robert Gale", aliases=["Bob Gale"]), Entity("e3", "Hill")]
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
