"""The card of a dataset: the committed text, and what a build adds to it."""

from collections.abc import Mapping
from typing import Any

import datasets

from dim.common.cards import card_text, read_card
from dim.corpora.build.corpus import Corpus
from dim.corpora.build.facts import Tables, build_facts, written
from dim.corpora.schema import CONFIGS, FEATURES

OWN = """---
pretty_name: {name}
license: unknown
tags:
- entity-linking
- multimodal
---

# {name}

Mentions, entities and candidates for multimodal entity linking, built by `dim build` from the files below.

`mentions` has a row for each mention: `sentence[start:end]` is the mention (-1 where it is not in the sentence),
`image` the picture, `entity_id` the answer, empty where no entity fits (NIL). `entities` is the knowledge base,
`candidates` the entities whose names look most like the mention.
"""


def feature_list(features: datasets.Features) -> list[dict[str, str]]:
    """Describes features as the metadata of a card does.

    Args:
        features: Columns: values, images, and lists of them.

    Returns:
        One entry per column.

    Example:
        >>> feature_list(datasets.Features({"id": datasets.Value("string"), "images": datasets.List(datasets.Image())}))
        [{'name': 'id', 'dtype': 'string'}, {'name': 'images', 'list': 'image'}]
    """

    def kind(feature: Any) -> str:
        return "image" if isinstance(feature, datasets.Image) else feature.dtype

    return [
        {"name": name, "list": kind(feature.feature)}
        if isinstance(feature, datasets.List)
        else {"name": name, "dtype": kind(feature)}
        for name, feature in features.items()
    ]


def built_card(card: str, corpus: Corpus, tables: Tables, options: Mapping[str, str]) -> str:
    """The card of a built folder: splits and files in the YAML, and what was built behind the prose.

    The YAML names every file. With patterns instead, `datasets` would take the rows of an earlier build at the same
    place from its cache.

    Args:
        card: The committed card.
        corpus: What was built.
        tables: The shards.
        options: How it was built, as text by name.

    Returns:
        Content of the README.md.
    """
    front, body = read_card(card)
    front["configs"] = []
    front["dataset_info"] = []
    for config in CONFIGS:
        if not tables[config]:
            continue
        files = [{"split": split, "path": [s.file for s in shards]} for split, shards in tables[config].items()]
        default = {"default": True} if config == "mentions" else {}
        front["configs"].append({"config_name": config, **default, "data_files": files})
        splits: list[dict[str, Any]] = [
            {
                "name": split,
                "num_bytes": sum(shard.written.num_bytes for shard in shards),
                "num_examples": sum(shard.written.rows for shard in shards),
            }
            for split, shards in tables[config].items()
        ]
        front["dataset_info"].append(
            {
                "config_name": config,
                "features": feature_list(FEATURES[config]),
                "splits": splits,
                "download_size": sum(one.size for one in written({config: tables[config]})),
                "dataset_size": sum(split["num_bytes"] for split in splits),
            }
        )
    front["size_categories"] = [_size_category(len(corpus.release.mentions))]
    return card_text(front, f"{body.rstrip()}\n\n## This build\n\n{build_facts(corpus, tables, options)}")


def _size_category(rows: int) -> str:
    """The Hub's name of a dataset's size."""
    bounds = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")


__all__ = ["OWN", "built_card", "feature_list"]
