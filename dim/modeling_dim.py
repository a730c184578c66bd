# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""The DIM model: vectors of mentions (with sentence, picture, caption) and of entities (with text, pictures)."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.utils import logging
from transformers.utils.generic import can_return_tuple

from .configuration_dim import DIMConfig
from .encoders_dim import DIMPreTrainedModel
from .errors_dim import DIMError
from .layers_dim import DIMAttention, DIMIdentityLinear, DIMLexicalPrior, DIMLogitScale, DIMPictureMatch
from .losses_dim import IGNORED_LABEL, n_pair_loss, squared_length
from .outputs_dim import ENTITY_INPUTS, MENTION_INPUTS, MISSING_FEATURES, DIMOutput, Features, Inputs, TowerOutputs
from .pretrained_dim import load_towers
from .towers_dim import build_tower, pooled_width, to_dtype

logger = logging.get_logger(__name__)


class DIMModel(DIMPreTrainedModel):
    r"""Multimodal entity linking with one vector per mention and per entity, and one score.

    The mention `m` attends to its sentence `t`, its picture `v` and the expert's caption `c`,

    .. math:: q = W_q \, (m + \mathrm{MultiHead}(m, [t; v; c])), \qquad
              s = \cos(q, W_e d) + w \cos(W_p v, W_p \bar{v}_e)

    where `d` is the entity's name and description and :math:`\bar{v}_e` the mean of its pictures. The score of a pair
    is `s` times a learned scale, or without `config.normalize` the same sum of dot products; training and ranking use
    the same score. (Section "Dynamically Integrate Multimodal information" of the DIM paper; the entity's pictures are
    an addition.) A modality that a mention lacks is masked, not replaced by zeros; a learned vector stands for the
    pictures of an entity without any. Each side is one vector, of `V = config.vector_dim` numbers.

    A tower's pooled vectors (`*_pooled`) can replace token ids or pixels in the input, so that a frozen tower runs once
    per dataset, not once per epoch.

    Args:
        config ([`DIMConfig`]): Configuration of the model. Its weights are initialised at random; see
            `from_pretrained` for a trained DIM and `from_towers` for pretrained towers.

    Example:

        >>> from transformers import BertConfig
        >>> bert = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        ...                   intermediate_size=8)
        >>> config = DIMConfig(text_config=bert, vision_config=None, mention_modalities=["sentence"],
        ...                    entity_pictures=False, projection_dim=8, num_attention_heads=2, text_pooling="mean")
        >>> model = DIMModel(config).eval()
        >>> ids = torch.tensor([[1, 2], [3, 4]])
        >>> output = model(mention_input_ids=ids, sentence_input_ids=ids, entity_input_ids=ids,
        ...                labels=torch.tensor([0, 1]))
        >>> output.logits.shape, output.modality_attentions[0, 0].tolist()
        (torch.Size([2, 2]), [1.0])
    """

    def __init__(self, config: DIMConfig):
        super().__init__(config)
        width = config.projection_dim
        self.text_model = build_tower(config.text_config, config.text_pooling, "text")
        text_width = pooled_width(self.text_model, "text", config.text_pooling, config.text_width)
        self.text_projection = DIMIdentityLinear(text_width, width, bias=False)
        if config.uses_pictures:
            self.vision_model = build_tower(config.vision_config, config.vision_pooling, "vision")
            vision_width = pooled_width(self.vision_model, "vision", config.vision_pooling, config.vision_width)
            self.visual_projection = nn.Linear(vision_width, width, bias=False)
        if config.fusion != "sum":
            if config.mention_modalities:
                self.attention = DIMAttention(config)
            self.mention_projection = DIMIdentityLinear(width, width)
            self.entity_projection = DIMIdentityLinear(width, width)
            if config.fusion == "attention" and config.entity_pictures:
                self.entity_picture_projection = DIMIdentityLinear(width, width)
        if config.matches_pictures:
            self.picture_match = DIMPictureMatch(config)
        self.dropout = nn.Dropout(config.dropout)
        if config.normalize:
            self.logit_scale = DIMLogitScale(config)
        if config.num_lexical_features:
            self.lexical_prior = DIMLexicalPrior(config)
        self.post_init()

    @classmethod
    def from_towers(
        cls,
        text: str,
        vision: str | PreTrainedConfig | None = None,
        *,
        dtype: torch.dtype | str = torch.float32,
        revision: str | None = None,
        vision_revision: str | None = None,
        **config_kwargs: object,
    ) -> "DIMModel":
        """Builds a DIM from pretrained towers; only the fusion is new, and the vectors are the towers' own features.

        Args:
            text: Folder or Hub name of a text encoder. A checkpoint with both towers (CLIP, SigLIP) gives both, with
                their projections, if it has any.
            vision: Folder or Hub name of a vision encoder, or a config for a vision tower to be trained from scratch.
                `None` takes the vision tower of `text`, if any, and otherwise makes a text-only model.
            dtype: Precision of the whole model, such as `torch.bfloat16` or `"bfloat16"`.
            revision: Branch, tag or commit of `text` on the Hub.
            vision_revision: The same for `vision`.
            **config_kwargs: Fields of [`DIMConfig`], which override those of the towers. `projection_dim` is by
                default that of the towers' own features, the wider one's where they differ.

        Returns:
            The model, in evaluation mode.

        Raises:
            OSError: If a tower is neither a folder nor reachable on the Hub.
            DIMError: If transformers has no such encoder, its checkpoint lacks weights, the fields contradict each
                other, or an argument is unknown.

        Example:

            >>> model = DIMModel.from_towers("openai/clip-vit-base-patch32")  # doctest: +SKIP
            >>> DIMModel.from_towers("bert-base-uncased", "facebook/dinov2-base")  # doctest: +SKIP
        """
        precision = to_dtype(dtype)
        towers = load_towers(text, vision, config_kwargs, revision, vision_revision)
        model = cls(DIMConfig(**towers.fields))
        towers.text.copy_to(model.text_model, model.text_projection)
        if model.config.uses_pictures and towers.vision is not None:
            towers.vision.copy_to(model.vision_model, model.visual_projection)
        return model.to(precision).eval()

    def normalize_vectors(self, vectors: Tensor) -> Tensor:
        """Brings mention vectors, such as the mean of several, to the length at which they are ranked.

        Args:
            vectors: Vectors of shape `(..., config.vector_dim)`.

        Returns:
            The vectors, each block of `config.projection_dim` of unit length or zero; unchanged without
            `config.normalize`.
        """
        return self._unit(vectors.unflatten(-1, (-1, self.config.projection_dim))).flatten(-2)

    def normalize_entities(self, states: Tensor) -> Tensor:
        """Brings entity vectors before normalisation, `DIMOutput.entity_states`, to how they are ranked.

        Args:
            states: Vectors of shape `(..., config.vector_dim)`.

        Returns:
            The vectors as `get_entity_features` gives them: as of `normalize_vectors`, the pictures' block weighed.
        """
        vectors = self.normalize_vectors(states)
        return self.picture_match.weigh(vectors) if self.config.matches_pictures else vectors

    def _mention_vectors(self, inputs: Inputs, **options: bool) -> tuple[Tensor, Tensor | None, TowerOutputs]:
        """Mention vectors before normalisation, weights of the modalities, the towers' outputs."""
        outputs: TowerOutputs = {}
        mention, outputs["mention_model_output"] = self._encode_text(inputs, "mention", None, **options)
        if mention is None:
            raise DIMError("A mention is needed: give mention_input_ids or mention_pooled.")
        everyone = torch.ones(len(mention), dtype=torch.bool, device=mention.device)
        parts: dict[str, tuple[Tensor, Tensor]] = {}  # the modalities that a row of the batch has
        order, weights = self.config.mention_modalities, None
        for modality in order:
            if modality == "picture":
                vector, presence, outputs["vision_model_output"] = self._encode_pictures(inputs, "", **options)
            else:
                presence, name = inputs.get(f"{modality}_mask"), f"{modality}_model_output"
                vector, outputs[name] = self._encode_text(inputs, modality, presence, **options)
            if vector is not None:
                parts[modality] = vector, everyone if presence is None else presence.to(mention.device, torch.bool)
        picture = parts.get("picture", (torch.zeros_like(mention), ~everyone))
        if order and not parts:  # distributed training needs every weight in every process
            parts[order[0]] = torch.zeros_like(mention), ~everyone
        if parts:
            modalities, there = (torch.stack(part, 1) for part in zip(*parts.values(), strict=True))  # (B, K, ...)
            if self.config.fusion != "sum":
                places = [order.index(modality) for modality in parts]
                context, weights = self.attention(mention, modalities, there, places)
            else:
                context = modalities.masked_fill(~there.unsqueeze(-1), 0.0).sum(1)
            mention = mention + context
        mention = self.dropout(mention)
        if self.config.fusion != "sum":
            mention = self.mention_projection(mention)
        if self.config.matches_pictures:
            mention = torch.cat([mention, self.picture_match.mention(*picture)], -1)
        return mention, weights, outputs

    def _entity_vectors(self, inputs: Inputs, **options: bool) -> tuple[Tensor, TowerOutputs]:
        """Entity vectors before normalisation, the towers' outputs."""
        outputs: TowerOutputs = {}
        entity, outputs["text_model_output"] = self._encode_text(inputs, "entity", None, **options)
        if entity is None:
            raise DIMError("An entity's text is needed: give entity_input_ids or entity_pooled.")
        if self.config.entity_pictures:
            pictures, presence, outputs["entity_vision_model_output"] = self._encode_pictures(
                inputs, "entity_", **options
            )
            picture, there = _mean_picture(pictures, presence, entity)
            if self.config.matches_pictures:
                blocks = self.entity_projection(entity), self.picture_match.entity(picture, there)
                return torch.cat(blocks, -1), outputs
            if self.config.fusion == "attention":
                picture = self.entity_picture_projection(picture).masked_fill(~there[:, None], 0.0)
            entity = entity + picture
        return (entity if self.config.fusion == "sum" else self.entity_projection(entity)), outputs

    def get_input_embeddings(self) -> nn.Module:
        """Returns the token embeddings of the text tower."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Sets the token embeddings of the text tower."""
        self.text_model.set_input_embeddings(value)

    def get_mention_features(self, **inputs: Tensor) -> Tensor:
        """Computes mention vectors, as they are ranked: blocks of unit length if `config.normalize`.

        Args:
            **inputs: Output of [`DIMProcessor.process_mentions`]: `mention_input_ids`, `mention_attention_mask`,
                `sentence_input_ids`, `sentence_attention_mask` `(B, T)`; `pixel_values` `(B, 3, h, w)` and
                `pixel_mask` `(B,)`; `expert_input_ids`, `expert_attention_mask` `(B, T)` and `expert_mask` `(B,)`;
                `sentence_mask` `(B,)` if one has no sentence. Or pooled vectors of the towers: `mention_pooled`,
                `sentence_pooled`, `expert_pooled`, `image_pooled` `(B, H)`.

        Returns:
            `torch.Tensor` of shape `(B, V)`, where `V` is `config.vector_dim`.

        Raises:
            DIMError: If no mention is given.
            TypeError: If an argument is unknown.
        """
        return self.normalize_vectors(self._mention_vectors(_known(inputs, MENTION_INPUTS))[0])

    def get_entity_features(self, **inputs: Tensor) -> Tensor:
        """Computes entity vectors, as they are ranked: blocks of unit length if `config.normalize`.

        Args:
            **inputs: Output of [`DIMProcessor.process_entities`]: `entity_input_ids`, `entity_attention_mask`
                `(E, T)`; `entity_pixel_values` `(E, N, 3, h, w)` and `entity_pixel_mask` `(E, N)`. Or pooled vectors
                of the towers: `entity_pooled` `(E, H)`, `entity_image_pooled` `(E, N, H)`.

        Returns:
            `torch.Tensor` of shape `(E, V)`, where `V` is `config.vector_dim`.

        Raises:
            DIMError: If no entity text is given.
            TypeError: If an argument is unknown.
        """
        return self.normalize_entities(self._entity_vectors(_known(inputs, ENTITY_INPUTS))[0])

    def score(self, mention_embeds: Tensor, entity_embeds: Tensor, lexical_features: Features = None) -> Tensor:
        """Scores every mention with every entity; training, ranking and serving share this score.

        Args:
            mention_embeds: From `get_mention_features`, shape `(..., B, V)`.
            entity_embeds: From `get_entity_features`, shape `(..., E, V)`.
            lexical_features: Features of the pairs, shape `(..., B, E, F)`, for a model with a lexical prior, from
                [`DIMProcessor.lexical_features`]. Without them the vectors alone are compared, and such a model warns
                once; `False` compares the vectors alone on purpose.

        Returns:
            Scores of shape `(..., B, E)`, float32, or float64 for float64 vectors; higher is better.

        Raises:
            DIMError: If features are given to a model without a lexical prior, or have another shape.
        """
        wide = torch.promote_types(mention_embeds.dtype, torch.float32)  # no ranking in half precision
        with torch.autocast(mention_embeds.device.type, enabled=False):
            logits = mention_embeds.to(wide) @ entity_embeds.to(wide).mT
            logits = logits * self.logit_scale() if self.config.normalize else logits
            if lexical_features is None and self.config.num_lexical_features and not torch.compiler.is_compiling():
                logger.warning_once(MISSING_FEATURES)
            if lexical_features is None or lexical_features is False:
                return logits
            expected = (*logits.shape, self.config.num_lexical_features)
            if self.config.num_lexical_features == 0 or lexical_features.shape != expected:
                raise DIMError(f"lexical_features must have shape {expected}, got {tuple(lexical_features.shape)}.")
            return self.lexical_prior(logits, lexical_features)

    def score_pairs(self, mention_embeds: Tensor, entity_embeds: Tensor, lexical_features: Features = None) -> Tensor:
        """Scores each mention with its own candidates.

        Args:
            mention_embeds: Shape `(M, V)`.
            entity_embeds: Vectors of the candidates, shape `(M, C, V)`.
            lexical_features: Features of the pairs, shape `(M, C, F)`, or `False`, as for `score`.

        Returns:
            Scores of shape `(M, C)`, as [`DIMModel.score`] gives them.

        Raises:
            DIMError: As [`DIMModel.score`].
        """
        features = lexical_features[:, None] if isinstance(lexical_features, Tensor) else lexical_features
        return self.score(mention_embeds[:, None], entity_embeds, features)[:, 0]

    def contrastive_loss(
        self,
        mention_embeds: Tensor,
        entity_embeds: Tensor,
        labels: Tensor,
        entity_ids: Tensor | None = None,
        lexical_features: Tensor | None = None,
    ) -> Tensor:
        """Computes the N-pair loss of mention and entity vectors; see `n_pair_loss` for its definition.

        Args:
            mention_embeds: From `get_mention_features`, shape `(B, V)`.
            entity_embeds: From `get_entity_features`, shape `(E, V)`.
            labels: Index of each mention's gold among the entities, shape `(B,)`; -100 for a mention that is left out.
            entity_ids: Integer id of each entity, shape `(E,)`, so that duplicates of the gold are not negatives.
            lexical_features: Features of the pairs, shape `(B, E, F)`, for a model with a lexical prior: the loss is
                then the mean of the loss with them and of that of the vectors alone.

        Returns:
            Scalar tensor.

        Raises:
            DIMError: If shapes do not match, or `labels` are out of range.
        """
        return self._loss_and_logits(mention_embeds, entity_embeds, labels, entity_ids, lexical_features)[0]

    def _loss_and_logits(
        self, mentions: Tensor, entities: Tensor, labels: Tensor, entity_ids: Tensor | None, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss of `contrastive_loss`, and the scores `(B, E)`, with the features if there are any."""
        vectors_alone = self.score(mentions, entities, False)
        loss = n_pair_loss(vectors_alone, labels, entity_ids)
        if features is None:
            return loss, vectors_alone
        logits = self.score(mentions, entities, features)
        return (loss + n_pair_loss(logits, labels, entity_ids)) / 2, logits

    @can_return_tuple
    def forward(
        self,
        mention_input_ids: Tensor | None = None,
        mention_attention_mask: Tensor | None = None,
        sentence_input_ids: Tensor | None = None,
        sentence_attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        expert_input_ids: Tensor | None = None,
        expert_attention_mask: Tensor | None = None,
        sentence_mask: Tensor | None = None,
        expert_mask: Tensor | None = None,
        entity_input_ids: Tensor | None = None,
        entity_attention_mask: Tensor | None = None,
        entity_pixel_values: Tensor | None = None,
        entity_pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        entity_ids: Tensor | None = None,
        lexical_features: Features = None,
        mention_pooled: Tensor | None = None,
        sentence_pooled: Tensor | None = None,
        image_pooled: Tensor | None = None,
        expert_pooled: Tensor | None = None,
        entity_pooled: Tensor | None = None,
        entity_image_pooled: Tensor | None = None,
        num_truncated_tokens: Tensor | None = None,
        entity_num_truncated_tokens: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: object,
    ) -> DIMOutput:
        """Scores every mention of a batch with every entity of a pool; or encodes one side, if only that is given.

        Args:
            labels (`torch.LongTensor` of shape `(B,)`, *optional*): Index of each mention's gold in the pool; with
                them, a loss is computed. A mention with the label -100 has no part in it.
            entity_ids (`torch.LongTensor` of shape `(E,)`, *optional*): Integer id of each entity, so that duplicates
                of the gold are not negatives.
            lexical_features (`torch.Tensor` of shape `(B, E, F)`, *optional*): Features of the pairs, for a model with
                a lexical prior; they enter the loss as `contrastive_loss` says. Without them, such a model warns once,
                as `score` does, unless `labels` are given.
            num_truncated_tokens, entity_num_truncated_tokens: Counts of the processor; not used.
            output_attentions, output_hidden_states (`bool`, *optional*): Whether the towers' outputs hold the
                attentions and the states of all their layers; by default what the config says.

        The other arguments are those of `get_mention_features` and `get_entity_features`.

        Returns:
            [`DIMOutput`], or a tuple of its fields with `return_dict=False`.

        Raises:
            DIMError: If a side has no text, neither side is given, or `labels` are out of range.
            TypeError: If an argument is unknown.
        """
        mention_inputs: Inputs = dict(zip(MENTION_INPUTS, (
            mention_input_ids, mention_attention_mask, mention_pooled, sentence_input_ids, sentence_attention_mask,
            sentence_pooled, expert_input_ids, expert_attention_mask, expert_pooled, sentence_mask, expert_mask,
            pixel_values, pixel_mask, image_pooled, num_truncated_tokens), strict=True))  # fmt: skip
        entity_inputs: Inputs = dict(zip(ENTITY_INPUTS, (
            entity_input_ids, entity_attention_mask, entity_pooled, entity_num_truncated_tokens, entity_pixel_values,
            entity_pixel_mask, entity_image_pooled), strict=True))  # fmt: skip
        _known({name: None for name, value in kwargs.items() if value is not None}, ())  # PEFT passes Nones
        wanted = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        options = {name: value for name, value in wanted.items() if value is not None}
        mention_states = entity_states = attentions = loss = logits = None
        mention_outputs: TowerOutputs = {}
        entity_outputs: TowerOutputs = {}
        if any(value is not None for value in mention_inputs.values()):
            mention_states, attentions, mention_outputs = self._mention_vectors(mention_inputs, **options)
        if any(value is not None for value in entity_inputs.values()):
            entity_states, entity_outputs = self._entity_vectors(entity_inputs, **options)
        if mention_states is None and entity_states is None:
            raise DIMError("Neither a mention nor an entity is given.")
        mention_embeds = None if mention_states is None else self.normalize_vectors(mention_states)
        entity_embeds = None if entity_states is None else self.normalize_entities(entity_states)
        if not (mention_states is None or entity_states is None or mention_embeds is None or entity_embeds is None):
            if labels is None:
                logits = self.score(mention_embeds, entity_embeds, lexical_features)
            else:  # a loss may leave out the prior
                features = lexical_features if isinstance(lexical_features, Tensor) else None
                loss, logits = self._loss_and_logits(mention_embeds, entity_embeds, labels, entity_ids, features)
                lengths = squared_length(mention_states, labels != IGNORED_LABEL) + squared_length(entity_states)
                loss = loss + self.config.l2_weight * lengths
        elif labels is not None:
            raise DIMError("A loss needs a mention and an entity; one of them is not given.")
        return DIMOutput(
            loss=loss,
            logits=logits,
            mention_embeds=mention_embeds,
            entity_embeds=entity_embeds,
            mention_states=mention_states,
            entity_states=entity_states,
            modality_attentions=attentions,
            **mention_outputs,
            **entity_outputs,
        )


def _mean_picture(pictures: Tensor | None, presence: Tensor | None, entity: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each entity's present pictures `(E, N, D)`, zeros without any, as `entity` `(E, D)`; which have one."""
    if pictures is None or presence is None:
        return torch.zeros_like(entity), torch.zeros(len(entity), dtype=torch.bool, device=entity.device)
    count = presence.sum(1, keepdim=True).to(pictures.dtype)  # (E, 1)
    return pictures.sum(1) / count.clamp(min=1), presence.any(1)


def _known(inputs: Inputs, names: tuple[str, ...]) -> Inputs:
    """Returns the inputs; raises a `TypeError` if one is not among the names."""
    unknown = [name for name in inputs if name not in names]
    if unknown:
        raise TypeError(f"DIMModel does not know the argument {unknown[0]!r}.")
    return inputs


# `save_pretrained` and `push_to_hub` write this file next to the weights, for `trust_remote_code=True`.
DIMModel.register_for_auto_class("AutoModel")

__all__ = ["ENTITY_INPUTS", "MENTION_INPUTS", "DIMModel", "DIMOutput", "Inputs"]
