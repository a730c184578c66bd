"""8-bit pixels that a device normalises are the pixels of the processor, bit for bit."""

import copy

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from dim import DIMProcessor
from dim.encoding import encode
from dim.encoding.eight_bit import EightBitPictures
from dim.encoding.encode import encode_entities, encode_mentions
from dim.encoding.loading import load_dim


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    return load_dim(tiny_dim_dir)


def pictures(count):
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (30 + row, 90, 3), np.uint8)) for row in range(count)]


def with_images(processor, name, **options):
    """The processor with another image processor."""
    other = copy.copy(processor)
    other.image_processor = getattr(transformers, name)(**options)
    return other


@pytest.mark.parametrize(
    ("name", "options"),
    [("CLIPImageProcessorPil", {}), ("SiglipImageProcessorPil", {}), ("ViTImageProcessorPil", {}),
     ("CLIPImageProcessorPil", {"do_normalize": False}), ("BitImageProcessorPil", {"rescale_factor": 1 / 127.5})],
)  # fmt: skip
def test_pixels_are_those_of_the_processor(dim, name, options):
    processor = with_images(dim[1], name, **options)
    split = EightBitPictures.of(processor)
    images = pictures(4)
    for make, rows in (
        (DIMProcessor.process_mentions, (["a"] * 4, ["a"] * 4, [images[0], None, images[1], images[2]])),
        (DIMProcessor.process_entities, (["a"] * 3, [""] * 3, [images[:3], [], [images[3]]])),
    ):
        expected, inputs = make(processor, *rows), make(split.processor, *rows)
        assert torch.uint8 in {value.dtype for value in inputs.values()}
        found = split.normalised(inputs)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert processor.image_processor.do_rescale  # unchanged


@pytest.mark.parametrize("name", ["EfficientNetImageProcessorPil", "Siglip2ImageProcessorPil"])
def test_an_image_processor_that_is_no_table_is_not_split(dim, name):
    assert EightBitPictures.of(with_images(dim[1], name)) is None


def test_encoding_by_8_bit_pixels_gives_the_same_vectors(dim, monkeypatch):
    """What a model on a GPU does, here on the CPU."""
    model, processor = dim
    images = pictures(5)
    mentions = [{"mention": "a", "sentence": "a " * (n + 1), "start": 0, "end": 1, "image": image}
                for n, image in enumerate([*images, None])]  # fmt: skip
    entities = [{"name": f"n{n}", "description": "", "images": images[:n]} for n in range(4)]
    expected = encode_mentions(model, processor, mentions, batch_size=2), encode_entities(model, processor, entities)
    monkeypatch.setattr(encode, "_is_gpu", lambda device: True)
    monkeypatch.setattr(encode, "_KEPT_BYTES", 100)
    split, of = [], EightBitPictures.of
    monkeypatch.setattr(EightBitPictures, "of", lambda processor: split.append(of(processor)) or split[-1])
    found = encode_mentions(model, processor, mentions, batch_size=2), encode_entities(model, processor, entities)
    assert len(split) == 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
