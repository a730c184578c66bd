"""A trained DIM ranks alike whatever pictures the entities lack: namesakes whose pictures tell them apart."""

import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig, CLIPVisionConfig

from dim import DIMConfig, DIMModel

SENSES, FORMS, WIDTH, ADDED = 4, 30, 32, 50


def unit(*shape, generator):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


class World:
    """Forms with four senses each: texts show the form, and faintly the sense; pictures show the sense."""

    def __init__(self):
        self.random = torch.Generator().manual_seed(0)
        forms = unit(FORMS, WIDTH, generator=self.random).repeat_interleave(SENSES, 0)
        self.texts = F.normalize(forms + 0.3 * unit(len(forms), WIDTH, generator=self.random), dim=-1)
        self.pictures = unit(len(forms), WIDTH, generator=self.random)

    def mentions(self, count):
        gold = torch.randint(len(self.texts), (count,), generator=self.random)
        hints = self.texts[gold] + 0.8 * unit(count, WIDTH, generator=self.random)
        looks = self.pictures[gold] + 0.8 * unit(count, WIDTH, generator=self.random)
        return gold, {"mention_pooled": hints, "sentence_pooled": hints, "image_pooled": looks}

    def entities(self, without):
        return {"entity_pooled": self.texts, "entity_image_pooled": self.pictures[:, None],
                "entity_pixel_mask": ~without[:, None]}  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    """A small model, trained as `dim train --entity_picture_dropout 0.5` does."""
    world = World()
    torch.manual_seed(0)
    text = BertConfig(vocab_size=9, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    vision = CLIPVisionConfig(hidden_size=WIDTH, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                              image_size=8, patch_size=8)  # fmt: skip
    config = DIMConfig(text_config=text, vision_config=vision, projection_dim=WIDTH, num_attention_heads=2,
                       dropout=0.0, text_pooling="mean", mention_modalities=["sentence", "picture"])  # fmt: skip
    model = DIMModel(config)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(300):
        gold, inputs = world.mentions(64)
        seen = torch.rand(64, generator=world.random) > 0.25
        share = torch.rand((), generator=world.random) if step % 2 else 0.0
        without = torch.rand(len(world.texts), generator=world.random) < share
        output = model(**inputs, pixel_mask=seen, **world.entities(without), labels=gold)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), world


@torch.inference_mode()
def answers(trained, inputs, without, *, seen=True, added=None):
    model, world = trained
    mentions = model.get_mention_features(**inputs, pixel_mask=torch.full((len(inputs["mention_pooled"]),), seen))
    entities = model.get_entity_features(**world.entities(without))
    if added is not None:
        entities = torch.cat([entities, model.get_entity_features(entity_pooled=added)])
    return model.score(mentions, entities).argmax(1)


def test_answers_hold_whatever_pictures_entities_lack(trained):
    world = trained[1]
    gold, inputs = world.mentions(1000)
    nobody = torch.zeros(len(world.texts), dtype=torch.bool)
    whole = (answers(trained, inputs, nobody) == gold).float().mean()
    blind = answers(trained, inputs, nobody, seen=False)
    assert whole > 0.9  # the picture decides
    assert (blind == gold).float().mean() < 0.8  # which the text alone does not
    for share in (0.01, 0.1, 0.5):
        without = torch.rand(len(world.texts), generator=world.random) < share
        found, keep = answers(trained, inputs, without), ~without[gold]
        assert (found == gold)[keep].float().mean() > whole - 0.04
        assert (without[found].float().mean() - without[gold].float().mean()).abs() < 0.05
        assert torch.equal(answers(trained, inputs, without, seen=False), blind)
    assert torch.equal(answers(trained, inputs, ~nobody, seen=False), blind)


def test_an_entity_added_by_its_text_is_found_and_takes_no_mention_of_others(trained):
    world = trained[1]
    gold, inputs = world.mentions(600)
    nobody = torch.zeros(len(world.texts), dtype=torch.bool)
    right = answers(trained, inputs, nobody) == gold
    forms = world.texts[torch.randperm(len(world.texts), generator=world.random)[:ADDED]]
    added = F.normalize(forms + unit(ADDED, WIDTH, generator=world.random), dim=-1)  # half another's name
    assert torch.equal(answers(trained, inputs, nobody, added=added)[right], gold[right])
    own = {"mention_pooled": added, "sentence_pooled": added, "image_pooled": torch.zeros(ADDED, WIDTH)}
    found = answers(trained, own, nobody, seen=False, added=added)
    assert torch.equal(found, len(world.texts) + torch.arange(ADDED))
