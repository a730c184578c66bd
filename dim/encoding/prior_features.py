"""The features of the lexical prior: similarity of names, and fit of a sentence to an entity."""

from collections.abc import Sequence

import datasets
import pyarrow as pa
import torch
from torch import Tensor

from dim.encoding.context_features import CONTEXT_FEATURES, ContextFeatures
from dim.encoding.mention import Mention
from dim.encoding.name_features import NAME_FEATURES, NameFeatures
from dim.errors import DIMError

LEXICAL_FEATURES = NAME_FEATURES + CONTEXT_FEATURES
_COLUMNS = ("name", "aliases", "description")


class LexicalFeatures:
    """Lexical features of mention-entity pairs: [`NameFeatures`] and [`ContextFeatures`].

    Each depends on its pair alone: the mention, its sentence, and the entity's name, aliases and description. None
    depends on the identity of the entity, on how often it was an answer, or on other entities.

    Args:
        names: Names of the `E` entities.
        aliases: Aliases of each entity; none by default.
        descriptions: Descriptions of the entities; empty by default.

    Raises:
        DIMError: If there is no entity, or names, aliases and descriptions differ in number.

    Example:

        >>> features = LexicalFeatures(["Henry VIII", "Henry Adams"], descriptions=["Birth: 1491.", "Birth: 1838."])
        >>> features([Mention("Henry", "Henry, c. 1531", 0, 5)])[0, :, LEXICAL_FEATURES.index("unborn")]
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

    def __call__(self, mentions: Sequence[Mention], rows: Tensor | None = None) -> Tensor:
        """Features of every mention with every entity.

        Args:
            mentions: `M` mentions.
            rows: Indices of entities `(E,)`; all entities by default.

        Returns:
            `torch.Tensor` of shape `(M, E, F)`, float32, in the order of `LEXICAL_FEATURES`. It must fit in memory, so
            pass a large set in parts.
        """
        texts, sentences = _split(mentions)
        return torch.cat([self.names(texts, sentences, rows), self.context(sentences, rows)], -1)

    def pairs(self, mentions: Sequence[Mention], rows: Tensor) -> Tensor:
        """Features of each mention with its own candidates.

        Args:
            mentions: `M` mentions.
            rows: Indices of each mention's candidates, `(M, C)`.

        Returns:
            `torch.Tensor` of shape `(M, C, F)`, float32.
        """
        texts, sentences = _split(mentions)
        return torch.cat([self.names.pairs(texts, sentences, rows), self.context(sentences, rows)], -1)


def _split(mentions: Sequence[Mention]) -> tuple[list[str], list[str]]:
    """Returns the texts and the sentences of mentions."""
    return [mention.text for mention in mentions], [mention.sentence for mention in mentions]


def lexical_features(entities: datasets.Dataset | pa.Table) -> LexicalFeatures:
    """Makes the lexical features of a knowledge base.

    Args:
        entities: Columns `name` and optionally `aliases` and `description`.

    Returns:
        The features, in the order of the entities.

    Example:

        >>> entities = pa.table({"name": ["Turkey", "turkey"], "aliases": [["Türkiye"], []]})
        >>> features = lexical_features(entities)
        >>> features([Mention.find("Turkiye", "We flew to Turkiye.")])[0, :, LEXICAL_FEATURES.index("equal")]
        tensor([1., 0.])
    """
    names = [name for name in _COLUMNS if name in entities.column_names]
    table = isinstance(entities, pa.Table)
    columns = entities.select(names).to_pydict() if table else entities.select_columns(names)[:]
    descriptions = [text or "" for text in columns["description"]] if "description" in columns else None
    return LexicalFeatures(columns["name"], columns.get("aliases"), descriptions)
