"""Exact ranks, encoding and linking on the GPU are those of the CPU."""

import copy

import pytest
import torch
import torch.nn.functional as F

pytestmark = pytest.mark.gpu


def tied(mentions=200, entities=3_000, width=64):
    """Unit vectors with many equal entities, and with golds that are missing."""
    generator = torch.Generator().manual_seed(0)
    table = F.normalize(torch.randn(entities, width, generator=generator), dim=1)
    table[1::3] = table[::3][: len(table[1::3])]
    gold = torch.randint(entities, (mentions,), generator=generator)
    queries = F.normalize(table[gold] + 4 * torch.randn(mentions, width, generator=generator) / width**0.5, dim=1)
    queries[::10] = table[gold[::10]]
    gold[::17] = -1
    return queries, table, gold


@pytest.mark.parametrize("ties", ["mean", "optimistic", "pessimistic"])
def test_ranks_from_vectors_equal_those_of_the_cpu(ties):
    from dim.metrics.ranks import gold_ranks_from_embeddings

    queries, table, gold = tied()
    expected = gold_ranks_from_embeddings(queries, table, gold, scale=17.3, ties=ties)
    assert len(expected.unique()) > 20
    for block_bytes in (2**14, 2**22, 2**28):
        found = gold_ranks_from_embeddings(
            queries.cuda(), table.cuda(), gold, scale=17.3, ties=ties, block_bytes=block_bytes
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_ranks_from_half_precision_vectors_equal_those_of_the_cpu(dtype):
    from dim.metrics.ranks import gold_ranks_from_embeddings

    queries, table, gold = tied()
    queries, table = queries.to(dtype), table.to(dtype)
    expected = gold_ranks_from_embeddings(queries, table, gold)
    assert torch.equal(gold_ranks_from_embeddings(queries.cuda(), table.cuda(), gold), expected)


def test_ranks_from_scores_equal_those_of_the_cpu():
    from dim.metrics.ranks import gold_ranks

    queries, table, gold = tied()
    scores = (queries @ table.T).bfloat16().float()  # many ties
    assert torch.equal(gold_ranks(scores.cuda(), gold), gold_ranks(scores, gold))


def test_scores_of_blocks_equal_those_of_the_cpu(tiny_model):
    """Products in float64, rounded once: equal bits but for a unit in the last place of the scale."""
    from dim.encoding.scoring import score_blocks

    width = tiny_model.config.projection_dim
    queries, table, _ = tied(width=width)
    found, expected = (
        torch.cat([scores for _, scores in score_blocks(model, queries, table)])
        for model in (tiny_model, copy.deepcopy(tiny_model).cpu())
    )
    torch.testing.assert_close(found, expected, rtol=2e-7, atol=0)
    assert torch.equal(found[:, 0], found[:, 1])  # equal entities


def test_encoding_gives_the_vectors_of_the_cpu(tiny_model, tiny_dim_dir, tiny_mel_dir):
    from dim import DIMProcessor
    from dim.corpora.loading import load_entities, load_mentions
    from dim.encoding.encode import encode_entities, encode_mentions

    processor, cpu = DIMProcessor.from_pretrained(tiny_dim_dir), copy.deepcopy(tiny_model).cpu()
    mentions, entities = load_mentions(str(tiny_mel_dir), "train"), load_entities(str(tiny_mel_dir))
    for encode, rows in ((encode_mentions, mentions), (encode_entities, entities)):
        found, expected = (encode(model, processor, rows, batch_size=5) for model in (tiny_model, cpu))
        assert found.device.type == "cpu"
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_vectors_are_held_on_the_gpu_and_found_as_on_the_cpu():
    import numpy as np
    import pyarrow as pa

    from dim.search.vectors import DenseSearch

    class Source:
        width, table = 64, tied(entities=40_000)[1]

        def __len__(self):
            return len(self.table)

        def encoded(self):
            return np.ones(len(self), bool), np.arange(len(self)), frozenset(["e"])

        def batches(self, columns, size):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(self.table.numpy().ravel()), self.width)
            yield from pa.table({"vector": vectors}).to_batches(max_chunksize=size)

        take = None

    queries = torch.randn(50, 64)
    cpu, gpu = DenseSearch.load(Source()), DenseSearch.load(Source(), device=torch.device("cuda"))
    assert (cpu.values.device.type, gpu.values.device.type) == ("cpu", "cuda")
    scores = [
        torch.einsum("md,mkd->mk", queries, Source.table[torch.from_numpy(each.search(queries, 10))])
        for each in (cpu, gpu)
    ]
    torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-5)
    assert torch.equal(gpu.vectors(np.array([5, 39_999])).cpu(), Source.table[[5, 39_999]])


def test_captions_do_not_depend_on_the_batch(tmp_path):
    from PIL import Image
    from tiny_blip2 import save_tiny_blip2

    from dim import Blip2Expert

    expert = Blip2Expert.from_pretrained(str(save_tiny_blip2(tmp_path)), device="cuda")
    images = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue", "black", "white")]
    together = expert.answer(images, batch_size=5, max_new_tokens=8)
    assert together == expert.answer(images, batch_size=1, max_new_tokens=8)
    assert len(set(together)) > 1
