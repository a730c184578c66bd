"""The card of a captioned dataset."""

from collections.abc import Mapping, Sequence

import datasets

from dim.common.cards import card_text, read_card
from dim.common.parquet import Written
from dim.corpora.build.card import feature_list

_HEADING = "## The expert's answers"


def captioned_card(
    card: str, written: Mapping[str, Sequence[tuple[str, Written]]], features: datasets.Features, facts: str
) -> str:
    """Puts the new files of the config `mentions`, and a section about the captions, into a card.

    Args:
        card: Card of the dataset that was captioned.
        written: Names and sizes of the files by split.
        features: Columns of `mentions`.
        facts: Markdown of the section, which replaces that of an earlier captioning.

    Returns:
        Content of the README.md.
    """
    fields, body = read_card(card)
    for config in fields["configs"]:
        if config["config_name"] == "mentions":
            config["data_files"] = [{"split": s, "path": [name for name, _ in made]} for s, made in written.items()]
    sizes = {split: sum(one.num_bytes for _, one in made) for split, made in written.items()}
    mentions = {
        "config_name": "mentions",
        "features": feature_list(features),  # the Parquet files carry none
        "splits": [
            {"name": split, "num_bytes": sizes[split], "num_examples": sum(one.rows for _, one in made)}
            for split, made in written.items()
        ],
        "download_size": sum(one.size for made in written.values() for _, one in made),
        "dataset_size": sum(sizes.values()),
    }
    infos = fields.get("dataset_info", [])
    others = [one for one in (infos if isinstance(infos, list) else [infos]) if one.get("config_name") != "mentions"]
    fields["dataset_info"] = [mentions, *others]
    return card_text(fields, f"{body.split(_HEADING)[0].rstrip()}\n\n{_HEADING}\n\n{facts}\n")
