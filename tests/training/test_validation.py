"""Ranking of the validation split, and the weight of entities' pictures."""

import pytest
import torch

from dim import DIMModel
from dim.lexical_dim import LEXICAL_FEATURES
from dim.training.validation import encode_knowledge_base, encode_side, picture_weight, rank_validation


def test_whole_and_candidates_are_the_naive_ranks(mel_data, tiny_dim_dir, monkeypatch):
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    torch.nn.init.normal_(model.lexical_prior.output_weight)
    side = mel_data.validation
    lists = torch.stack([torch.randperm(6)[:4] for _ in side.ids])
    lists[:, 3] = -1
    monkeypatch.setattr(side, "candidates", lists)
    [found] = rank_validation(model, mel_data, 5)
    rows = (side.gold >= 0).nonzero().flatten()
    mentions, entities = encode_side(model, mel_data, side, rows, 5), encode_knowledge_base(model, mel_data, 5)
    names = [side.mentions[row] for row in rows.tolist()]
    with torch.no_grad():
        scores = model.score(mentions, entities, mel_data.lexical_features(names))
    hits = {"H@1": [], "candidates H@1": []}
    for row, gold, own in zip(scores, side.gold[rows], lists[rows], strict=True):
        hits["H@1"].append(float(row.argmax() == gold))
        among = own[own >= 0]
        hits["candidates H@1"].append(float(among[row[among].argmax()] == gold))
    for name, values in hits.items():
        assert found[name] == pytest.approx(100 * sum(values) / len(values))
    retrieved = (lists[rows] == side.gold[rows, None]).any(1).double()
    assert found["candidates H@20"] == pytest.approx(100 * retrieved.mean().item())
    assert "vectors MRR" in found
    monkeypatch.setattr(side, "candidates", torch.full((len(side.ids), 1), -1))
    assert not any(name.startswith("candidates") for name in rank_validation(model, mel_data, 5)[0])


def test_picture_weight_is_restored_exactly(tiny_dim_dir):
    model = DIMModel.from_pretrained(tiny_dim_dir, fusion="attention")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with picture_weight(model, 1.7):
        changed = model.entity_picture_projection.weight
        torch.testing.assert_close(changed, before["entity_picture_projection.weight"] * 1.7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_picture_weight_multiplies_the_contribution_of_pictures(tiny_dim_dir):
    model = DIMModel.from_pretrained(tiny_dim_dir, fusion="attention")
    inputs = {"entity_pooled": torch.randn(3, 32), "entity_image_pooled": torch.randn(3, 1, 32)}
    text = model._entity_vectors({"entity_pooled": inputs["entity_pooled"]})[0]
    plain = model._entity_vectors(inputs)[0]
    with picture_weight(model, 3.0):
        torch.testing.assert_close(model._entity_vectors(inputs)[0], text + 3 * (plain - text))


def test_picture_weight_of_pairs_multiplies_the_second_block(tiny_dim_dir):
    config = DIMModel.config_class.from_pretrained(tiny_dim_dir, fusion="pairs")
    model = DIMModel(config).eval()
    inputs = {"entity_pooled": torch.randn(3, 32), "entity_image_pooled": torch.randn(3, 1, 32)}
    plain = model.get_entity_features(**inputs)
    with picture_weight(model, 3.0):
        weights = torch.tensor([1.0, 3.0]).repeat_interleave(32)
        torch.testing.assert_close(model.get_entity_features(**inputs), plain * weights)
    assert torch.equal(model.get_entity_features(**inputs), plain)
