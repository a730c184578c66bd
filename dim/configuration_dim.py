# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Configuration of DIM."""

from dataclasses import field
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .errors_dim import DIMError

MODALITIES = ("sentence", "picture", "expert")
TOWER_OUTPUTS = (  # fields of the model's output
    *("mention_model_output", "sentence_model_output", "expert_model_output", "vision_model_output"),
    *("text_model_output", "entity_vision_model_output"),
)

# Text towers that were trained on texts padded to one length, without a mask.
_ATTENDING_TO_PADDING = {"siglip_text_model", "siglip2_text_model"}
# Text towers that number the positions of a text from `pad_token_id + 1` on.
_POSITIONS_AFTER_PADDING = {
    *("altclip_text_model", "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke"),
    *("markuplm", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
}
_RELATIVE_POSITIONS = {"mt5", "t5", "umt5", "xlnet"}  # what their configs state bounds no text


def tower_width(config: PreTrainedConfig) -> int:
    """Reads the width of a tower's pooled vector from its config.

    Args:
        config: Configuration of a text or vision model of transformers.

    Returns:
        Number of values in the tower's pooled vector.

    Raises:
        DIMError: If the config has no field with a width that DIM can read.

    Example:

        >>> from transformers import BertConfig, ResNetConfig
        >>> tower_width(BertConfig(hidden_size=384)), tower_width(ResNetConfig(hidden_sizes=[8, 16, 32, 64]))
        (384, 64)
    """
    projected = getattr(config, "projection_size", None)  # SigLIP's text model ends in its own projection
    width = projected or getattr(config, "hidden_size", None)
    if width is None:
        stages = getattr(config, "hidden_sizes", None)
        width = stages[-1] if stages else None
    if width is None:
        raise DIMError(
            f"The tower config of type {config.model_type!r} has neither hidden_size nor hidden_sizes; "
            "choose a model whose config states its width, such as bert, clip, siglip, dinov2, vit or resnet."
        )
    return width


def text_positions(config: PreTrainedConfig) -> int | None:
    """Returns how many tokens a text tower can read at most, special tokens included; `None` without a limit.

    Args:
        config: Configuration of a text model of transformers.

    Example:

        >>> from transformers import BertConfig, RobertaConfig, T5Config
        >>> text_positions(BertConfig(max_position_embeddings=64)), text_positions(T5Config())
        (64, None)
        >>> text_positions(RobertaConfig(max_position_embeddings=514, pad_token_id=1))
        512
    """
    positions = getattr(config, "max_position_embeddings", None)
    if config.model_type in _RELATIVE_POSITIONS or not isinstance(positions, int) or positions < 1:
        return None
    if config.model_type in _POSITIONS_AFTER_PADDING:
        return positions - (1 if config.pad_token_id is None else config.pad_token_id) - 1
    return positions


def attends_to_padding(config: PreTrainedConfig) -> bool:
    """Whether a text tower was trained on texts padded to one length, without a mask, as SigLIP was.

    Args:
        config: Configuration of a text model of transformers.
    """
    return config.model_type in _ATTENDING_TO_PADDING


@strict
class DIMConfig(PreTrainedConfig):
    r"""Configuration of [`DIMModel`].

    The defaults are those of the paper (*DIM: Dynamic Integration of Multimodal Entity Linking with Large Language
    Model*, PRCV 2024) on CLIP ViT-B/32, with two deviations: vectors are normalised and scaled by a learned temperature
    (`normalize=False` gives the paper's raw dot product), and entities have pictures (`entity_pictures=False`: none).

    Args:
        text_config (`dict` or [`PreTrainedConfig`], *optional*):
            Configuration of the text tower; any text encoder of transformers by its `model_type`. CLIP's by default.
        vision_config (`dict`, [`PreTrainedConfig`] or `None`, *optional*):
            Configuration of the vision tower; CLIP's by default. `None` for a text-only model.
        projection_dim (`int`, defaults to 512):
            Width `D` of the shared space of mentions and entities.
        num_attention_heads (`int`, defaults to 8):
            Number of heads in the attention over the modalities.
        dropout (`float`, defaults to 0.4):
            Dropout on the attention over the modalities and on the fused vector.
        match_dropout (`float`, defaults to 0.0):
            Dropout of both sides' pictures before they are compared in `fusion="pairs"`. With frozen features of a
            pretrained tower, 0.4 keeps the projection from learning the training pictures by heart.
        fusion (`"pairs"`, `"attention"` or `"sum"`, defaults to `"pairs"`):
            `"pairs"`: the mention, which attends to its other modalities, is compared with the entity's text (the
            paper), and its picture with the entity's pictures; scores are comparable whatever either side lacks.
            `"attention"`: the same mention, but the entity's pictures are added to its text; for models of version 0.1.
            `"sum"`: the modalities are added without projections (the authors' code).
        mention_modalities (`list[str]`, defaults to `["sentence", "picture", "expert"]`):
            Modalities of a mention besides its own text, which is always used; `"expert"` is the caption.
        entity_pictures (`bool`, defaults to `True`):
            Whether an entity's pictures are used besides its name and description.
        text_pooling, vision_pooling (`"pooler"`, `"mean"` or `"cls"`):
            Pooling of a tower's states: its own pooler, the mean over tokens, or the first token.
        text_width, vision_width (`int`, *optional*):
            Width of a tower's pooled vector. By default it is found by running the tower once.
        attend_to_padding (`bool`, defaults to `False`):
            Whether the text tower sees padding tokens like others. SigLIP was trained so; `DIMModel.from_towers` sets
            it, and the processor then pads every text to one length.
        normalize (`bool`, defaults to `True`):
            Whether vectors have unit length and scores are cosines times `exp(logit_scale)`.
        logit_scale_init_value (`float`, defaults to 2.6592):
            Initial value of the learned temperature, as in CLIP. Not used with `normalize=False`.
        l2_weight (`float`, defaults to 0.02):
            Weight in the loss of the squared length of the vectors, before normalisation.
        num_lexical_features (`int`, defaults to 0):
            Number of lexical features that the lexical prior weighs; 0 for a model without one.
        initializer_range (`float`, defaults to 0.02):
            Standard deviation of new weights that are initialised at random.

    Raises:
        DIMError: If fields contradict each other, with the values in the message.

    Example:

        >>> config = DIMConfig(projection_dim=256, num_attention_heads=4)
        >>> config.text_config.model_type, config.projection_dim
        ('clip_text_model', 256)
        >>> DIMConfig(projection_dim=100)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        huggingface_hub.errors.StrictDataclassClassValidationError: Class validation error for validator ...:
            DIMError: projection_dim (100) is not a multiple of num_attention_heads (8).
    """

    model_type = "dim"
    sub_configs_defaults = {
        "text_config": SubConfigSpec(AutoConfig, model_type="clip_text_model"),
        "vision_config": SubConfigSpec(AutoConfig, model_type="clip_vision_model", optional=True),
    }
    keys_to_ignore_at_inference = ["modality_attentions", *TOWER_OUTPUTS]

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_config: dict[str, Any] | PreTrainedConfig | None = field(default_factory=dict)
    projection_dim: int = 512
    num_attention_heads: int = 8
    dropout: int | float = 0.4
    match_dropout: int | float = 0.0
    fusion: Literal["pairs", "attention", "sum"] = "pairs"
    mention_modalities: list[str] | tuple[str, ...] = MODALITIES
    entity_pictures: bool = True
    text_pooling: Literal["pooler", "mean", "cls"] = "pooler"
    vision_pooling: Literal["pooler", "mean", "cls"] = "pooler"
    text_width: int | None = None
    vision_width: int | None = None
    attend_to_padding: bool = False
    normalize: bool = True
    logit_scale_init_value: int | float = 2.6592
    l2_weight: int | float = 0.02
    num_lexical_features: int = 0
    initializer_range: int | float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        self.mention_modalities = list(self.mention_modalities)
        for side, tower in (("text", self.text_config), ("vision", self.vision_config)):
            kind = tower.get("model_type") if isinstance(tower, dict) else None
            if kind is not None and kind not in CONFIG_MAPPING:
                raise DIMError(
                    f"The {side} tower is of type {kind!r}, which transformers does not know; if its classes are your "
                    "own, import the module that registers them first."
                )
        super().__post_init__(**kwargs)

    @property
    def uses_pictures(self) -> bool:
        """Whether the model uses pictures of mentions or entities."""
        return self.entity_pictures or "picture" in self.mention_modalities

    @property
    def matches_pictures(self) -> bool:
        """Whether vectors have a second block, for the score of picture against picture."""
        return self.fusion == "pairs" and self.entity_pictures

    @property
    def vector_dim(self) -> int:
        """Width of the vectors of mentions and entities: `projection_dim`, or twice as much with two blocks."""
        return self.projection_dim * (2 if self.matches_pictures else 1)

    def validate_architecture(self) -> None:
        """Checks the fields for contradictions; called by `@strict` when a config is built or saved."""
        if self.projection_dim < 1 or self.num_attention_heads < 1:
            raise DIMError(
                f"projection_dim ({self.projection_dim}) and num_attention_heads ({self.num_attention_heads}) "
                "must be positive."
            )
        if self.projection_dim % self.num_attention_heads != 0:
            raise DIMError(
                f"projection_dim ({self.projection_dim}) is not a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        for name in ("dropout", "match_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise DIMError(f"{name} ({getattr(self, name)}) must be at least 0 and below 1.")
        if self.l2_weight < 0:
            raise DIMError(f"l2_weight ({self.l2_weight}) must not be negative.")
        if self.num_lexical_features < 0:
            raise DIMError(f"num_lexical_features ({self.num_lexical_features}) must not be negative.")
        unknown = [name for name in self.mention_modalities if name not in MODALITIES]
        if unknown or len(set(self.mention_modalities)) != len(self.mention_modalities):
            raise DIMError(
                f"mention_modalities ({list(self.mention_modalities)}) must name each of {list(MODALITIES)} "
                "at most once."
            )
        if self.matches_pictures and "picture" not in self.mention_modalities:
            raise DIMError(
                f"fusion='pairs' compares pictures of both sides, but mention_modalities "
                f"({list(self.mention_modalities)}) lacks 'picture'; add it, or set entity_pictures=False."
            )
        if self.uses_pictures and self.vision_config is None:
            raise DIMError(
                f"vision_config is None, but mention_modalities ({list(self.mention_modalities)}) or entity_pictures "
                f"({self.entity_pictures}) asks for pictures; give a vision_config, or leave 'picture' out and set "
                "entity_pictures=False."
            )
        if not self.uses_pictures and self.vision_config is not None:
            raise DIMError(
                "vision_config is given, but neither mention_modalities nor entity_pictures asks for pictures; "
                "set vision_config=None."
            )


# `save_pretrained` and `push_to_hub` write this file next to the weights, for `trust_remote_code=True`.
DIMConfig.register_for_auto_class()

__all__ = ["MODALITIES", "TOWER_OUTPUTS", "DIMConfig", "attends_to_padding", "text_positions", "tower_width"]
