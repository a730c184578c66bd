# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Towers of DIM: any text or vision encoder of transformers, untrained or from a checkpoint."""

import inspect

import transformers
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .errors_dim import DIMError

# Towers that AutoModel does not know.
_TOWERS_BY_NAME = {"siglip_text_model": "SiglipTextModel", "siglip2_text_model": "Siglip2TextModel"}


def tower_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Returns the class of transformers for a tower's config."""
    if config.model_type in _TOWERS_BY_NAME:
        return getattr(transformers, _TOWERS_BY_NAME[config.model_type])
    if type(config) not in MODEL_MAPPING:
        raise DIMError(f"transformers has no encoder for the tower config of type {config.model_type!r}.")
    return MODEL_MAPPING[type(config)]


def build_tower(config: PreTrainedConfig, pooling: str) -> PreTrainedModel:
    """Builds an untrained tower, without its own pooler if DIM does not use it, so that no weight is unused."""
    cls = tower_class(config)
    if pooling != "pooler" and "add_pooling_layer" in inspect.signature(cls.__init__).parameters:
        return cls._from_config(config, add_pooling_layer=False)
    return cls._from_config(config)


def pool(outputs: BaseModelOutputWithPooling, pooling: str, attention_mask: Tensor | None = None) -> Tensor:
    """Pools a tower's output to one vector per row: (B, T, H) or (B, H, h, w) -> (B, H)."""
    if pooling == "pooler":
        return outputs.pooler_output.flatten(1)
    states = outputs.last_hidden_state
    if states.dim() == 4:  # a convolutional tower's feature map
        states = states.flatten(2).transpose(1, 2)  # (B, H, h, w) -> (B, h * w, H)
    if pooling == "cls":
        return states[:, 0]
    if attention_mask is None:
        return states.mean(1)
    weights = attention_mask.to(states.dtype).unsqueeze(-1)  # (B, T, 1)
    return (states * weights).sum(1) / weights.sum(1)


def load_towers(
    text: str, vision: str | PreTrainedConfig | None
) -> tuple[dict, PreTrainedModel, PreTrainedModel | None]:
    """Loads the checkpoints of `DIMModel.from_towers`.

    Args:
        text: Folder or Hub name of a text encoder, or of a checkpoint with both towers.
        vision: Folder or Hub name of a vision encoder; a config for an untrained one; `None` for that of `text`.

    Returns:
        Fields of a matching `DIMConfig`, the checkpoint of the text tower, and that of the vision tower, if any.
    """
    text_source, text_config = _load_source(text, "text_config")
    vision_source, vision_config = None, vision
    if isinstance(vision, str):
        vision_source, vision_config = _load_source(vision, "vision_config")
    elif vision is None and hasattr(text_source, "vision_model"):
        vision_source, vision_config = text_source, text_source.config.vision_config
    fields: dict = {
        "text_pooling": suggest_pooling(text_config),
        "vision_pooling": "pooler",
        "text_config": _plain(text_config),
        "vision_config": None if vision_config is None else _plain(vision_config),
    }
    if vision_config is None:
        fields |= {"mention_modalities": ["sentence", "expert"], "entity_pictures": False}
    projection = getattr(text_source, "text_projection", None)
    if projection is not None:
        fields["projection_dim"] = projection.out_features
    return fields, text_source, vision_source


def _load_source(name: str, side: str) -> tuple[PreTrainedModel, PreTrainedConfig]:
    """Loads a checkpoint with a tower, and the tower's config: its own, or that of the text or vision side."""
    try:
        config = AutoConfig.from_pretrained(name)
    except ValueError as error:
        raise DIMError(f"transformers does not know the model {name}: {error}") from error
    tower_config = getattr(config, side, config)
    if tower_config is config:
        return tower_class(config).from_pretrained(name), config
    return AutoModel.from_pretrained(name), tower_config


def suggest_pooling(config: PreTrainedConfig) -> str:
    """Returns a tower's usual pooling: the pooler for CLIP and SigLIP, the mean for others, such as MiniLM."""
    return "pooler" if config.model_type.startswith(("clip", "siglip")) else "mean"


def _plain(config: PreTrainedConfig) -> dict:
    """Returns a tower's config without the fields that name its source."""
    return {key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", "architectures")}


def copy_tower(source: PreTrainedModel, attribute: str, tower: PreTrainedModel) -> None:
    """Copies a tower's weights, except those that DIM's tower lacks (an unused pooler)."""
    weights = getattr(source, attribute, source).state_dict()
    wanted = tower.state_dict()
    tower.load_state_dict({name: weights[name] for name in wanted})


def copy_projection(source: PreTrainedModel, attribute: str, projection: nn.Linear) -> None:
    """Copies a checkpoint's own projection to the shared space, if it has one of the same shape."""
    own = getattr(source, attribute, None)
    if own is not None and own.weight.shape == projection.weight.shape:
        projection.load_state_dict({"weight": own.weight})


__all__ = ["build_tower", "copy_projection", "copy_tower", "load_towers", "pool", "suggest_pooling", "tower_class"]
