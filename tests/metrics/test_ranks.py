"""Ranks and metrics against naive versions in plain Python."""

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.metrics import counting, ranks
from dim.metrics.ranks import (
    gold_ranks,
    gold_ranks_from_embeddings,
    mention_metrics,
    ranking_metrics,
    recall_at,
    top_k,
)

INF = math.inf
FEW_VALUES = st.sampled_from([-2.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.0009765625])  # ties, both zeros, one float16 step
ANY_VALUE = st.floats(-1e6, 1e6, width=32)


def naive_ranks(scores: torch.Tensor, gold: list[int]) -> list[float]:
    """Counts, row by row, the candidates above the gold and those tied with it."""
    ranks = []
    for row, g in zip(scores.tolist(), gold, strict=True):
        if g == -1:
            ranks.append(INF)
            continue
        others = row[:g] + row[g + 1 :]
        ranks.append(1 + sum(x > row[g] for x in others) + sum(x == row[g] for x in others) / 2)
    return ranks


@st.composite
def ranking_cases(draw):
    """Scores (M, N) with many ties, or arbitrary floats; some golds are missing."""
    m, n = draw(st.integers(1, 7)), draw(st.integers(1, 13))
    values = draw(st.sampled_from([FEW_VALUES, ANY_VALUE]))
    scores = torch.tensor(draw(st.lists(values, min_size=m * n, max_size=m * n))).view(m, n)
    return scores, draw(st.lists(st.integers(-1, n - 1), min_size=m, max_size=m))


@st.composite
def embedding_cases(draw):
    """Random vectors with many duplicate entities, golds, and the number of rows in a block."""
    m, n, d = draw(st.integers(1, 9)), draw(st.integers(1, 40)), draw(st.integers(1, 33))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    different = torch.randn(draw(st.integers(1, n)), d, generator=generator)
    entities = different[torch.randint(len(different), (n,), generator=generator)]
    gold = torch.randint(-1, n, (m,), generator=generator)
    return torch.randn(m, d, generator=generator), entities, gold, draw(st.integers(1, m + 1))


class TestGoldRanks:
    @settings(deadline=None)
    @given(case=ranking_cases())
    def test_equals_the_oracle(self, case):
        scores, gold = case
        ranks = gold_ranks(scores, torch.tensor(gold))
        assert ranks.dtype == torch.float64
        assert ranks.tolist() == naive_ranks(scores, gold)

    @settings(deadline=None)
    @given(case=ranking_cases(), data=st.data())
    def test_the_order_of_the_candidates_does_not_matter(self, case, data):
        scores, gold = case
        order = data.draw(st.permutations(range(scores.shape[1])))
        moved = torch.tensor([-1 if g == -1 else order.index(g) for g in gold])
        assert gold_ranks(scores[:, order], moved).tolist() == gold_ranks(scores, torch.tensor(gold)).tolist()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
    def test_every_floating_dtype(self, dtype):
        scores = torch.randn(50, 301).to(dtype)  # half precision makes many ties of it
        gold = torch.randint(-1, 301, (50,))
        assert gold_ranks(scores, gold).tolist() == naive_ranks(scores.float(), gold.tolist())

    def test_float64_scores_are_compared_in_float32(self):
        scores = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64)
        assert gold_ranks(scores, torch.tensor([0])).tolist() == [1.5]

    def test_equal_scores_give_the_middle_rank(self):
        assert gold_ranks(torch.zeros(3, 5), torch.tensor([0, 2, 4])).tolist() == [3.0, 3.0, 3.0]

    @pytest.mark.parametrize("bad", [math.nan, INF, -INF])
    @pytest.mark.parametrize("column", [0, 2], ids=["gold", "other"])
    def test_scores_that_are_not_finite_raise(self, bad, column):
        scores = torch.zeros(4, 3)
        scores[2, column] = bad
        with pytest.raises(ValueError, match=rf"scores\[2, {column}\] is {bad}"):
            gold_ranks(scores, torch.zeros(4, dtype=torch.int64))

    def test_an_overflow_of_float32_is_not_finite(self):
        scores = torch.tensor([[0.0, 1e300]], dtype=torch.float64)
        with pytest.raises(ValueError, match=r"scores\[0, 1\] is inf in float32"):
            gold_ranks(scores, torch.tensor([0]))

    @pytest.mark.parametrize("gold", [[0, 3], [0, -2]])
    def test_gold_out_of_range(self, gold):
        with pytest.raises(ValueError, match=rf"gold\[1\] is {gold[1]}: it must be an index of the 3 candidates"):
            gold_ranks(torch.zeros(2, 3), torch.tensor(gold))

    @pytest.mark.parametrize(
        "scores, gold, message",
        [
            (torch.zeros(3), torch.tensor([0]), r"scores must have the shape .*got \(3,\)"),
            (torch.zeros(2, 0), torch.tensor([0, 0]), r"candidates >= 1\), got \(2, 0\)"),
            (torch.zeros(2, 3), torch.tensor([0]), r"gold must have the shape \(2,\).*got \(1,\)"),
            (torch.zeros(2, 3), torch.tensor([[0, 0]]), r"gold must have the shape"),
            (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "gold must hold integer indices"),
            (torch.zeros(2, 3), torch.tensor([True, False]), "gold must hold integer indices"),
            (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 0]), "scores must be floating point"),
        ],
    )
    def test_wrong_shapes_and_types(self, scores, gold, message):
        with pytest.raises(ValueError, match=message):
            gold_ranks(scores, gold)

    def test_no_mentions(self):
        assert gold_ranks(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)

    def test_there_is_no_argsort(self):
        assert "argsort" not in inspect.getsource(ranks) + inspect.getsource(counting)


