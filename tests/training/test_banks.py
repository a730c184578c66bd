"""Texts prepared for training: tokens as the tokenizer's, vectors as the tower's."""

import torch

from dim.encoding.loading import load_dim
from dim.training.banks import TextBank, _held, _taken


def test_batches_equal_the_tokenizer(tiny_dim_dir):
    processor = load_dim(tiny_dim_dir)[1]
    texts = ["a", "bird and a flag", "a", "the end"]
    bank = TextBank(processor.tokenizer(texts)["input_ids"], processor.tokenizer.pad_token_id)
    rows = torch.tensor([3, 1, 2, 0, 1])
    batch = bank.fetch(rows, "mention")
    expected = processor.tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt")
    assert torch.equal(batch["mention_input_ids"], expected["input_ids"])
    assert torch.equal(batch["mention_attention_mask"], expected["attention_mask"])
    assert len(bank.lengths) == 3  # equal texts are stored once


def test_encoded_bank_equals_the_tower(tiny_dim_dir, tmp_path):
    model, processor = load_dim(tiny_dim_dir)
    texts = ["a", "bird and a flag", "the end"]
    bank = TextBank(processor.tokenizer(texts)["input_ids"], processor.tokenizer.pad_token_id)
    bank.encode(model, 2, tmp_path, store=False)
    assert not any(tmp_path.iterdir())
    bank.encode(model, 2, tmp_path)
    expected = processor.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.pool_texts(expected["input_ids"], expected["attention_mask"])
    torch.testing.assert_close(bank.fetch(torch.arange(3), "x")["x_pooled"], expected)


def test_vectors_stay_on_the_cpu_but_for_a_gpu():
    pooled = torch.randn(3, 4)
    assert _held(pooled, torch.device("cpu"), True) is pooled
    assert torch.equal(_taken(pooled, torch.tensor([2, 0])), pooled[[2, 0]])
