"""Candidates: every channel against a naive oracle, hard spellings, changes of the knowledge base, recall."""

import re

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")

from dim.encoding.mention import Mention
from dim.folding_dim import fold
from dim.kb import KnowledgeBase, database
from dim.kb.encode import encoded
from dim.kb.rows import CONTENT
from dim.linking.candidates import CandidateSearch, _fused
from dim.linking.channels import CHANNELS
from dim.search.postings import Postings, best
from dim.search.texts import LexicalIndex, LexicalSearch
from dim.search.tokens import name_tokens, searchable, spellings, split_words, word_tokens
from dim.search.vectors import CODES, EXACT, _fits

NAMES = ["Arnold Schwarzenegger", "Joe Biden", "Beyoncé Knowles (singer)", "Владимир Путин", "नरेंद्र मोदी", "東京都",
         "United Nations", "Jos\u00e9 de San Mart\u00edn", "Paris", "Paris Hilton", "Arnold Palmer"]  # fmt: skip

ADA = [Mention("Ada", "")]


def entities(names, descriptions=None):
    descriptions = descriptions or [""] * len(names)
    return [{"id": f"Q{row}", "name": name, "description": text}
            for row, (name, text) in enumerate(zip(names, descriptions, strict=True))]  # fmt: skip


def put_vectors(kb, vectors):
    """Vectors for all rows, without a model."""
    if kb.width != vectors.shape[1]:
        kb.set_width(vectors.shape[1])
    kb.write_vectors(encoded(kb.table(CONTENT.names), vectors.numpy(), "e"))


@pytest.fixture
def kb(tmp_path):
    return KnowledgeBase.create(tmp_path / "kb", entities(NAMES))


# ----------------------------------------------------------------------------------------------------------- spellings


@pytest.mark.parametrize(
    ("mention", "name"),
    [
        ("Schwarzeneger", "Arnold Schwarzenegger"),
        ("Schwartzenegger", "Arnold Schwarzenegger"),
        ("J. Biden", "Joe Biden"),
        ("Beyonce", "Beyoncé Knowles (singer)"),
        ("BEYONCÉ KNOWLES", "Beyoncé Knowles (singer)"),
        ("Putin", "Владимир Путин"),
        ("Путина", "Владимир Путин"),
        ("मोदी", "नरेंद्र मोदी"),
        ("東京", "東京都"),
        ("UN", "United Nations"),
        ("San Martin", "José de San Martín"),
        ("Paris", "Paris"),
    ],
)
def test_hard_spellings_are_found_first(kb, mention, name):
    found = CandidateSearch(kb).search([Mention(mention, "")], k=3)
    first = kb.take(found.lists["name search"][0, :1], ["name"])["name"][0].as_py()
    assert first == name


SIGNED = ["C", "C++", "C#", "F#", ".NET", "NET", "!!!", "???", "?!", "$", "@", "☭", "🍕", "🍔", "👍", "👍🏽", "+44",
          "44", "🇫🇷", "🇩🇪", "👨\u200d👩\u200d👧", "👨👩👧", "🏴\U000e0067\U000e0062\U000e007f", "🏴", "≠", "=",
          "Help", "Help!", "Help?", "A*", "A", "A+"]  # fmt: skip


def test_names_of_signs_are_found_first_by_themselves(tmp_path):
    search = CandidateSearch(KnowledgeBase.create(tmp_path / "signs", entities(SIGNED)))
    found = search.search([Mention.find(name, f"about {name} here") for name in SIGNED], k=3)
    for rows in (found.rows, found.lists["name search"]):
        assert [SIGNED[row] for row in rows[:, 0]] == SIGNED


def test_words_are_those_of_a_regular_expression():
    texts = ["Joe  Biden", "", "a-b_c\n9", "J.R.R.", "x" * 50]
    words = split_words(texts)
    pieces = np.split(words.codes.astype(int), words.starts[1:])
    found = ["".join(map(chr, piece)) for piece in pieces]
    naive = [(place, word) for place, text in enumerate(texts) for word in re.findall(r"[^\W_]+", text)]
    assert list(zip(words.owners.tolist(), found, strict=True)) == naive


