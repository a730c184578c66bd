# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""What goes into DIM and what comes out: the names of its inputs, and its output."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

Inputs = Mapping[str, Tensor | None]
TowerOutputs = dict[str, BaseModelOutputWithPooling | None]  # by their fields in the output
Features = Tensor | Literal[False] | None  # lexical features; False where vectors are compared alone on purpose
MENTION_INPUTS = (
    *(
        f"{side}_{kind}"
        for side in ("mention", "sentence", "expert")
        for kind in ("input_ids", "attention_mask", "pooled")
    ),
    *("sentence_mask", "expert_mask", "pixel_values", "pixel_mask", "image_pooled", "num_truncated_tokens"),
)
ENTITY_INPUTS = (
    *("entity_input_ids", "entity_attention_mask", "entity_pooled", "entity_num_truncated_tokens"),
    *("entity_pixel_values", "entity_pixel_mask", "entity_image_pooled"),
)
MISSING_FEATURES = (
    "The model has a lexical prior, but gets no lexical_features: it compares vectors alone, which ranks differently "
    "from what it was trained for. The processor makes the features: pass mentions, sentences, names and descriptions "
    "to it in one call, or use processor.lexical_features. To compare vectors alone, pass lexical_features=False."
)


@dataclass
class DIMOutput(ModelOutput):
    """Output of [`DIMModel`].

    Args:
        loss (`torch.Tensor` of shape `()`, *optional*): N-pair loss plus the penalty on length; with `labels`.
        logits (`torch.Tensor` of shape `(B, E)`): Score of each mention with each entity of the batch.
        mention_embeds (`torch.Tensor` of shape `(B, V)`): Mention vectors; blocks of unit length if `config.normalize`.
        entity_embeds (`torch.Tensor` of shape `(E, V)`): Entity vectors, pictures weighed; `V` is
            `config.vector_dim`.
        mention_states (`torch.Tensor` of shape `(B, V)`): Mention vectors before normalisation.
        entity_states (`torch.Tensor` of shape `(E, V)`): Entity vectors before normalisation.
        modality_attentions (`torch.Tensor` of shape `(B, heads, K)`, *optional*): Weight of each of the `K` modalities
            of `config.mention_modalities`; 0 for a modality that a mention lacks. `None` with `fusion="sum"`.
        mention_model_output, sentence_model_output, expert_model_output (`BaseModelOutputWithPooling`, *optional*):
            Text tower's outputs for the mentions' own text, their sentences and their captions.
        vision_model_output (`BaseModelOutputWithPooling`, *optional*): Vision tower's output for the mentions that
            have a picture, in order; in a compiled graph for all of them.
        text_model_output (`BaseModelOutputWithPooling`, *optional*): Text tower's output for the entities.
        entity_vision_model_output (`BaseModelOutputWithPooling`, *optional*): Vision tower's output for the entities'
            present pictures, entity by entity.

    Example:

        >>> import torch
        >>> from dim import DIMModel
        >>> ids = torch.tensor([[5, 6], [7, 8]])
        >>> model = DIMModel.from_pretrained("demo/model")
        >>> output = model(mention_input_ids=ids, sentence_input_ids=ids, entity_input_ids=ids)
        >>> output.logits.shape, output.mention_embeds.shape == (2, model.config.vector_dim), output.loss
        (torch.Size([2, 2]), True, None)
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    mention_embeds: Tensor | None = None
    entity_embeds: Tensor | None = None
    mention_states: Tensor | None = None
    entity_states: Tensor | None = None
    modality_attentions: Tensor | None = None
    mention_model_output: BaseModelOutputWithPooling | None = None
    sentence_model_output: BaseModelOutputWithPooling | None = None
    expert_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    entity_vision_model_output: BaseModelOutputWithPooling | None = None


__all__ = [
    "ENTITY_INPUTS",
    "MENTION_INPUTS",
    "MISSING_FEATURES",
    "DIMOutput",
    "Features",
    "Inputs",
    "TowerOutputs",
]
