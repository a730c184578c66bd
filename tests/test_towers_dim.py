"""Masks of pairs of tokens, which the host need not read: the text towers give the same by them."""

import copy

import pytest
import torch
import transformers

from dim import towers_dim
from dim.towers_dim import build_tower, reads_square_masks, tower_mask

SIZE = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ENDS = {"eos_token_id": 5, "bos_token_id": 1, "pad_token_id": 0}


def tower(name, **fields):
    return build_tower(getattr(transformers, name)(**SIZE, **fields), "mean", "text").train()


@pytest.mark.parametrize(
    ("name", "fields", "causal"),
    [("BertConfig", {}, False), ("CLIPTextConfig", ENDS, True), ("SiglipTextConfig", {}, False),
     ("Qwen2Config", {"num_key_value_heads": 4}, True)],
)  # fmt: skip
def test_towers_give_the_same_by_masks_of_pairs(name, fields, causal, monkeypatch):
    model = tower(name, **fields)
    assert reads_square_masks(model) is causal
    assert all(module.training for module in model.modules())
    model.eval()
    ids, mask = torch.randint(6, 60, (3, 9)), (torch.arange(9) < torch.tensor([[9], [4], [6]])).long()
    expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
    monkeypatch.setattr(towers_dim, "_is_gpu", lambda value: True)
    square = tower_mask(model, mask)
    assert square.shape == (3, 1, 9, 9)
    found = model(input_ids=ids, attention_mask=square).last_hidden_state
    assert torch.equal(found[mask.bool()], expected[mask.bool()])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ModernBertConfig", {**ENDS, "cls_token_id": 1, "sep_token_id": 2}),
        ("MPNetConfig", {}),
        ("DebertaV2Config", {}),
    ],
)
def test_towers_that_see_near_tokens_only_or_take_no_such_mask_keep_that_of_the_tokens(name, fields, monkeypatch):
    model, mask = tower(name, **fields), torch.ones(2, 3)
    assert reads_square_masks(model) is None
    monkeypatch.setattr(towers_dim, "_is_gpu", lambda value: True)
    assert tower_mask(model, mask) is mask


def test_a_mask_on_the_cpu_stays_as_it_is():
    assert tower_mask(tower("BertConfig"), mask := torch.ones(2, 3)) is mask
    assert tower_mask(tower("BertConfig"), None) is None


def test_a_tower_is_tried_once_for_each_kind_of_attention(monkeypatch):
    model, mask, tried = tower("BertConfig"), torch.ones(2, 3), []
    monkeypatch.setattr(towers_dim, "_is_gpu", lambda value: True)
    monkeypatch.setattr(towers_dim, "reads_square_masks", lambda each: tried.append(each.config._attn_implementation))
    for _ in range(2):
        tower_mask(model, mask)
    model.set_attn_implementation("eager")
    tower_mask(model, mask)
    assert tried == ["sdpa", "eager"]
    assert reads_square_masks(copy.deepcopy(model)) is None
