"""The features of the lexical prior for the entities of a dataset or a knowledge base."""

import datasets
import pyarrow as pa

from dim.lexical_dim import LexicalFeatures

_COLUMNS = ("name", "aliases", "description")


def lexical_features(entities: datasets.Dataset | pa.Table) -> LexicalFeatures:
    """Makes the lexical features of a knowledge base.

    Args:
        entities: Columns `name` and optionally `aliases` and `description`.

    Returns:
        The features, in the order of the entities.

    Example:

        >>> from dim import Mention
        >>> from dim.lexical_dim import LEXICAL_FEATURES
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
