# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""The features of the lexical prior: similarity of names, and fit of a sentence to an entity."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .context_features_dim import CONTEXT_FEATURES, ContextFeatures
from .errors_dim import DIMError
from .name_features_dim import NAME_FEATURES, NameFeatures

LEXICAL_FEATURES = NAME_FEATURES + CONTEXT_FEATURES


class LexicalFeatures:
    """Lexical features of mention-entity pairs: [`NameFeatures`] and [`ContextFeatures`].

    Each depends on its pair alone: the mention, its sentence, and the entity's name, aliases and description. None
    depends on the identity of the entity, on how often it was an answer, or on other entities. An empty mention, which
    is a picture alone, has features of 0 with every entity.

    Args:
        names: Names of the `E` entities.
        aliases: Aliases of each entity; none by default.
        descriptions: Descriptions of the entities; empty by default.

    Raises:
        DIMError: If there is no entity, or names, aliases and descriptions differ in number.

    Example:

        >>> features = LexicalFeatures(["Henry VIII", "Henry Adams"], descriptions=["Birth: 1491.", "Birth: 1838."])
        >>> features([("Henry", "Henry, c. 1531")])[0, :, LEXICAL_FEATURES.index("unborn")]
        tensor([0., 1.])
    """

    def __init__(
        self,
        names: Sequence[str],
        aliases: Sequence[Sequence[str]] | None = None,
        descriptions: Sequence[str] | None = None,
    ):
        self.names = NameFeatures(names, aliases)
        descriptions = [""] * len(names) if descriptions is None else descriptions
        if len(descriptions) != len(names):
            raise DIMError(f"There are {len(names)} names, but descriptions for {len(descriptions)} entities.")
        self.context = ContextFeatures(descriptions)

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, mentions: Sequence[tuple[Any, ...]], rows: Tensor | None = None) -> Tensor:
        """Features of every mention with every entity.

        Args:
            mentions: `M` tuples that begin with a mention and its sentence, such as `dim.Mention`.
            rows: Indices of entities `(E,)`; all entities by default.

        Returns:
            `torch.Tensor` of shape `(M, E, F)`, float32, in the order of `LEXICAL_FEATURES`. It must fit in memory, so
            pass a large set in parts.
        """
        texts, sentences = _split(mentions)
        found = torch.cat([self.names(texts, sentences, rows), self.context(sentences, rows)], -1)
        return found * _is_named(texts)

    def pairs(self, mentions: Sequence[tuple[Any, ...]], rows: Tensor) -> Tensor:
        """Features of each mention with its own candidates.

        Args:
            mentions: `M` tuples that begin with a mention and its sentence.
            rows: Indices of each mention's candidates, `(M, C)`.

        Returns:
            `torch.Tensor` of shape `(M, C, F)`, float32.
        """
        texts, sentences = _split(mentions)
        found = torch.cat([self.names.pairs(texts, sentences, rows), self.context(sentences, rows)], -1)
        return found * _is_named(texts)


def _split(mentions: Sequence[tuple[Any, ...]]) -> tuple[list[str], list[str]]:
    """Returns the texts and the sentences of mentions."""
    return [mention[0] for mention in mentions], [mention[1] for mention in mentions]


def _is_named(texts: Sequence[str]) -> Tensor:
    """1 for each mention with a text, and 0 for a picture alone, `(M, 1, 1)`."""
    return torch.tensor([float(bool(text.strip())) for text in texts]).view(-1, 1, 1)


__all__ = ["LEXICAL_FEATURES", "LexicalFeatures"]