def test_marks_stay_in_their_words():
    assert split_words(["नरेंद्र"]).starts.tolist() == [0]


def test_symbols_and_scripts_without_spaces_are_apart():
    words = split_words(["c++ and c#", "我在ibm公司", "🍕🍔", searchable("A\u200bB", "É\u00adX")])
    pieces = np.split(words.codes.astype(int), words.starts[1:])
    assert ["".join(map(chr, piece)) for piece in pieces] == ["c", "++", "and", "c", "#", "我在", "ibm", "公司", "🍕🍔",
                                                        "a", "b", "ex"]  # fmt: skip


def test_a_script_without_spaces_is_searched_by_pairs_of_characters(tmp_path):
    names = ["北京", "东京", "海南", "上海"]
    search = CandidateSearch(
        KnowledgeBase.create(tmp_path / "pairs", entities(names, ["首都", "日本首都", "岛", "城市"]))
    )
    assert search.search([Mention("那里", "我在上海工作")], k=1).lists["BM25"].tolist() == [[3]]


def test_an_index_of_other_tokens_is_built_again(kb):
    arrays = LexicalIndex.build(kb.table(["name", "aliases", "description", "key"])).to_arrays()
    assert LexicalIndex.from_arrays(arrays) is not None
    database.write_arrays(kb.uri, {**arrays, "version": np.array([1])})  # its words had lost their signs
    assert LexicalIndex.from_arrays(database.read_arrays(kb.uri)) is None
    assert first_name(CandidateSearch(kb), "Paris") == "Paris"
    kb.finish()
    assert LexicalIndex.from_arrays(database.read_arrays(kb.uri)) is not None


@given(st.lists(st.text(max_size=12), max_size=8))
@settings(max_examples=150, deadline=None)
def test_tokens_of_a_text_do_not_depend_on_its_neighbours(texts):
    folded = [fold(text) for text in texts]
    for make in (name_tokens, word_tokens):
        together = make(split_words(folded))
        for place, text in enumerate(folded):
            alone = make(split_words([text]))
            assert sorted(together.buckets[together.owners == place]) == sorted(alone.buckets)


# ---------------------------------------------------------------------------------------------------- naive oracles


def grams(text):
    """The tokens of `name_tokens`, as strings."""
    found = []
    words = re.findall(r"[^\W_]+", text)
    for word in words:
        padded = f" {word} "
        found += ["w" + word, "i" + word[0], *("g" + padded[i : i + 3] for i in range(len(word)))]
    return {*found, *(["w" + "".join(word[0] for word in words)] if len(words) > 1 else [])}


def naive_names(mention, names):
    documents = [grams(form) for name in names for form in spellings(name)]
    owners = [place for place, name in enumerate(names) for _ in spellings(name)]
    counts = {token: sum(token in one for one in documents) for one in documents for token in one}

    def idf(token):
        return np.log((len(documents) + 1) / (counts.get(token, 0) + 1)) + 1

    def norm(tokens):
        return np.sqrt(sum(idf(token) ** 2 for token in tokens))

    scores = np.zeros(len(names))
    for spelling in spellings(mention):
        query = grams(spelling)
        for owner, document in zip(owners, documents, strict=True):
            if query & document:
                shared = sum(idf(token) ** 2 for token in query & document)
                scores[owner] = max(scores[owner], shared / norm(query) / norm(document))
    return scores


def naive_bm25(query, documents):
    split = [re.findall(r"[^\W_]+", fold(text)) for text in documents]
    average = np.mean([len(words) for words in split])
    scores = []
    for words in split:
        score = 0.0
        for token in re.findall(r"[^\W_]+", fold(query)):
            holding, times = sum(token in other for other in split), words.count(token)
            idf = np.log(1 + (len(split) - holding + 0.5) / (holding + 0.5))
            score += idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * len(words) / average))
        scores.append(score)
    return np.array(scores)


def scores_of(postings, tokens, count):
    scores = np.zeros(count)
    for entities_, values in postings.search(postings.queries(tokens)):
        np.maximum.at(scores, entities_, values)
    return scores


