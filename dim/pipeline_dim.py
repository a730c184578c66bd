# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""The pipeline `multimodal-entity-linking` of transformers: ranks candidates, or the entities of a knowledge base."""

import importlib
from collections.abc import Mapping, Sequence
from types import GeneratorType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Pipeline
from transformers.utils import logging

from .errors_dim import DIMError
from .inputs_dim import parse_mention, read_picture
from .sentences_dim import NOWHERE, is_picture_alone
from .words_dim import find_mention

logger = logging.get_logger(__name__)

_BATCH = 64  # candidates that are encoded at once
_MOST = 64  # entities that a linker ranks


class _Candidates(NamedTuple):
    """Encoded candidates: their ids and names, vectors `(C, V)`, and what makes their lexical features, if any."""

    ids: list[Any]
    names: list[str]
    vectors: Tensor
    features: Any


class DIMPipeline(Pipeline):
    """Links mentions by `pipeline("multimodal-entity-linking", model, trust_remote_code=True)`.

    `pipeline(...)(inputs, candidates=None, kb=None, top_k=None, batch_size=1, num_workers=0)`:

    Args:
        inputs: A mention, a list of mentions, or anything that yields mentions, such as a generator or a streamed
            `datasets.IterableDataset`. A mention is a sentence with the mention in `[[double brackets]]`, or a dict
            with `sentence` and optionally `mention`, `start` and `end` (its offsets), `image` (a picture for
            `DIMProcessor` or a path), `expert_answer` and `candidates`; other fields are ignored. Without a sentence
            and a mention, the picture is linked alone.
        candidates: The entities to rank for every mention; they are encoded once per call. Each is a dict with `id`,
            `name` and optionally `description`, `image` or a list `images`, and `aliases`. A mention's own `candidates`
            take precedence. Pictures that the model does not read are left out, with a warning.
        kb: URI of a knowledge base that this model encoded, in place of candidates; it needs
            `pip install 'dim-mel[kb]'`.
        top_k: Number of entities per mention; by default all candidates, or 64 of a knowledge base.
        batch_size: Number of mentions that are encoded at once.
        num_workers: Processes that read pictures.

    Returns:
        For each mention a list of `{"id": ..., "name": ..., "score": ...}`, best first, with the score of the model;
        a list of these lists for a list, an iterator for what yields mentions.

    Raises:
        DIMError: If there are neither candidates nor a knowledge base or both, a mention or candidate is invalid, or a
            knowledge base is given and `dim` is not installed.
        PictureError: If a picture cannot be read.

    Example:

        >>> from dim import DIMModel, DIMProcessor
        >>> model, processor = DIMModel.from_pretrained("demo/model"), DIMProcessor.from_pretrained("demo/model")
        >>> link = DIMPipeline(model, processor=processor)
        >>> candidates = [{"id": 1, "name": "Turkey", "description": "country"}, {"id": 2, "name": "Ankara"}]
        >>> [found["name"] for found in link("We saw [[Turkey]].", candidates=candidates)]
        ['Turkey', 'Ankara']
    """

    _load_processor = True
    _load_tokenizer = _load_image_processor = _load_feature_extractor = _load_video_processor = False

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Links mentions; the class describes the arguments."""
        if not isinstance(inputs, str | Mapping | list | Dataset | GeneratorType):
            inputs = (row for row in inputs)  # what transformers streams
        return [] if inputs == [] else super().__call__(inputs, *args, **kwargs)

    def _sanitize_parameters(
        self, candidates: Sequence[Mapping] | None = None, kb: Any = None, top_k: int | None = None
    ) -> tuple[dict, dict, dict]:
        if candidates is not None and kb is not None:
            raise DIMError("Give candidates or a knowledge base (kb), not both.")
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise DIMError(f"top_k is {top_k!r}: it must be at least 1.")
        forward: dict[str, Any] = {} if top_k is None else {"top_k": top_k}
        if candidates is not None:
            forward |= {"candidates": self._encode(candidates), "linker": None}
        elif kb is not None:
            forward |= {"candidates": None, "linker": self._open(kb)}
        return {}, forward, {}

    def _open(self, kb: Any) -> Any:
        """A linker on a knowledge base. The package is imported by name, since transformers asks for what Hub files
        import."""
        try:
            dim = importlib.import_module("dim")
        except ImportError as error:
            raise DIMError("A knowledge base (kb) needs the package dim: pip install 'dim-mel[kb]'") from error
        return dim.DIMLinker(self.model, self.processor, dim.KnowledgeBase.open(kb))

    def preprocess(self, input_: Any) -> dict[str, Any]:
        """Reads a mention and its picture."""
        given = {"sentence": input_} if isinstance(input_, str) else input_
        if not isinstance(given, Mapping):
            raise DIMError(f"A mention is a sentence or a dict with 'sentence'; got {type(given).__name__}.")
        reads = "picture" in self.model.config.mention_modalities
        image = next(iter(self._read([given.get("image")], "mentions", reads)), None)
        row = {"image": image, "expert_answer": given.get("expert_answer"), "candidates": given.get("candidates")}
        mention, sentence, span = _locate(given, image)
        return {"row": {**row, "mention": mention, "sentence": sentence, "start": span[0], "end": span[1]}}

    def _forward(
        self, inputs: dict[str, Any], candidates: _Candidates | None = None, linker: Any = None,
        top_k: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        batched = isinstance(inputs["row"], list)  # transformers passes one mention, or a batch
        rows = inputs["row"] if batched else [inputs["row"]]
        own = [row.pop("candidates") for row in rows]
        if linker is not None:
            if any(own):
                raise DIMError("A mention has candidates, but a knowledge base (kb) is given: leave one of them out.")
            linked = linker.link(rows, _MOST if top_k is None else top_k)
            found = [[{"id": one.id, "name": one.name, "score": one.score} for one in links] for links in linked]
        else:
            pools = [self._pool(given, candidates) for given in own]
            queries = self._encode_mentions(rows)
            found = [self._rank(*one)[:top_k] for one in zip(rows, queries, pools, strict=True)]
        return {"links": found if batched else found[0]}

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the entities of a mention, best first."""
        return model_outputs["links"]

    def _read(self, pictures: list[Any], side: str, reads: bool) -> list[Any]:
        """Reads pictures, and leaves them out if the model reads none on that side."""
        given = [picture for picture in pictures if picture is not None]
        if given and not reads:
            logger.warning_once(f"The model reads no pictures of {side}; they are left out.")
        return [read_picture(picture) for picture in given if reads]

    def _pool(self, own: Sequence[Mapping] | None, shared: _Candidates | None) -> _Candidates:
        """The candidates of a mention: its own, or those of the call."""
        if own is not None:
            return self._encode(own)
        if shared is None:
            raise DIMError(
                "Give candidates=[{'id': ..., 'name': ...}, ...], or kb=... with `pip install 'dim-mel[kb]'`."
            )
        return shared

    def _encode_mentions(self, rows: list[dict[str, Any]]) -> Tensor:
        """Vectors of mentions `(M, V)`."""
        columns = {name: [row[name] for row in rows] for name in ("mention", "sentence", "image", "expert_answer")}
        batch = self.processor.process_mentions(
            columns["mention"],
            columns["sentence"],
            columns["image"] if any(image is not None for image in columns["image"]) else None,
            columns["expert_answer"] if any(columns["expert_answer"]) else None,
            [(row["start"], row["end"]) for row in rows],
        )
        return self.model.get_mention_features(**batch.to(self.device))

    @torch.no_grad()
    def _encode(self, candidates: Sequence[Mapping]) -> _Candidates:
        """Checks and encodes candidates."""
        rows = list(candidates)
        for row, one in enumerate(rows):
            if not isinstance(one, Mapping) or "id" not in one or not one.get("name"):
                raise DIMError(f"Candidate {row} needs an 'id' and a 'name'.")
        if not rows:
            raise DIMError("The list of candidates is empty.")
        names = [one["name"] for one in rows]
        descriptions = [one.get("description") or "" for one in rows]
        vectors = []
        for start in range(0, len(rows), _BATCH):
            part = slice(start, start + _BATCH)
            images = [self._read(_pictures(one), "entities", self.model.config.entity_pictures) for one in rows[part]]
            batch = self.processor.process_entities(
                names[part], descriptions[part], images if any(images) else None
            ).to(self.device)
            vectors.append(self.model.get_entity_features(**batch))
        features = None
        if self.model.config.num_lexical_features:
            aliases = [one.get("aliases") or [] for one in rows]
            features = self.processor.lexical_features(names, descriptions, aliases)
        return _Candidates([one["id"] for one in rows], names, torch.cat(vectors), features)

    def _rank(self, row: dict[str, Any], query: Tensor, candidates: _Candidates) -> list[dict[str, Any]]:
        """The candidates of a mention, best first."""
        lexical = None
        if candidates.features is not None:
            lexical = candidates.features([(row["mention"], row["sentence"])]).to(self.device)
        scores = self.model.score(query[None], candidates.vectors, lexical)[0]
        order = scores.argsort(descending=True, stable=True).tolist()
        return [
            {"id": candidates.ids[one], "name": candidates.names[one], "score": scores[one].item()} for one in order
        ]


def _locate(given: Mapping, image: Any) -> tuple[str, str, tuple[int, int]]:
    """The mention of an input, its sentence, and its offsets, as `DIMLinker` reads them."""
    mention, sentence = given.get("mention"), given.get("sentence") or ""
    if is_picture_alone(mention, sentence) and image is not None:
        return "", "", NOWHERE
    if mention is None:
        return parse_mention(sentence)
    sentence = sentence or mention
    start, end = given.get("start"), given.get("end")
    if start is not None and end is not None:
        return mention, sentence, (start, end)
    return mention, sentence, find_mention(sentence, mention) if mention in sentence else NOWHERE


def _pictures(entity: Mapping) -> list[Any]:
    """The pictures of a candidate."""
    return [entity.get("image"), *(entity.get("images") or [])]


__all__ = ["DIMPipeline"]
