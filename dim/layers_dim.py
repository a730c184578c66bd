# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Layers of DIM: fusion of the modalities, temperature and lexical prior."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_dim import DIMConfig

_MAX_LOGIT_SCALE = 100.0  # as in CLIP, for stable training


class DIMIdentityLinear(nn.Linear):
    """A linear layer initialised to the identity, so that towers with a shared space (CLIP) work before any training.

    It is a class of its own because transformers calls `_init_weights` of custom code only for modules with parameters.
    """


class DIMAttention(nn.Module):
    """Multi-head attention from the mention to its modalities.

    The weights are computed explicitly, without a fused kernel: there are at most three modalities, and the weights are
    part of the output. Values and output are initialised to the identity, so that an untrained model adds the mean of
    the modalities to the mention.
    """

    is_causal = False

    def __init__(self, config: DIMConfig):
        super().__init__()
        self.num_heads, self.num_modalities = config.num_attention_heads, len(config.mention_modalities)
        self.q_proj = nn.Linear(config.projection_dim, config.projection_dim)
        self.k_proj = nn.Linear(config.projection_dim, config.projection_dim, bias=False)  # softmax ignores a key bias
        self.v_proj = DIMIdentityLinear(config.projection_dim, config.projection_dim)
        self.out_proj = DIMIdentityLinear(config.projection_dim, config.projection_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, mention: Tensor, modalities: Tensor, presence: Tensor, places: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Attends from mentions `(B, D)` to modalities `(B, K, D)` with the mask `presence` `(B, K)`.

        `places` are the indices of these `K` modalities among the `M` configured ones; no mention has the others.

        Returns the context `(B, D)` and the weights `(B, heads, M)`, which are 0 for a mention without modalities.
        """
        batch, count, width = modalities.shape
        modalities = modalities.masked_fill(~presence.unsqueeze(-1), 0.0)  # what is absent may hold NaN
        heads = (self.num_heads, width // self.num_heads)
        query = self.q_proj(mention).view(batch, 1, *heads)  # (B, D) -> (B, 1, heads, d)
        key = self.k_proj(modalities).view(batch, count, *heads)  # (B, K, D) -> (B, K, heads, d)
        value = self.v_proj(modalities).view(batch, count, *heads)
        scores = (query * key).sum(-1).mT / math.sqrt(heads[1])  # (B, heads, K); for one query faster than products
        absent = ~presence[:, None, :]  # (B, 1, K)
        scores = scores.masked_fill(absent, torch.finfo(scores.dtype).min)
        found = scores.softmax(-1).masked_fill(absent, 0.0)  # float32 under autocast on GPUs
        nobody = torch.zeros_like(found[..., 0])
        columns = [found[..., places.index(m)] if m in places else nobody for m in range(self.num_modalities)]
        weights = torch.stack(columns, -1)
        dropped = self.dropout(weights)  # all `M`, for the same random numbers in any batch
        kept = torch.stack([dropped[..., place] for place in places], -1)
        context = (kept.mT[..., None] * value).sum(1)  # (B, K, heads, d) -> (B, heads, d)
        context = self.out_proj(context.reshape(batch, width))  # (B, heads, d) -> (B, D)
        return context.masked_fill(~presence.any(1, keepdim=True), 0.0), weights


class DIMPictureMatch(nn.Module):
    """The second block of the vectors of `fusion="pairs"`: the mention's picture against the entity's.

    Both go through one projection: one for each side fits the training pictures better, and new ones worse.
    A mention without a picture has zeros there: its score does not depend on the entities' pictures. An entity without
    pictures has a learned vector, so that what it scores against a picture is learned, too. Dropout on both sides keeps
    the projection from learning the training pictures by heart.
    """

    def __init__(self, config: DIMConfig):
        super().__init__()
        self.dropout = nn.Dropout(config.match_dropout)
        self.projection = DIMIdentityLinear(config.projection_dim, config.projection_dim)
        self.missing = nn.Parameter(torch.empty(config.projection_dim))
        self.log_weight = nn.Parameter(torch.zeros(1))  # FSDP shards no scalars

    def mention(self, pictures: Tensor, presence: Tensor) -> Tensor:
        """The block `(B, D)` of mentions with pictures `(B, D)`, where there is one, `(B,)`."""
        return self.projection(self.dropout(pictures)).masked_fill(~presence[:, None], 0.0)

    def entity(self, pictures: Tensor, presence: Tensor) -> Tensor:
        """The block `(E, D)` of entities with mean pictures `(E, D)`, where there is any, `(E,)`."""
        return torch.where(presence[:, None], self.projection(self.dropout(pictures)), self.missing)

    def weigh(self, vectors: Tensor) -> Tensor:
        """Multiplies the second block of entity vectors `(E, 2 D)` by the learned weight of pictures."""
        texts, pictures = vectors.chunk(2, -1)
        return torch.cat([texts, self.log_weight.exp().to(pictures.dtype) * pictures], -1)


class DIMLogitScale(nn.Module):
    """The learned temperature, in a module of its own so that PEFT can list it in `modules_to_save`."""

    def __init__(self, config: DIMConfig):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([float(config.logit_scale_init_value)]))  # FSDP shards no scalars

    def forward(self) -> Tensor:
        """Returns the factor `exp(log_scale)`, at most 100, as a scalar tensor.

        The gradient is that of the parameter itself also above the bound, so that the factor can fall again.
        """
        scale = self.log_scale.clamp(max=_MAX_LOGIT_SCALE / 2).exp()  # finite
        bound = _MAX_LOGIT_SCALE * (self.log_scale - self.log_scale.detach()).exp()
        return torch.where(scale > _MAX_LOGIT_SCALE, bound, scale)[0]

    @torch.no_grad()
    def clamp(self) -> None:
        """Brings the parameter back to its bound; for use after a step of the optimizer."""
        self.log_scale.clamp_(max=math.log(_MAX_LOGIT_SCALE))


class DIMLexicalPrior(nn.Module):
    """Adds a learned score of lexical features to the score of the vectors; it has no effect before training.

    The score of a pair becomes `w * s + u . gelu(V f + b)` for the score `s` of its vectors and its features `f`: a
    name matcher that is trained with the vectors, so that these can represent what names do not show.
    """

    width = 32

    def __init__(self, config: DIMConfig):
        super().__init__()
        self.hidden = nn.Linear(config.num_lexical_features, self.width)
        self.output_weight = nn.Parameter(torch.zeros(self.width))
        self.vector_weight = nn.Parameter(torch.ones(1))

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Combines the scores `(B, E)` of the vectors and the features `(B, E, F)` to scores `(B, E)`."""
        hidden = F.gelu(self.hidden(features.to(self.output_weight.dtype)))  # (B, E, F) -> (B, E, width)
        return self.vector_weight * logits + hidden @ self.output_weight


__all__ = ["DIMAttention", "DIMIdentityLinear", "DIMLexicalPrior", "DIMLogitScale", "DIMPictureMatch"]