def test_names_are_cosines_of_tf_idf():
    forms = [spellings(name) for name in NAMES]
    owners = np.repeat(np.arange(len(NAMES)), [len(group) for group in forms]).astype(np.int32)
    postings = Postings.cosine(name_tokens(split_words([form for group in forms for form in group])), owners)
    for mention in ("Schwarzeneger", "J. Biden", "Paris Paris", "Путин"):
        tokens = name_tokens(split_words(spellings(mention)))
        np.testing.assert_allclose(scores_of(postings, tokens, len(NAMES)), naive_names(mention, NAMES), atol=1e-5)


def test_words_are_bm25():
    texts = ["the red house by the sea", "a red red rose", "", "sea"]
    postings = Postings.bm25(word_tokens(split_words(texts)))
    for query in ("red sea", "the the house", "nothing"):
        tokens = word_tokens(split_words([query]))
        np.testing.assert_allclose(scores_of(postings, tokens, 4), naive_bm25(query, texts), atol=1e-5)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_best_is_a_sort(hits, k):
    entities_, scores = (np.array([hit[i] for hit in hits], np.int64) for i in (0, 1))
    highest = {entity: max(s for e, s in hits if e == entity) for entity, _ in hits}
    expected = sorted(highest, key=lambda entity: (-highest[entity], entity))[:k]
    assert best(entities_, scores, k).tolist() == expected


@pytest.mark.parametrize("method", [EXACT, CODES])
def test_vectors_find_the_highest_dot_products(tmp_path, method, monkeypatch):
    monkeypatch.setattr("dim.search.vectors.method_for", lambda count, width: method)
    kb = KnowledgeBase.create(tmp_path / "kb", entities([f"name {n}" for n in range(700)]))
    vectors = torch.nn.functional.normalize(torch.randn(700, 24), dim=1) * (1 + torch.rand(700, 1))
    vectors[13] = 0
    put_vectors(kb, vectors)
    kb.upsert([{"id": "Q5", "name": "changed"}, {"id": "Q6000", "name": "not encoded"}])
    by_id = dict(zip((f"Q{n}" for n in range(700)), vectors, strict=True))
    search = CandidateSearch(kb)
    assert search.vector_search == method
    queries = torch.randn(9, 24)
    found = search.search([Mention("", "")] * 9, queries, k=20).lists["dense"]
    for query, rows in zip(queries, found, strict=True):
        scores = {name: float(vector @ query) for name, vector in by_id.items() if name != "Q5"}
        expected = sorted(scores, key=lambda name: -scores[name])[:20]
        assert kb.take(rows, ["id"])["id"].to_pylist() == expected


# ------------------------------------------------------------------------------------------------------------- union


def naive_fusion(lists, k):
    scores, masks = {}, {}
    for name, rows in lists.items():
        bit = 1 << CHANNELS.index(name)
        for rank, row in enumerate(rows):
            if row >= 0:
                scores[row] = scores.get(row, 0) + 1 / (11 + rank)
                masks[row] = masks.get(row, 0) | bit
    order = sorted(scores, key=lambda row: (-scores[row], row))[:k]
    return order, [masks[row] for row in order]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_union_is_reciprocal_rank_fusion(data):
    k, mentions = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    lists = {}
    for name in CHANNELS[: data.draw(st.integers(1, 3))]:
        rows = [data.draw(st.lists(st.integers(0, 8), unique=True, max_size=k)) for _ in range(mentions)]
        lists[name] = np.array([row + [-1] * (k - len(row)) for row in rows], np.int64).reshape(mentions, k)
    found = _fused(lists, k)
    for mention in range(mentions):
        order, masks = naive_fusion({name: rows[mention] for name, rows in lists.items()}, k)
        there = found.rows[mention] >= 0
        assert found.rows[mention][there].tolist() == order
        assert found.channels[mention][there].tolist() == masks
        assert there.tolist() == sorted(there, reverse=True)
        assert (found.channels[mention][~there] == 0).all()


