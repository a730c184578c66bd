# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Processor of DIM: turns mentions and entities into tensors."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    BatchFeature,
    CLIPImageProcessorPil,
    ProcessorMixin,
)
from transformers.processing_utils import ProcessingKwargs, TextKwargs, Unpack
from transformers.utils import CONFIG_NAME, cached_file

from .call_options_dim import CallOptions, as_feature, in_list, is_list, pictures_of_one, read_options, same_length
from .configuration_dim import attends_to_padding, text_positions
from .errors_dim import DIMError
from .inputs_dim import read_texts
from .lexical_dim import LexicalFeatures
from .pictures_dim import prepare_picture
from .sentences_dim import locate_mentions, mark_mention, mark_mentions
from .tokens_dim import cut_around, padded_ids
from .towers_dim import one_line
from .words_dim import find_mention

_MAX_LENGTH = 1_000_000  # a tokenizer without a limit says 10^30
_FORMER_NAMES = {"max_length": "max_text_length", "padding": "text_padding"}  # in processors of version 0.1
_INPUT_NAMES = (
    *("mention_input_ids", "mention_attention_mask", "sentence_input_ids", "sentence_attention_mask", "sentence_mask"),
    *("expert_input_ids", "expert_attention_mask", "expert_mask", "pixel_values", "pixel_mask"),
    *("entity_input_ids", "entity_attention_mask", "entity_pixel_values", "entity_pixel_mask", "lexical_features"),
    *("num_truncated_tokens", "entity_num_truncated_tokens"),
)
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")

# "paper" is the question of the DIM paper's code; "default" asks about any type of entity, not about people alone.
EXPERT_PROMPTS = {
    "default": "Question: Who or what is shown in the picture? Answer:",
    "paper": "Question: Who are the characters in the picture? Answer:",
}


