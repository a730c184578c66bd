# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""DIM as the module of a `SentenceTransformer`: mentions are its queries, entities its documents."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor, nn
from transformers import AutoModel, AutoProcessor
from transformers.utils import logging

from .errors_dim import DIMError
from .inputs_dim import parse_mention, read_picture

logger = logging.get_logger(__name__)

_NOWHERE = (-1, -1)
_SIDES = ("query", "document")
_PRIOR = (
    "The model has a lexical prior, which depends on pairs of texts: sentence-transformers compares its vectors alone, "
    "which ranks differently from the model's score."
)


class DIMSentenceEncoder(nn.Module):
    """The one module of a `SentenceTransformer` that holds a DIM; `modules.json` of a published model names it.

    It needs no import of sentence-transformers, which takes any module with these methods. `encode_query` makes mention
    vectors and `encode_document` entity vectors; their dot product ranks as `DIMModel.score` does.

    Args:
        model ([`DIMModel`]): The model.
        processor ([`DIMProcessor`]): Its processor.

    Example:

        >>> encoder = DIMSentenceEncoder.load("demo/model")
        >>> features = encoder.preprocess(["We saw [[Turkey]]."], task="query")
        >>> encoder(features)["sentence_embedding"].shape == (1, encoder.get_embedding_dimension())
        True
    """

    save_in_root = True  # sentence-transformers saves it beside modules.json

    def __init__(self, model: Any, processor: Any):
        super().__init__()
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer
        if model.config.num_lexical_features:
            logger.warning_once(_PRIOR)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        backend: str = "torch",
        **_: Any,
    ) -> "DIMSentenceEncoder":
        """Loads model and processor; sentence-transformers passes the arguments of `SentenceTransformer`.

        Raises:
            DIMError: If the backend is not torch.
        """
        if backend != "torch":
            raise DIMError(f"DIM runs on the backend 'torch', not {backend!r}; see dim.publishing.exportable for ONNX.")
        options = {
            "cache_dir": cache_folder, "local_files_only": local_files_only, "revision": revision,
            "subfolder": subfolder, "token": token, "trust_remote_code": trust_remote_code,
        }  # fmt: skip
        model = AutoModel.from_pretrained(
            model_name_or_path, **options, **(config_kwargs or {}), **(model_kwargs or {})
        )
        return cls(model, AutoProcessor.from_pretrained(model_name_or_path, **options, **(processor_kwargs or {})))

    def save(self, output_path: str, safe_serialization: bool = True) -> None:
        """Saves model and processor, with the code that `trust_remote_code` needs."""
        if not safe_serialization:
            raise DIMError("DIM is saved as safetensors only; leave out safe_serialization=False.")
        self.model.save_pretrained(output_path)
        self.processor.save_pretrained(output_path)

    @property
    def modalities(self) -> list[Any]:
        """What an input may hold, in the words of sentence-transformers; "message" stands for a mixed batch."""
        if not self.model.config.uses_pictures:
            return ["text"]
        return ["text", "image", ("image", "text"), "message"]

    @property
    def max_seq_length(self) -> int:
        """Token limit of a text."""
        return self.processor.max_text_length

    def get_embedding_dimension(self) -> int:
        """Returns the width of the vectors."""
        return self.model.config.vector_dim

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, task: str | None = None
    ) -> dict[str, Tensor]:
        """Makes the tensors of mentions or of entities.

        Args:
            inputs: Texts, PIL images, or dicts with `text`, `image` or both; an `image` is a picture for
                `DIMProcessor` or a path. The text of a query is a sentence with the mention in double brackets, that of
                a document an entity's name and description, "Turkey: country". A query may be a picture alone, and an
                image of a document may be a list of pictures.
            prompt: Must be empty.
            task: `query` or `document`, as `encode_query` and `encode_document` set it.

        Returns:
            The tensors of `DIMProcessor.process_mentions` or `process_entities`.

        Raises:
            DIMError: If there is no task, there is a prompt, or an input is not as above.
            PictureError: If a picture cannot be read.
        """
        if task not in _SIDES:
            raise DIMError(
                "DIM has mentions and entities: call encode_query for mentions, encode_document for entities."
            )
        if prompt:
            raise DIMError(f"DIM was trained without prompts; leave out the prompt {prompt!r}.")
        rows = [self._read(one, task) for one in inputs]
        texts = [text for text, _ in rows]
        images = [pictures for _, pictures in rows]
        shown = any(images)
        if task == "document":
            # A text is name and description in one, as `entity_template` puts them together.
            batch = self.processor.process_entities(texts, [""] * len(texts), images if shown else None)
        else:
            parsed = [parse_mention(text) if text else ("", "", _NOWHERE) for text in texts]
            mentions, sentences, spans = zip(*parsed, strict=True)
            pictures = [one[0] if one else None for one in images] if shown else None
            batch = self.processor.process_mentions(mentions, sentences, pictures, spans=spans)
        return dict(batch)

    def _read(self, given: Any, task: str) -> tuple[str, list[Any]]:
        """The text of an input, empty for none, and its pictures."""
        parts = {"text": given} if isinstance(given, str) else given
        parts = {"image": given} if isinstance(given, Image.Image) else parts
        if not isinstance(parts, Mapping) or not parts or parts.keys() - {"text", "image"}:
            raise DIMError(f"A {task} is a text, or a dict with 'text' and 'image'; got {_short(given)}.")
        text, image = parts.get("text") or "", parts.get("image")
        if not isinstance(text, str):
            raise DIMError(f"The text of a {task} is one string; got {_short(text)}.")
        images = [] if image is None else [read_picture(one) for one in _listed(image)]
        if task == "query" and len(images) > 1:
            raise DIMError(f"A query has one picture, got {len(images)}; DIMLinker averages over several.")
        if task == "document" and not text:
            raise DIMError("A document needs its text, the entity's name and description; an image alone has none.")
        config = self.model.config
        if images and not (config.entity_pictures if task == "document" else "picture" in config.mention_modalities):
            raise DIMError(f"This model reads no picture of a {task}; leave out the image.")
        if not text and not images:
            raise DIMError("A query needs a text with a mention, or an image.")
        return text, images

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds the vectors `(B, V)` of a batch of [`DIMSentenceEncoder.preprocess`] as `sentence_embedding`."""
        is_query = "mention_input_ids" in features
        encode = self.model.get_mention_features if is_query else self.model.get_entity_features
        return {**features, "sentence_embedding": encode(**features)}


def _listed(image: Any) -> Sequence[Any]:
    return image if isinstance(image, list | tuple) else [image]


def _short(given: Any) -> str:
    """A value in a message."""
    keys = f" with {', '.join(map(repr, given))}" if isinstance(given, Mapping) else ""
    return f"{type(given).__name__}{keys}"


__all__ = ["DIMSentenceEncoder"]