def test_recall_counts_what_can_be_found():
    lists = {"name search": np.array([[3, 1], [5, -1], [0, 2]]), "BM25": np.array([[1, 2], [6, 7], [4, 0]])}
    found = _fused(lists, 2)
    assert found.recall_at(1, [3, 6, -1])["name search"] == 50.0
    assert found.recall_at(2, [1, 9, 0]) == pytest.approx({"name search": 200 / 3, "BM25": 200 / 3, "union": 200 / 3})
    with pytest.raises(ValueError, match="k must lie between 1 and the 2 candidates"):
        found.recall_at(3, [1, 1, 1])
    with pytest.raises(ValueError, match="2 golds for 3 mentions"):
        found.recall_at(1, [1, 1])
    with pytest.raises(ValueError, match="Every mention is NIL"):
        found.recall_at(1, [-1, -1, -1])


def test_padding_where_there_is_little_to_find(kb):
    found = CandidateSearch(kb).search([Mention("Paris", ""), Mention("zzzz", "")], k=64)
    assert found.rows.shape == (2, 64)
    assert set(kb.take(found.rows[0][found.rows[0] >= 0], ["name"])["name"].to_pylist()) >= {"Paris", "Paris Hilton"}
    assert (found.rows[1] == -1).all()


def test_empty_knowledge_base_and_no_mentions(tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", [])
    search = CandidateSearch(kb)
    assert (search.search([Mention("a", "b")], torch.ones(1, 3), k=2).rows == -1).all()
    kb.upsert(entities(["Ada"]))
    assert search.search([Mention("Ada", "")], k=2).rows.tolist() == [[0, -1]]
    assert search.search([], k=2).rows.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ADA, torch.zeros(2, 3)), "1 mentions, but 2 vectors"),
        ((ADA, None, 0), "k must be at least 1, got 0"),
        ((ADA, torch.full((1, 8), torch.nan)), "NaN or infinity"),
        ((ADA, torch.zeros(1, 3)), "have 3 dimensions, the knowledge base's 8"),
    ],
)
def test_bad_questions_are_refused(kb, arguments, message):
    put_vectors(kb, torch.randn(len(NAMES), 8))
    with pytest.raises(ValueError, match=message):
        CandidateSearch(kb).search(*arguments)


# ----------------------------------------------------------------------------------------------------------- changes


def first_name(search, mention):
    rows = search.search([Mention(mention, "")], k=1).rows[0]
    return None if rows[0] < 0 else search.kb.take(rows, ["name"])["name"][0].as_py()


def test_changes_are_seen_by_the_next_search(kb):
    search = CandidateSearch(kb)
    assert first_name(search, "Xiphias") is None
    kb.upsert([{"id": "Q50", "name": "Xiphias gladius"}, {"id": "Q8", "name": "Lutetia"}])
    assert first_name(search, "Xiphias") == "Xiphias gladius"
    assert first_name(search, "Lutetia") == "Lutetia"
    assert first_name(search, "Paris") == "Paris Hilton"
    kb.delete(["Q9"])
    assert first_name(search, "Paris Hilton") == "Arnold Palmer"  # the last with a word that begins with P
    assert first_name(search, "Joe Biden") == "Joe Biden"
    kb.restore(1)
    assert first_name(search, "Paris") == "Paris"


def test_another_process_is_seen(kb):
    search = CandidateSearch(kb)
    KnowledgeBase.open(kb.uri).upsert([{"id": "Q50", "name": "Xiphias gladius"}])
    assert first_name(search, "Xiphias") == "Xiphias gladius"


def test_old_version_is_searched_as_it_was(kb):
    first = kb.version
    kb.upsert([{"id": "Q50", "name": "Xiphias gladius"}])
    kb.index()
    assert first_name(CandidateSearch(kb.checkout(first)), "Xiphias") is None
    assert first_name(CandidateSearch(kb), "Xiphias") == "Xiphias gladius"


def test_stored_index_gives_what_a_new_one_gives(kb, monkeypatch):
    kb.upsert(entities([f"Arnold {n} Palmer" for n in range(5)]))
    stored = CandidateSearch(kb).search([Mention("Arnold", "Palmer")], k=9)
    monkeypatch.setattr(LexicalIndex, "from_arrays", classmethod(lambda cls, arrays: None))
    assert set(stored.rows[0]) == set(CandidateSearch(kb).search([Mention("Arnold", "Palmer")], k=9).rows[0])


