"""Mentions in their sentences, and mentions that are a picture alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from dim import DIMError, DIMModel, DIMProcessor
from dim.sentences_dim import NOWHERE, locate_mentions, mark_mentions

RED = Image.new("RGB", (20, 20), "red")


@pytest.fixture(scope="module", params=["attention", "sum"])
def dim(request, tiny_clip_dir):
    torch.manual_seed(0)
    model = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4, fusion=request.param)
    return model.eval(), DIMProcessor.from_towers(str(tiny_clip_dir))


def test_a_picture_alone_has_no_mark():
    assert mark_mentions(["", " "], ["", "\n"], [NOWHERE] * 2, "[]") == (["", ""], [(0, 0)] * 2)
    assert locate_mentions(["Ada", ""], ["I met Ada.", " "], [False, True]) == [(6, 9), NOWHERE]


@pytest.mark.parametrize(
    ("mention", "sentence", "span", "message"),
    [
        ("", "", (0, 0), "Sentence 0 is empty"),
        ("", "Ada sat.", NOWHERE, "Mention 0 is empty"),
        ("Ada", "", NOWHERE, "Sentence 0 is empty"),
    ],
)
def test_half_a_mention_is_refused(mention, sentence, span, message):
    with pytest.raises(DIMError, match=message):
        mark_mentions([mention], [sentence], [span], "[]")


def test_the_processor_reads_an_empty_text_and_masks_the_sentence(dim):
    processor = dim[1]
    empty = processor.tokenizer("").input_ids
    batch = processor.process_mentions(["", "gem"], ["", "the gem"], [RED, None])
    assert batch["mention_input_ids"][0][: len(empty)].tolist() == empty
    assert batch["mention_attention_mask"][0].sum() == len(empty)
    assert batch["sentence_mask"].tolist() == [False, True]
    assert batch["pixel_mask"].tolist() == [True, False]
    assert batch["num_truncated_tokens"].tolist() == [0, 0]
    assert "sentence_mask" not in processor.process_mentions(["gem"], ["the gem"], [RED])
    assert "sentence_mask" in processor(mentions=[""], text=[""], images=[RED], names=["a"], descriptions=[""])


@pytest.mark.parametrize("images", [None, [None], [RED, None]])
def test_a_mention_without_text_and_picture_is_refused(dim, images):
    texts = [""] * len(images or [None])
    with pytest.raises(DIMError, match="The mention is empty"):
        dim[1].process_mentions(texts, texts, images)


def test_pictures_in_an_array_are_pictures(dim):
    """A stack of pictures is no list, and its truth value is undefined."""
    pixels = np.zeros((2, 9, 9, 3), np.uint8)
    assert dim[1].process_mentions(["", ""], ["", ""], pixels)["sentence_mask"].tolist() == [False, False]


@torch.no_grad()
def test_the_vector_of_a_picture_alone_does_not_depend_on_its_batch(dim):
    model, processor = dim
    alone = model.get_mention_features(**processor.process_mentions([""], [""], [RED]))
    texts = ["", "gem"], ["", "a very much longer sentence about the gem of the land"]
    beside = processor.process_mentions(*texts, [RED, Image.new("RGB", (9, 9), "blue")])
    torch.testing.assert_close(model.get_mention_features(**beside)[:1], alone)
    other = dict(beside)
    other["sentence_input_ids"] = beside["sentence_input_ids"].clone()
    other["sentence_input_ids"][0] = 7  # what is masked may hold anything
    torch.testing.assert_close(model.get_mention_features(**other)[:1], alone)
    blue = processor.process_mentions([""], [""], [Image.new("RGB", (20, 20), "blue")])
    assert not torch.allclose(model.get_mention_features(**blue), alone, atol=1e-3)


@torch.no_grad()
def test_the_picture_has_all_of_the_attention(tiny_clip_dir):
    model, processor = DIMModel.from_towers(str(tiny_clip_dir)), DIMProcessor.from_towers(str(tiny_clip_dir))
    weights = model(**processor.process_mentions(["", "gem"], ["", "the gem"], [RED, RED])).modality_attentions.mean(1)
    picture = model.config.mention_modalities.index("picture")
    assert weights[0, picture] == pytest.approx(1)
    assert 0 < weights[1, picture] < 1


@torch.no_grad()
def test_a_frozen_picture_tower_runs_once_for_a_picture_alone(dim):
    """The pooled vector of the picture, with the texts by themselves."""
    model, processor = dim
    pixels = processor(images=[RED])["pixel_values"]
    texts = processor.process_mentions([""], [""], spans=[NOWHERE])
    pooled = model.get_mention_features(**texts, image_pooled=model.pool_pictures(pixels))
    whole = model.get_mention_features(**processor.process_mentions([""], [""], [RED]))
    torch.testing.assert_close(pooled, whole)