class TestGoldRanksFromEmbeddings:
    @settings(deadline=None)
    @given(case=embedding_cases())
    def test_equals_the_ranks_of_the_full_product_for_every_block(self, case):
        queries, entities, gold, rows = case
        full = gold_ranks(queries.double() @ entities.double().T, gold)
        assert gold_ranks_from_embeddings(queries, entities, gold, block_bytes=rows * len(entities) * 8).equal(full)
        assert gold_ranks_from_embeddings(queries, entities, gold).equal(full)

    @pytest.mark.parametrize("rows", [1, 2, 3, 7, 64])
    def test_equal_entities_tie_in_every_block(self, rows):
        """In float32, the product of a small block gives some equal entities different scores."""
        generator = torch.Generator().manual_seed(0)
        queries, entities = torch.randn(64, 512, generator=generator), torch.randn(2049, 512, generator=generator)
        entities = entities.repeat(2, 1)[:4097]  # each entity twice but the last
        gold = torch.randint(2048, (64,), generator=generator)
        ranks = gold_ranks_from_embeddings(queries, entities, gold, block_bytes=rows * 4097 * 8)
        assert torch.equal(ranks % 1, torch.full((64,), 0.5, dtype=torch.float64))
        assert ranks.equal(gold_ranks(queries.double() @ entities.double().T, gold))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision_vectors_are_not_scored_in_half_precision(self, dtype):
        queries, entities = torch.randn(40, 64).to(dtype), torch.randn(700, 64).to(dtype)
        gold = torch.randint(-1, 700, (40,))
        expected = naive_ranks(queries.float() @ entities.float().T, gold.tolist())
        ranks = gold_ranks_from_embeddings(queries, entities, gold)
        assert ranks.tolist() == expected
        assert expected != gold_ranks(queries @ entities.T, gold).tolist(), "half precision would have made ties"

    def test_a_scale_does_not_change_the_order(self):
        queries, entities, gold = torch.randn(9, 8), torch.randn(50, 8), torch.arange(9)
        expected = gold_ranks_from_embeddings(queries, entities, gold)
        assert gold_ranks_from_embeddings(queries, entities, gold, scale=100.0).equal(expected)

    @pytest.mark.parametrize("block_bytes", [4, 100, 4 * 70, 4 * 21])
    def test_no_block_is_larger_than_the_bound(self, block_bytes, monkeypatch):
        sizes, positions = [], counting._positions
        monkeypatch.setattr(counting, "_positions", lambda mask: sizes.append(mask.numel()) or positions(mask))
        gold_ranks_from_embeddings(torch.randn(7, 3), torch.randn(10, 3), torch.arange(7), block_bytes=block_bytes)
        assert sum(sizes) == 70
        assert 1 <= max(sizes) <= block_bytes // 4

    def test_only_what_is_near_the_gold_is_summed_in_float64(self, monkeypatch):
        pairs, exact = [], counting._exact
        monkeypatch.setattr(counting, "_exact", lambda q, e, scale: pairs.append(len(q)) or exact(q, e, scale))
        queries, entities = torch.randn(50, 64), torch.randn(2000, 64)
        gold_ranks_from_embeddings(queries, entities, torch.arange(50))
        assert 50 <= sum(pairs) < 50 + 100_000 / 1000

    def test_vectors_far_apart_in_length_and_tiny_ones(self):
        """The rounding error depends on the longest vector of a block; float32 loses digits below 1e-38."""
        generator = torch.Generator().manual_seed(0)
        for lengths in (10.0 ** torch.arange(-18, 12).float(), torch.full((30,), 1e-19)):
            entities = torch.randn(30, 16, generator=generator) * lengths[:, None]
            queries = torch.randn(30, 16, generator=generator) * lengths.flip(0)[:, None]
            full = gold_ranks(queries.double() @ entities.double().T, torch.arange(30))
            assert gold_ranks_from_embeddings(queries, entities, torch.arange(30), block_bytes=400).equal(full)

    def test_everything_ties(self):
        ranks = gold_ranks_from_embeddings(torch.ones(3, 5), torch.ones(400, 5), torch.tensor([0, 7, 399]))
        assert ranks.tolist() == [200.5] * 3

    def test_memory_mapped_entities(self, tmp_path):
        entities = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
        np.save(tmp_path / "entities.npy", entities)
        mapped = torch.from_numpy(np.load(tmp_path / "entities.npy", mmap_mode="c"))
        queries, gold = torch.randn(20, 8), torch.arange(20)
        expected = gold_ranks_from_embeddings(queries, torch.from_numpy(entities), gold)
        assert gold_ranks_from_embeddings(queries, mapped, gold, block_bytes=4096).equal(expected)

    @pytest.mark.parametrize("ties, add", [("optimistic", 0), ("mean", 1), ("pessimistic", 2)])
    def test_policies(self, ties, add):
        entities = torch.tensor([[2.0], [3.0], [2.0], [2.0]])
        ranks = gold_ranks_from_embeddings(torch.ones(1, 1), entities, torch.tensor([2]), ties=ties)
        assert ranks.tolist() == [2 + add]
        assert gold_ranks(entities.T, torch.tensor([2]), ties).equal(ranks)

    def test_vectors_that_are_not_finite_raise(self):
        queries, gold = torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)
        queries[3, 1] = math.nan
        with pytest.raises(ValueError, match=r"queries\[3\] holds a value that is not finite"):
            gold_ranks_from_embeddings(queries, torch.ones(4, 2), gold)
        entities = torch.ones(4, 2)
        entities[2, 0] = math.inf
        with pytest.raises(ValueError, match=r"entities\[2\] holds"):
            gold_ranks_from_embeddings(torch.ones(5, 2), entities, gold, block_bytes=4)
        with pytest.raises(ValueError, match=r"scores of queries\[1\] may be too large for float32"):
            gold_ranks_from_embeddings(torch.tensor([[1.0], [1e20]]), torch.tensor([[1e20]]), gold[:2])

    def test_a_lower_precision_of_products_raises(self):
        torch.set_float32_matmul_precision("medium")
        try:
            with pytest.raises(ValueError, match="lower precision"):
                gold_ranks_from_embeddings(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([0]))
        finally:
            torch.set_float32_matmul_precision("highest")

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"entities": torch.ones(4, 3)}, r"\(M, D\) and \(N >= 1, D\), got \(2, 2\) and \(4, 3\)"),
            ({"entities": torch.ones(0, 2)}, r"N >= 1"),
            ({"queries": torch.ones(2, 2, dtype=torch.int64)}, "must be floating point"),
            ({"gold": torch.tensor([0, 4])}, r"gold\[1\] is 4"),
            ({"scale": 0.0}, "scale is 0.0: it must be a positive"),
            ({"scale": -1.0}, "scale is -1.0"),
            ({"scale": math.nan}, "scale is nan"),
            ({"block_bytes": 3}, "block_bytes is 3: a block holds at least one score"),
            ({"ties": "fair"}, "ties is 'fair': it must be one of mean, optimistic, pessimistic"),
        ],
    )
    def test_what_it_refuses(self, changes, message):
        arguments = {"queries": torch.ones(2, 2), "entities": torch.ones(4, 2), "gold": torch.tensor([0, 1])}
        with pytest.raises(ValueError, match=message):
            gold_ranks_from_embeddings(**{**arguments, **changes})