@given(st.lists(st.integers(0, 30), unique=True, max_size=15), st.lists(st.integers(0, 30), unique=True, max_size=15))
@settings(max_examples=60, deadline=None)
def test_rows_of_a_changed_base_are_those_of_the_same_texts(old, new):
    def table(numbers):
        aliases = pa.array([[]] * len(numbers), pa.list_(pa.string()))
        columns = {"name": [f"name{n:03}" for n in numbers], "aliases": aliases, "description": [""] * len(numbers)}
        return pa.table({**columns, "key": pa.array(numbers, pa.int64())})

    now = table(new)
    search = LexicalSearch(LexicalIndex.build(table(old)), now["key"].to_numpy(), lambda rows: now.take(rows))
    for row, number in enumerate(new):
        assert search.names([f"name{number:03}"], 1)[0].tolist() == [row]
    assert sorted(search.unindexed) == [row for row, number in enumerate(new) if number not in old]


def test_a_gpu_with_the_memory_for_them_holds_float32_vectors(tmp_path, monkeypatch):
    """Here the CPU plays the GPU: the vectors are more than the budget of a CPU."""
    sizes = []
    monkeypatch.setattr("dim.search.vectors.method_for", lambda count, width: CODES)
    monkeypatch.setattr("dim.search.vectors._fits", lambda device, size: sizes.append((device.type, size)) or True)
    kb = KnowledgeBase.create(tmp_path / "kb", entities([f"name {n}" for n in range(30)]))
    put_vectors(kb, torch.randn(30, 8))
    search = CandidateSearch(kb, device=torch.device("cpu"))
    assert (search.vector_search, sizes) == (EXACT, [("cpu", 30 * 8 * 4)])


def test_other_devices_than_gpus_do_not_hold_vectors():
    assert not any(_fits(torch.device(name), 1) for name in ("cpu", "meta"))


@pytest.mark.parametrize("method", [EXACT, CODES])
def test_vectors_that_are_held_are_those_of_the_rows(tmp_path, method, monkeypatch):
    monkeypatch.setattr("dim.search.vectors.method_for", lambda count, width: method)
    kb = KnowledgeBase.create(tmp_path / "kb", entities([f"name {n}" for n in range(30)]))
    put_vectors(kb, vectors := torch.randn(30, 8))
    search = CandidateSearch(kb)
    held = search.vectors(np.array([3, 29, 0]))
    assert held is None if method == CODES else torch.equal(held, vectors[[3, 29, 0]])
    kb.upsert([{"id": "Q7", "name": "changed"}])  # it has no vector now
    assert search.vectors(np.array([3])) is None  # of another version
    search.refresh()
    assert search.vectors(np.array([kb.row_of["Q7"]])) is None
    assert (search.vectors(np.array([kb.row_of["Q3"]])) is None) == (method == CODES)


@pytest.mark.parametrize("method", [EXACT, CODES])
def test_vectors_of_changed_rows_are_read_and_the_others_kept(tmp_path, method, monkeypatch):
    monkeypatch.setattr("dim.search.vectors.method_for", lambda count, width: method)
    kb = KnowledgeBase.create(tmp_path / "kb", entities([f"name {n}" for n in range(100)]))
    put_vectors(kb, torch.randn(100, 8))
    search = CandidateSearch(kb)
    kb.delete(["Q3", "Q50"])
    kb.upsert([{"id": "Q7", "name": "changed"}, {"id": "Q200", "name": "new"}])
    late = kb.rows(["Q200", "Q7"]).select(CONTENT.names[:-1])
    late = late.append_column("key", kb.take([kb.row_of["Q200"], kb.row_of["Q7"]], ["key"])["key"])
    kb.write_vectors(encoded(late, np.full((2, 8), 3, np.float32), "e"))
    queries = torch.randn(6, 8)
    seen, anew = (one.search([Mention("", "")] * 6, queries, k=98) for one in (search, CandidateSearch(kb)))
    assert (seen.lists["dense"] == anew.lists["dense"]).all()
    assert (seen.lists["dense"][:, :98] >= 0).all()
