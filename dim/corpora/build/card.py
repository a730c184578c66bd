"""Card of a built dataset: the committed text, with the facts of the build."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from dim.common.cards import card_text, read_card
from dim.corpora.build.corpus import Corpus
from dim.corpora.build.facts import Tables, build_facts, written
from dim.corpora.build.shards import Shard
from dim.corpora.schema import FEATURES

OWN = """---
pretty_name: {name}
license: unknown
task_categories:
- text-retrieval
task_ids:
- entity-linking-retrieval
tags:
- entity-linking
- multimodal
---

# {name}

Mentions, entities and candidates for multimodal entity linking, built by `dim build` from the files below.

`mentions` has a row for each mention: `sentence[start:end]` is the mention (-1 where it is not in the sentence),
`image` the picture, `entity_id` the gold, empty where no entity fits (NIL). `entities` is the knowledge base,
`candidates` the entities with the most similar names.
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
    """Makes the card of a built folder, with its splits and files in the YAML and a section on the build at the end.

    The YAML lists every file. With patterns instead, `datasets` would load the rows of an earlier build in the same
    folder from its cache.

    Args:
        card: The committed card.
        corpus: The content of the dataset.
        tables: The shards by config and split.
        options: Options of the build, as text by name.

    Returns:
        Content of the README.md.
    """
    front, body = read_card(card)
    built = {config: splits for config, splits in tables.items() if splits}
    front["configs"] = [
        {
            "config_name": config,
            **({"default": True} if config == "mentions" else {}),
            "data_files": [{"split": split, "path": [s.file for s in shards]} for split, shards in splits.items()],
        }
        for config, splits in built.items()
    ]
    front["dataset_info"] = [_dataset_info(config, splits) for config, splits in built.items()]
    front["size_categories"] = [_size_category(len(corpus.release.mentions))]
    return card_text(front, f"{body.rstrip()}\n\n## This build\n\n{build_facts(corpus, tables, options)}")


def _dataset_info(config: str, splits: Mapping[str, Sequence[Shard]]) -> dict[str, Any]:
    sizes: list[dict[str, Any]] = [
        {
            "name": split,
            "num_bytes": sum(shard.written.num_bytes for shard in shards),
            "num_examples": sum(shard.written.rows for shard in shards),
        }
        for split, shards in splits.items()
    ]
    return {
        "config_name": config,
        "features": feature_list(FEATURES[config]),
        "splits": sizes,
        "download_size": sum(file.size for file in written({config: splits})),
        "dataset_size": sum(split["num_bytes"] for split in sizes),
    }


def _size_category(rows: int) -> str:
    """The Hub's name for a number of rows."""
    bounds = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")