class TestTopK:
    @settings(deadline=None)
    @given(case=ranking_cases(), data=st.data())
    def test_equals_the_oracle(self, case, data):
        scores, _ = case
        k = data.draw(st.integers(1, scores.shape[1]))
        values, indices = top_k(scores, k)
        for row, row_values, row_indices in zip(scores.tolist(), values.tolist(), indices.tolist(), strict=True):
            assert row_indices == sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
            assert row_values == [row[i] for i in row_indices]

    def test_many_ties_keep_the_order_of_the_indices(self):
        _, indices = top_k(torch.zeros(2, 5000, dtype=torch.bfloat16), 100)
        assert indices.tolist() == [list(range(100))] * 2

    @pytest.mark.parametrize("k", [0, -1, 4])
    def test_k_out_of_range(self, k):
        with pytest.raises(ValueError, match=f"k is {k}, but there are 3 candidates"):
            top_k(torch.zeros(2, 3), k)

    def test_nan(self):
        with pytest.raises(ValueError, match=r"scores\[0, 1\] is nan"):
            top_k(torch.tensor([[0.0, math.nan]]), 1)


class TestMetrics:
    @settings(deadline=None)
    @given(ranks=st.lists(st.one_of(st.integers(2, 60).map(lambda x: x / 2), st.just(INF)), min_size=1, max_size=40))
    def test_equals_the_oracle(self, ranks):
        tensor = torch.tensor(ranks, dtype=torch.float64)
        table = ranking_metrics(tensor)
        assert list(table) == ["H@1", "H@3", "H@5", "H@10", "H@20", "MRR"]
        for k in (1, 3, 5, 10, 20):
            share = sum(r <= k for r in ranks) / len(ranks)
            assert recall_at(tensor, k) == pytest.approx(share, abs=1e-12)
            assert table[f"H@{k}"] == pytest.approx(100 * share, abs=1e-10)
        assert table["MRR"] == pytest.approx(100 * sum(1 / r for r in ranks) / len(ranks), abs=1e-10)

    def test_a_tie_for_rank_1_is_not_a_hit_at_1(self):
        table = ranking_metrics(torch.tensor([1.5]), ks=(1, 2))
        assert table == {"H@1": 0.0, "H@2": 100.0, "MRR": pytest.approx(200 / 3)}

    def test_a_missing_gold_counts_0(self):
        assert ranking_metrics(torch.tensor([INF]), ks=(10**9,)) == {"H@1000000000": 0.0, "MRR": 0.0}

    def test_mentions_add_up(self):
        values = mention_metrics(torch.tensor([1.0, 4.0, INF]), ks=(3,))
        assert {name: v.tolist() for name, v in values.items()} == {"H@3": [1, 0, 0], "MRR": [1, 0.25, 0]}

    @pytest.mark.parametrize(
        "ranks, message",
        [
            ([], "nothing to average"),
            ([[1.0]], "nothing to average"),
            ([1.0, math.nan], r"ranks\[1\] is nan"),
            ([1.0, 0.0], r"ranks\[1\] is 0.0: a rank is at least 1"),
        ],
    )
    @pytest.mark.parametrize("metric", [ranking_metrics, lambda ranks: recall_at(ranks, 1)])
    def test_invalid_ranks_raise(self, metric, ranks, message):
        with pytest.raises(ValueError, match=message):
            metric(torch.tensor(ranks))

    def test_k_of_0_raises(self):
        with pytest.raises(ValueError, match=r"ks is \(1, 0\): hits are counted at 1 or more"):
            ranking_metrics(torch.tensor([1.0]), ks=(1, 0))
