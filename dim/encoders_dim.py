# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""The initialisation of DIM's weights, and its towers: texts and pictures as vectors of the shared space."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_dim import DIMConfig, text_positions
from .errors_dim import DIMError
from .layers_dim import DIMIdentityLinear, DIMLexicalPrior, DIMLogitScale, DIMPictureMatch
from .outputs_dim import Inputs
from .towers_dim import pool, to_device, tower_mask


class DIMPreTrainedModel(PreTrainedModel):
    """The towers of a DIM with their projections into the shared space; [`DIMModel`] adds fusion and score."""

    config: DIMConfig
    base_model_prefix = ""
    main_input_name = "mention_input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # For PEFT: linear layers of the towers' attention, by their names in CLIP and SigLIP, BERT, ViT and DINOv2.
    lora_target_modules = r".*(text_model|vision_model)\..*\.(q_proj|v_proj|query|value)"
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must average it over accumulation steps

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DIMLogitScale):
            init.constant_(module.log_scale, self.config.logit_scale_init_value)
        elif isinstance(module, DIMIdentityLinear):
            init.eye_(module.weight)
        elif isinstance(module, DIMLexicalPrior):
            init.zeros_(module.output_weight)
            init.ones_(module.vector_weight)
        elif isinstance(module, DIMPictureMatch):
            init.normal_(module.missing, std=self.config.initializer_range)
            init.zeros_(module.log_weight)

    def initialize_weights(self) -> None:
        """Initialises weights that a checkpoint lacks, those of the towers by the towers' own rules.

        Of a model whose class is not its own, transformers skips modules that only hold other modules, and some towers
        (CLIP) initialise the weights of those there.
        """
        for module in self.children():
            if isinstance(module, PreTrainedModel):
                module.initialize_weights()
        super().initialize_weights()

    def pool_texts(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Computes pooled vectors of the text tower, before projection, for the inputs `*_pooled`.

        Args:
            input_ids: Token ids of shape `(B, T)`.
            attention_mask: 1 for tokens and 0 for padding, shape `(B, T)`.

        Returns:
            `torch.Tensor` of shape `(B, H)`.
        """
        return self._pooled_texts(input_ids, attention_mask)[0]

    def pool_pictures(self, pixel_values: Tensor) -> Tensor:
        """Computes pooled vectors of the vision tower, before projection, for the inputs `*image_pooled`.

        Args:
            pixel_values: Pictures of shape `(P, 3, h, w)`, from the processor.

        Returns:
            `torch.Tensor` of shape `(P, H)`.
        """
        return pool(self.vision_model(pixel_values=pixel_values.to(self.dtype)), self.config.vision_pooling)

    def _pooled_texts(
        self, input_ids: Tensor, attention_mask: Tensor | None, **options: bool
    ) -> tuple[Tensor, BaseModelOutputWithPooling]:
        """Pooled vectors `(B, H)` of texts `(B, T)`, and the text tower's output, with what `options` ask for."""
        limit = text_positions(self.config.text_config)
        if limit is not None and input_ids.shape[1] > limit:
            raise DIMError(f"A text has {input_ids.shape[1]} tokens, but the text tower has {limit} positions; cut it.")
        mask = None if self.config.attend_to_padding else attention_mask
        outputs = self.text_model(input_ids=input_ids, attention_mask=tower_mask(self.text_model, mask), **options)
        return pool(outputs, self.config.text_pooling, mask), outputs

    def _encode_text(
        self, inputs: Inputs, side: str, presence: Tensor | None = None, **options: bool
    ) -> tuple[Tensor | None, BaseModelOutputWithPooling | None]:
        """Projects the texts of a side, given as ids `(B, T)` or as pooled vectors `(B, H)`, to vectors `(B, D)`.

        An absent text may hold anything: the tower reads one token 0 in its place, and its vector is 0.
        """
        pooled, outputs = inputs.get(f"{side}_pooled"), None
        absent = None if presence is None else ~presence.to(torch.bool)[:, None]  # (B, 1)
        if pooled is None:
            input_ids, attention_mask = inputs.get(f"{side}_input_ids"), inputs.get(f"{side}_attention_mask")
            if input_ids is None:
                return None, None
            if input_ids.shape[1] == 0:
                input_ids, attention_mask = input_ids.new_zeros(len(input_ids), 1, dtype=torch.long), None
            if absent is not None:
                absent = absent.to(input_ids.device)
                first = torch.arange(input_ids.shape[1], device=input_ids.device) == 0
                input_ids = input_ids.masked_fill(absent, 0)
                attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
                attention_mask = torch.where(absent, first.to(attention_mask.dtype), attention_mask)
            pooled, outputs = self._pooled_texts(input_ids, attention_mask, **options)
        if absent is not None:
            pooled = pooled.masked_fill(absent.to(pooled.device), 0.0)
        return self._unit(self.text_projection(pooled)), outputs

    def _encode_pictures(
        self, inputs: Inputs, side: str, **options: bool
    ) -> tuple[Tensor | None, Tensor | None, BaseModelOutputWithPooling | None]:
        """Vectors `(..., D)` and presence `(...)` of pictures `(..., 3, h, w)`; the tower runs on present ones only.

        In a compiled or exported graph, whose shapes must not depend on the data, it runs on all of them. A mask on the
        CPU is read without waiting for a GPU.
        """
        pooled, pixels = inputs.get(f"{side}image_pooled"), inputs.get(f"{side}pixel_values")
        given, inner = (pixels, 3) if pooled is None else (pooled, 1)
        if given is None:
            return None, None, None
        mask, shape = inputs.get(f"{side}pixel_mask"), given.shape[:-inner]
        pictures = given.flatten(0, len(shape) - 1)  # (..., 3, h, w) -> (P, 3, h, w)
        if mask is None or torch.compiler.is_compiling():
            vectors, outputs = self._project_pictures(pictures, pooled is not None, **options)
            vectors = vectors.unflatten(0, shape)
            if mask is None:
                return vectors, torch.ones(shape, dtype=torch.bool, device=given.device), outputs
            mask = mask.to(given.device, torch.bool)
            return vectors.masked_fill(~mask.unsqueeze(-1), 0.0), mask, outputs
        places = mask.to("cpu", torch.bool).flatten().nonzero().flatten()  # (P,)
        mask, places = to_device(mask.to(torch.bool), given.device), to_device(places, given.device)
        if len(places) == 0:  # some towers (batch norm) refuse an empty batch
            return given.new_zeros(*shape, self.config.projection_dim, dtype=self.dtype), mask, None
        present = pictures[places] if len(places) < len(pictures) else pictures
        vectors, outputs = self._project_pictures(present, pooled is not None, **options)
        vectors = vectors.new_zeros(len(pictures), vectors.shape[-1]).index_copy(0, places, vectors)
        return vectors.unflatten(0, shape), mask, outputs

    def _project_pictures(
        self, pictures: Tensor, are_pooled: bool, **options: bool
    ) -> tuple[Tensor, BaseModelOutputWithPooling | None]:
        """Vectors `(P, D)` of pictures `(P, 3, h, w)` or of pooled vectors `(P, H)`, and the vision tower's output."""
        outputs = None
        if not are_pooled:
            outputs = self.vision_model(pixel_values=pictures.to(self.dtype), **options)
            pictures = pool(outputs, self.config.vision_pooling)
        return self._unit(self.visual_projection(pictures)), outputs

    def _unit(self, vectors: Tensor) -> Tensor:
        """Vectors of unit length, computed in float32 or wider; a vector of zeros stays 0."""
        if not self.config.normalize:
            return vectors
        wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        return F.normalize(wide, dim=-1).to(vectors.dtype)


__all__ = ["DIMPreTrainedModel"]