class DIMProcessor(ProcessorMixin):
    r"""Turns mentions (sentence, picture, caption) and entities (name, description, pictures) into tensors.

    The expert, such as BLIP-2, is not part of the processor, which only holds its prompts.

    Args:
        image_processor ([`CLIPImageProcessor`]): Image processor of the vision tower.
        tokenizer ([`CLIPTokenizer`]): Tokenizer of the text tower; a fast one (offsets are needed).
        max_text_length (`int`, *optional*): Token limit of a text, special tokens included; the tokenizer's own by
            default.
        text_padding (`str`, defaults to `"longest"`): `"longest"`, or `"max_length"` for towers that were trained with
            it (SigLIP).
        mention_marks (`list[str]`, *optional*): Marks before and after the mention in its sentence.
        entity_template (`str`, defaults to `"{name}: {description}"`): Text of an entity that has a description.
        expert_prompts (`dict[str, str]`, *optional*): Prompts for the expert by name; `{mention}` is filled in.
        lexical_prior (`bool`, defaults to `False`): Whether the model has a lexical prior, so that a call with mentions
            and entities also gives `lexical_features`. `from_pretrained` reads it from the model's config, if the
            processor is saved beside a model.

    Raises:
        DIMError: If the tokenizer gives no offsets, or the limit leaves no room for a text.

    Example:

        >>> processor = DIMProcessor.from_pretrained("demo/model")
        >>> mentions = processor.process_mentions(["Turkey", "Biden"], ["We saw Turkey.", "Biden spoke."])
        >>> sorted(mentions)
        ['mention_attention_mask', 'mention_input_ids', 'num_truncated_tokens', 'sentence_attention_mask',
        'sentence_input_ids']
        >>> processor.process_entities(["Turkey"], ["country"])["entity_input_ids"].shape[0]
        1
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        max_text_length: int | None = None,
        text_padding: str = "longest",
        mention_marks: list[str] | None = None,
        entity_template: str = "{name}: {description}",
        expert_prompts: dict[str, str] | None = None,
        lexical_prior: bool = False,
        **kwargs: Any,
    ):
        super().__init__(image_processor, tokenizer, **kwargs)
        if not tokenizer.is_fast:
            raise DIMError(f"{type(tokenizer).__name__} gives no offsets; DIMProcessor needs a fast tokenizer.")
        self.max_text_length = max_text_length if max_text_length is not None else tokenizer.model_max_length
        self.text_padding = text_padding
        self.mention_marks = ["[", "]"] if mention_marks is None else list(mention_marks)
        self.entity_template = entity_template
        self.expert_prompts = dict(EXPERT_PROMPTS if expert_prompts is None else expert_prompts)
        self.lexical_prior = lexical_prior
        if self.max_text_length <= tokenizer.num_special_tokens_to_add():
            raise DIMError(
                f"max_text_length ({self.max_text_length}) leaves no room for text beside the special tokens."
            )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any) -> "DIMProcessor":
        """Loads a saved processor, with the PIL backend, which gives the same pixels with and without torchvision."""
        for old, new in _FORMER_NAMES.items():
            if old in kwargs:
                raise DIMError(f"{old} is called {new} here; {old} is an option of a call of the processor.")
        try:
            options = {"backend": "pil", "trust_remote_code": False} | kwargs
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except DIMError:
            raise
        except ValueError as error:
            raise DIMError(
                f"The processor {pretrained_model_name_or_path} cannot be loaded; if its image processor is your own, "
                f"import the module that registers it first ({one_line(error)})."
            ) from error

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reads the processor's arguments; whether there is a lexical prior, from the config of a DIM beside it."""
        fields, unused = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        fields = {_FORMER_NAMES.get(name, name): value for name, value in fields.items()}
        options = {name: kwargs[name] for name in _HUB_OPTIONS if name in kwargs}
        file = cached_file(
            pretrained_model_name_or_path, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **options
        )
        config = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
        if config.get("model_type") == "dim":
            fields = fields | {"lexical_prior": config.get("num_lexical_features", 0) > 0}
        return fields, unused

    @classmethod
    def from_towers(cls, text: str, vision: str | BaseImageProcessor | None = None, **kwargs: Any) -> "DIMProcessor":
        """Builds the processor of a model from `DIMModel.from_towers`.

        Args:
            text: Folder or Hub name of the text tower, or of a checkpoint with both towers.
            vision: Folder or Hub name of the vision tower, or an image processor. `None` takes that of `text` if it
                has a vision tower, and otherwise CLIP's defaults, which a text-only model never uses.
            **kwargs: Other arguments of [`DIMProcessor`].

        Returns:
            The processor.

        Raises:
            OSError: If a tower is neither a folder nor reachable on the Hub.
            DIMError: If the vision tower's folder has no image processor or one that transformers does not know,
                nothing states a token limit, or `max_text_length` is above the tower's.
        """
        tokenizer = AutoTokenizer.from_pretrained(text, trust_remote_code=False)
        if isinstance(vision, str):
            vision = _image_processor(vision)
        elif vision is None:
            has_pictures = hasattr(AutoConfig.from_pretrained(text, trust_remote_code=False), "vision_config")
            vision = _image_processor(text) if has_pictures else CLIPImageProcessorPil()
        return cls(vision, tokenizer, **_text_settings(text, tokenizer, kwargs))

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call gives, for mentions and for entities."""
        return list(_INPUT_NAMES)

    def process_mentions(
        self,
        mentions: Sequence[str],
        sentences: Sequence[str],
        images: Sequence[Any] | None = None,
        expert_answers: Sequence[str | None] | None = None,
        spans: Sequence[tuple[int, int]] | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Makes the tensors of the mention side.

        A sentence longer than the limit is cut to a window around its mention, at word borders where the script has
        them; the mention stays inside and is marked by `mention_marks`.

        Args:
            mentions: `B` mentions.
            sentences: Their sentences.
            images: One picture or `None` per mention: PIL images of any mode, arrays or tensors; see `rgb_picture` for
                how they become RGB.
            expert_answers: The expert's caption of each picture; `None` or `""` for none.
            spans: Character offsets `(start, end)` of each mention. Found by `find_mention` by default;
                `(-1, -1)` for a mention that is not in its sentence, which is then neither marked nor centred.
            **kwargs: Options as for a call of the processor.

        Returns:
            `mention_input_ids`, `mention_attention_mask`, `sentence_input_ids`, `sentence_attention_mask` and, if
            given, `pixel_values` with `pixel_mask`, `expert_input_ids` with `expert_attention_mask` and `expert_mask`;
            `num_truncated_tokens` `(B,)` counts the tokens of each sentence that were left out.

        Raises:
            DIMError: If lists differ in length, a text is empty, or a mention is not in its sentence.
            PictureError: If a picture is damaged, or is no such picture.
        """
        same_length(mentions=mentions, sentences=sentences, images=images, expert_answers=expert_answers, spans=spans)
        if spans is None:
            pictured = [image is not None for image in ([None] * len(mentions) if images is None else images)]
            spans = locate_mentions(mentions, sentences, pictured)
        options = self._options(kwargs)
        texts, marked = mark_mentions(mentions, sentences, spans, self.mention_marks)
        batch = padded_ids(self.tokenizer, "mention", mentions, options)[0]
        windows, dropped = cut_around(self.tokenizer, texts, marked, options.max_length)
        sentence_batch, cut = padded_ids(self.tokenizer, "sentence", windows, options)
        batch |= sentence_batch | {"num_truncated_tokens": dropped + cut}
        if not all(texts):
            batch["sentence_mask"] = torch.tensor([bool(text) for text in texts])
        if expert_answers is not None:
            batch |= padded_ids(self.tokenizer, "expert", [answer or "" for answer in expert_answers], options)[0]
            batch["expert_mask"] = torch.tensor([bool(answer) for answer in expert_answers])
        if images is not None:
            batch |= self._mention_pixels(images, options)
        return as_feature(batch, options)

    def process_entities(
        self,
        names: Sequence[str],
        descriptions: Sequence[str],
        images: Sequence[Sequence[Any] | None] | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Makes the tensors of the entity side: name and description as one text, cut at its end, and the pictures.

        Args:
            names: `E` names.
            descriptions: Their descriptions; `""` for none.
            images: The pictures of each entity, as for `process_mentions`, in a list (which may be empty).
            **kwargs: Options as for a call of the processor.

        Returns:
            `entity_input_ids`, `entity_attention_mask` `(E, T)`; if given, `entity_pixel_values`
            `(E, N, 3, h, w)` with `entity_pixel_mask` `(E, N)`; `entity_num_truncated_tokens` `(E,)`.

        Raises:
            DIMError: If lists differ in length, or a name is empty.
            PictureError: If a picture is damaged, or is no such picture.
        """
        same_length(names=names, descriptions=descriptions, images=images)
        options = self._options(kwargs)
        batch, dropped = padded_ids(self.tokenizer, "entity", self.entity_texts(names, descriptions), options)
        batch["entity_num_truncated_tokens"] = dropped
        if images is not None:
            batch |= self._entity_pixels(images, options)
        return as_feature(batch, options)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        mentions: str | Sequence[str] | None = None,
        names: str | Sequence[str] | None = None,
        descriptions: str | Sequence[str] | None = None,
        entity_images: Any = None,
        expert_answers: str | Sequence[str | None] | None = None,
        spans: Sequence[tuple[int, int]] | None = None,
        aliases: Sequence[Sequence[str]] | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Makes the tensors of both sides or of one, for `model(**inputs)`.

        One text or picture may stand for a batch of one. For a model with a lexical prior, mentions and names together
        give `lexical_features` `(B, E, F)`, in which the most similar of an entity's name and `aliases` counts; see
        [`DIMProcessor.lexical_features`].

        Args:
            images: The picture of each mention, or `None`; see `process_mentions`.
            text: The sentences. Without `mentions`, each holds its mention in double brackets, or is itself a mention.
            mentions: The mention in each sentence; see `process_mentions`.
            names: Names of the entities; see `process_entities`.
            descriptions: Their descriptions, needed with names.
            entity_images: The pictures of each entity.
            expert_answers: The expert's captions of the mentions' pictures.
            spans: Character offsets of the mentions in their sentences.
            aliases: Other names of each entity.
            **kwargs: `padding` (`True`, `"longest"` or `"max_length"`), `max_length`, `return_tensors` (`"pt"`, the
                default, or `"np"`) and options of the image processor; or dictionaries of them, `text_kwargs` and
                `images_kwargs`.

        Returns:
            The tensors that `process_mentions` and `process_entities` give. A side whose texts are missing gives the
            tensors of its pictures alone.

        Raises:
            DIMError: For the reasons of these methods, if only some of the arguments of a side are given, or nothing
                at all, or an option is unknown.

        Example:

            >>> processor = DIMProcessor.from_pretrained("demo/model")
            >>> batch = processor(text="We saw [[Turkey]].", names="Turkey", descriptions="country", padding=True)
            >>> torch.equal(batch["mention_input_ids"], processor.process_mentions(["Turkey"], ["We saw Turkey."])[
            ...     "mention_input_ids"])
            True
            >>> from PIL import Image
            >>> sorted(processor(images=Image.new("RGBA", (30, 20))))
            ['pixel_mask', 'pixel_values']
        """
        options = self._options(kwargs)
        images, entity_images = pictures_of_one(images, 1), pictures_of_one(entity_images, 2)
        text, mentions, names, descriptions = map(in_list, (text, mentions, names, descriptions))
        batch = BatchFeature()
        if text is not None:
            if mentions is None:
                same_length(text=text)
                mentions, text, found = read_texts(text)
                spans = found if spans is None else spans
            batch.update(self.process_mentions(mentions, text, images, in_list(expert_answers), spans, **kwargs))
        elif any(given is not None for given in (mentions, expert_answers, spans)):
            raise DIMError("Captions, spans and mentions belong to a text: give text.")
        elif images is not None:
            same_length(images=images)
            batch.update(self._mention_pixels(images, options))
        if names is not None and descriptions is not None:
            batch.update(self.process_entities(names, descriptions, entity_images, **kwargs))
            if self.lexical_prior and mentions is not None and text is not None:
                features = self.lexical_features(names, descriptions, aliases)
                batch["lexical_features"] = features(list(zip(mentions, text, strict=True)))
        elif names is not None or descriptions is not None or aliases is not None:
            raise DIMError("Names and descriptions belong together: give both.")
        elif entity_images is not None:
            same_length(entity_images=entity_images)
            batch.update(self._entity_pixels(entity_images, options))
        if all(given is None for given in (text, names, images, entity_images)):
            raise DIMError("Nothing to process: give text, entities or pictures.")
        return as_feature(batch, options)

    def _options(self, kwargs: Any) -> CallOptions:
        """The options of a call, over those of the processor."""
        if not kwargs:
            return read_options({}, {}, self.max_text_length, self.text_padding)
        known = {"text_kwargs", "images_kwargs", "common_kwargs", *TextKwargs.__annotations__}
        known |= set(self.image_processor.valid_kwargs.__annotations__)
        unknown = sorted(set(kwargs) - known)
        if unknown:
            raise DIMError(f"The processor does not know the argument {unknown[0]!r}.")
        merged = self._merge_kwargs(ProcessingKwargs, **kwargs)
        return read_options(merged["text_kwargs"], merged["images_kwargs"], self.max_text_length, self.text_padding)

    def lexical_features(
        self,
        names: Sequence[str],
        descriptions: Sequence[str | None] | None = None,
        aliases: Sequence[Sequence[str]] | None = None,
    ) -> LexicalFeatures:
        """Prepares the lexical features of entities, for mentions and entities that are encoded separately.

        Args:
            names: Names of the `E` entities.
            descriptions: Their descriptions; none by default.
            aliases: The other names of each entity, in a list; none by default.

        Returns:
            The features, a callable: from `(mention, sentence)` pairs it makes the tensor `(M, E, F)` for
            [`DIMModel.score`].

        Raises:
            DIMError: If there is no entity, or lists differ in length.

        Example:

            >>> processor = DIMProcessor.from_pretrained("demo/model")
            >>> features = processor.lexical_features(["Turkey", "turkey"], ["country", "large bird"])
            >>> features([("Turkey", "We flew to Turkey.")]).shape
            torch.Size([1, 2, 17])
        """
        same_length(names=names, descriptions=descriptions, aliases=aliases)
        for row, others in enumerate(aliases or ()):
            if not is_list(others):
                raise DIMError(f"The aliases of entity {row} must be in a list, got {others!r}.")
        texts = None if descriptions is None else [text or "" for text in descriptions]
        return LexicalFeatures(names, aliases, texts)

    def ask_expert(self, mentions: Sequence[str], prompt: str = "default") -> list[str]:
        """Makes the expert's prompt about the picture of each mention.

        Args:
            mentions: The mentions.
            prompt: Name of one of `expert_prompts`.

        Returns:
            One prompt per mention.

        Raises:
            DIMError: If there is no prompt of that name.
        """
        if prompt not in self.expert_prompts:
            raise DIMError(f"No expert prompt is called {prompt!r}; the prompts are {sorted(self.expert_prompts)}.")
        return [self.expert_prompts[prompt].replace("{mention}", mention) for mention in mentions]

    def entity_texts(self, names: Sequence[str], descriptions: Sequence[str]) -> list[str]:
        """Makes the text of each entity, before it is cut: its name alone if there is no description.

        Args:
            names: Names of the entities.
            descriptions: Their descriptions, in the same order.

        Returns:
            One text per entity.

        Raises:
            DIMError: If a name is empty.
        """
        for row, name in enumerate(names):
            if not name or not name.strip():
                raise DIMError(f"The name of entity {row} is empty; every entity needs a name.")
        head, _, tail = self.entity_template.partition("{description}")
        return [
            head.replace("{name}", name) + text + tail.replace("{name}", name) if text and text.strip() else name
            for name, text in zip(names, descriptions, strict=True)
        ]

    def _mention_pixels(self, images: Sequence[Any], options: CallOptions) -> dict[str, Tensor]:
        lists = [image if isinstance(image, list) else [] if image is None else [image] for image in images]
        for row, pictures in enumerate(lists):
            if len(pictures) > 1:
                raise DIMError(f"Mention {row} has {len(pictures)} pictures; give one, or `None`.")
        pixels = self._pixels(lists, "images[{row}]", options)
        return {name: values[:, 0] for name, values in pixels.items()}  # one picture at most

    def _entity_pixels(self, images: Sequence[Sequence[Any] | None], options: CallOptions) -> dict[str, Tensor]:
        for row, pictures in enumerate(images):
            if pictures is not None and (not is_list(pictures) or getattr(pictures, "ndim", 1) in (2, 3)):
                raise DIMError(f"The pictures of entity {row} must be in a list, got one {type(pictures).__name__}.")
        lists = [[] if pictures is None else list(pictures) for pictures in images]
        pixels = self._pixels(lists, "images[{row}][{column}]", options)
        return {f"entity_{name}": values for name, values in pixels.items()}

    def _pixels(self, pictures: list[list], name: str, options: CallOptions) -> dict[str, Tensor]:
        """Makes pixels `(rows, N, 3, h, w)` and presence `(rows, N)` of ragged lists of pictures, if there are any."""
        flat = [
            prepare_picture(picture, self.image_processor, name.format(row=row, column=column))
            for row, listed in enumerate(pictures)
            for column, picture in enumerate(listed)
        ]
        if not flat:
            return {}
        pixels = self.image_processor(flat, return_tensors="pt", **options.images)["pixel_values"]  # (P, 3, h, w)
        counts = torch.tensor([len(row) for row in pictures])
        mask = torch.arange(int(counts.max())) < counts[:, None]  # (rows, N)
        padded = pixels.new_zeros(*mask.shape, *pixels.shape[1:])
        padded[mask] = pixels
        return {"pixel_values": padded, "pixel_mask": mask}


def _image_processor(name: str) -> BaseImageProcessor:
    """Loads the image processor of a vision tower; code that its folder brings along never runs."""
    try:
        return AutoImageProcessor.from_pretrained(name, backend="pil", trust_remote_code=False)
    except OSError as error:
        if not Path(name).is_dir():
            raise
        raise DIMError(
            f"The vision tower {name} has no image processor (preprocessor_config.json), which states how its pictures "
            "are scaled; save one into the folder, or give an image processor in place of the folder."
        ) from error
    except ValueError as error:
        raise DIMError(
            f"transformers does not know the image processor of {name}; if it is your own, import the module that "
            f"registers it first ({one_line(error)})."
        ) from error


def _text_settings(name: str, tokenizer: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a processor, with the padding and the token limit that fit a text tower."""
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    config = getattr(config, "text_config", config)
    positions, length = text_positions(config), chosen.get("max_text_length")
    if length is None:
        length = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
        if length > _MAX_LENGTH:
            raise DIMError(f"Neither {name}'s tokenizer nor its config states a token limit; give max_text_length.")
    elif positions is not None and length > positions:
        raise DIMError(f"max_text_length is {length}, but the text tower {name} has {positions} positions.")
    padding = {"text_padding": "max_length"} if attends_to_padding(config) else {}
    return padding | chosen | {"max_text_length": length}


# `save_pretrained` and `push_to_hub` write this file next to the weights, for `trust_remote_code=True`.
DIMProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["EXPERT_PROMPTS", "DIMProcessor", "find_mention", "mark_mention"]
