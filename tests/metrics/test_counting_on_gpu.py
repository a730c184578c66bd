"""The arithmetic of the counts on a GPU, on the CPU: rounding to half precision decides nothing wrongly."""

import pytest
import torch
import torch.nn.functional as F

from dim.metrics import counting_on_gpu as on_gpu
from dim.metrics.counting import count_better_and_tied


def counts(queries, entities, gold, scale=1.0, block_bytes=2**20):
    lengths, longest = (torch.linalg.vector_norm(each, dim=1, dtype=torch.float64) for each in (queries, entities))
    return on_gpu.count_on_gpu(queries, entities, gold, scale, block_bytes, lengths, float(longest.max()))


def assert_equal_to_the_cpu(queries, entities, gold, scale=1.0, block_bytes=2**20):
    there = gold >= 0
    expected = count_better_and_tied(queries, entities, gold, scale, 2**22)
    found = counts(queries, entities, gold, scale, block_bytes)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours[there], theirs[there])


def made(mentions=60, entities=2_000, width=48, noise=3.0, seed=0):
    """Unit vectors, a third of them twice; the golds lie close to their queries, one in ten is missing."""
    generator = torch.Generator().manual_seed(seed)
    table = F.normalize(torch.randn(entities, width, generator=generator), dim=1)
    table[1::3] = table[::3][: len(table[1::3])]
    gold = torch.randint(entities, (mentions,), generator=generator)
    queries = F.normalize(table[gold] + noise * torch.randn(mentions, width, generator=generator) / width**0.5, dim=1)
    gold[::10] = -1
    return queries, table, gold


@pytest.fixture
def scored(monkeypatch):
    """The types in which products are computed, by the size of each block."""
    found, multiply = [], on_gpu._multiply
    monkeypatch.setattr(on_gpu, "_multiply", lambda q, k: found.append((q.dtype, len(q) * len(k))) or multiply(q, k))
    return found


@pytest.mark.parametrize("block_bytes", [4, 2**14, 2**18, 2**30])
def test_counts_are_those_of_the_cpu_for_every_block(block_bytes, scored):
    queries, entities, gold = made()
    assert_equal_to_the_cpu(queries, entities, gold, 17.3, block_bytes)
    assert {dtype for dtype, _ in scored} == {torch.float16}
    assert max(size for _, size in scored) <= max(block_bytes // 4, 256)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_vectors_of_other_types(dtype):
    queries, entities, gold = made()
    assert_equal_to_the_cpu(queries.to(dtype), entities.to(dtype), gold, 3.0)


@pytest.mark.parametrize("seed", range(5))
def test_sums_with_the_largest_error_that_is_allowed_for_change_no_count(monkeypatch, seed):
    """Each score is off by the error of its sum, to either side, and is rounded to half precision."""

    def multiply(queries, keys):
        exact, width = queries.double() @ keys.double().T, queries.shape[1]
        lengths = queries.double().norm(dim=1)[:, None] * keys.double().norm(dim=1)[None]
        off = exact + torch.sign(torch.randn(exact.shape)) * lengths * width * 2.0**-22
        return off.half()

    monkeypatch.setattr(on_gpu, "_multiply", multiply)
    assert_equal_to_the_cpu(*made(width=512, noise=6.0, seed=seed))


def test_only_what_is_near_the_gold_is_summed_in_float64(monkeypatch):
    pairs, exact = [], on_gpu._exact
    monkeypatch.setattr(on_gpu, "_exact", lambda q, r, e, c, s: pairs.append(len(r)) or exact(q, r, e, c, s))
    queries, entities, gold = made(noise=1.0)
    counts(queries, entities, gold)
    assert sum(pairs) < 5 * len(queries)


def test_many_scores_near_the_gold_are_computed_in_float32(scored):
    """Vectors that are almost equal: half precision would leave nearly all pairs to exact sums."""
    queries, entities, gold = made()
    queries, entities = F.normalize(queries + 40, dim=1), F.normalize(entities + 40, dim=1)
    assert_equal_to_the_cpu(queries, entities, gold)
    assert torch.float32 in {dtype for dtype, _ in scored}


def test_golds_with_bad_ranks():
    queries, entities, gold = made()
    assert_equal_to_the_cpu(-queries, entities, gold)
    assert counts(-queries, entities, gold)[0][gold >= 0].double().mean() > 1_500


def test_vectors_far_apart_in_length_and_tiny_ones():
    generator = torch.Generator().manual_seed(0)
    for lengths in (10.0 ** torch.arange(-18, 12).float(), torch.full((30,), 1e-19), torch.full((30,), 1e17)):
        entities = torch.randn(30, 16, generator=generator) * lengths[:, None]
        queries = torch.randn(30, 16, generator=generator) * lengths.flip(0)[:, None]
        for scale in (1e-3, 1.0, 90.0):
            assert_equal_to_the_cpu(queries, entities, torch.arange(30), scale)
    zeros = torch.zeros(30, 16)
    assert counts(zeros, zeros, torch.arange(30))[1].tolist() == [29] * 30


def test_everything_ties_and_there_may_be_no_mention():
    better, tied = counts(torch.ones(3, 5), torch.ones(400, 5), torch.tensor([0, 7, 399]))
    assert (better.tolist(), tied.tolist()) == ([0] * 3, [399] * 3)
    assert [len(found) for found in counts(torch.ones(0, 5), torch.ones(4, 5), torch.zeros(0).long())] == [0, 0]


def test_settings_of_half_precision_are_as_before_and_short_sums_are_not_used(scored):
    settings = torch.backends.cuda.matmul
    before = settings.allow_fp16_reduced_precision_reduction
    settings.allow_fp16_accumulation = True
    try:
        assert_equal_to_the_cpu(*made())
    finally:
        settings.allow_fp16_accumulation = False
    assert {dtype for dtype, _ in scored} == {torch.float32}
    assert settings.allow_fp16_reduced_precision_reduction == before
