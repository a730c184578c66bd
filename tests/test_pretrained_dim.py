"""Pretrained towers: an untrained DIM computes the towers' own features, whatever the towers; or it is refused."""

import logging

import pytest
import torch
import transformers
from tiny_towers import SIZE, TWO_TOWERS, VISIONS, save_text, save_two_towers, save_vision
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from dim import DIMModel, DIMProcessor

NAMES = ["a", "finland of the north", "the land of an inn and of the other inn in the north"]
PICTURES = [Image.effect_mandelbrot((40, 30 + 8 * row), (-2, -1, 1, 1), 20 + row).convert("RGB") for row in range(3)]
PAIRS = [
    *((kind, None) for kind in TWO_TOWERS),
    ("bert", "vit"),
    ("bert", "vit without pooler"),
    ("minilm", "dinov2"),
    ("bert", "dinov3_vit"),
    ("siglip", "dinov2"),
    ("siglip_text", "dinov2"),
    ("siglip2_text", "siglip_vision"),
    ("bert", "siglip"),
    ("bert", "metaclip_2"),
    ("clip", "dinov2"),
    ("roberta", "clip_vision"),
    ("t5", "dinov2"),
    ("modernbert", "vit"),
]


def save(kind, folder, tokenizer):
    if kind in TWO_TOWERS:
        return save_two_towers(kind, tokenizer, folder)
    if kind.endswith(" without pooler"):
        return save_vision(kind.split()[0], folder, without=("pooler.",))
    return save_vision(kind, folder) if kind in VISIONS else save_text(kind, tokenizer, folder)


@pytest.fixture(scope="module")
def checkpoint(tiny_bert_dir, tmp_path_factory):
    """Writes the checkpoint of a kind, once."""
    known = {}

    def of(kind):
        if kind not in known:
            known[kind] = save(kind, tmp_path_factory.mktemp("tower"), tiny_bert_dir)
        return known[kind]

    return of


def own_texts(folder, texts):
    """The text features of a checkpoint, as its documentation computes them."""
    model, tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
    if "siglip" in model.config.model_type:
        ids = tokenizer(texts, padding="max_length", max_length=40, truncation=True, return_tensors="pt").input_ids
        inputs = {"input_ids": ids}
    else:
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if hasattr(model, "get_text_features"):
        return model.get_text_features(**inputs).pooler_output
    outputs = model(**inputs)
    if "siglip" in model.config.model_type:
        return outputs.pooler_output
    mask = inputs["attention_mask"][..., None]
    return (outputs.last_hidden_state * mask).sum(1) / mask.sum(1)


def own_pictures(folder, pixels, pooler):
    model = load(folder)
    if hasattr(model, "get_image_features"):
        return model.get_image_features(pixel_values=pixels).pooler_output
    outputs = model(pixel_values=pixels)
    return outputs.pooler_output if pooler else outputs.last_hidden_state[:, 0]


def load(folder):
    config = AutoConfig.from_pretrained(folder)
    return getattr(transformers, config.architectures[0]).from_pretrained(folder).eval()


def check_equal(found, own):
    """Equal, with zeros where DIM's shared space is wider."""
    torch.testing.assert_close(found[:, : own.shape[1]], own, atol=1e-5, rtol=1e-4)
    assert found[:, own.shape[1] :].abs().sum() == 0
    assert own.std(0).mean() > 1e-3  # different texts and pictures have different features


@torch.no_grad()
@pytest.mark.parametrize(("text", "vision"), PAIRS)
def test_untrained_vectors_are_the_towers_own(checkpoint, text, vision):
    towers = [str(checkpoint(kind)) for kind in (text, vision) if kind is not None]
    model, processor = DIMModel.from_towers(*towers), DIMProcessor.from_towers(*towers)
    own = own_texts(towers[0], NAMES)
    batch = processor.process_entities(NAMES, [""] * 3, [[picture] for picture in PICTURES])
    ids, mask = batch["entity_input_ids"], batch["entity_attention_mask"]
    check_equal(model.text_projection(model.pool_texts(ids, mask)), own)
    alone = []
    for name in NAMES:
        one = processor.process_entities([name], [""])
        alone.append(model.text_projection(model.pool_texts(one["entity_input_ids"], one["entity_attention_mask"])))
    check_equal(torch.cat(alone), own)
    pixels = batch["entity_pixel_values"][:, 0]
    found = model.visual_projection(model.pool_pictures(pixels))
    check_equal(found, own_pictures(towers[-1], pixels, not (vision or "").endswith("without pooler")))
    alone = torch.cat([model.visual_projection(model.pool_pictures(one[None])) for one in pixels])
    torch.testing.assert_close(alone, found, atol=1e-5, rtol=1e-4)
