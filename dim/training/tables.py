"""The rows that a run is trained on: mentions, entities and candidates, from a dataset's name or from memory."""

from dataclasses import dataclass

from datasets import Dataset

from dim.common.ids import index_of
from dim.corpora.loading import (
    ENTITY_COLUMNS,
    MENTION_COLUMNS,
    checked_columns,
    load_candidates,
    load_entities,
    load_mentions,
)
from dim.errors import DIMError
from dim.training.arguments import DataArguments


@dataclass
class Tables:
    """The rows of a dataset.

    Args:
        name: Name of the dataset, for messages.
        mentions: Mentions of the splits `train` and `validation`, with undecoded pictures.
        entities: The knowledge base, with undecoded pictures.
        candidates: Ids of each mention's candidates, by split and mention id; a split without is left out.
    """

    name: str
    mentions: dict[str, Dataset]
    entities: Dataset
    candidates: dict[str, dict[str, list[str]]]


def load_tables(arguments: DataArguments) -> Tables:
    """Loads the rows of `arguments.dataset`, with the candidates that `arguments` ask for.

    Raises:
        DIMError: If the dataset lacks a config, a split or a column.
    """
    dataset = str(arguments.dataset)
    entities = load_entities(dataset)
    mentions = {split: load_mentions(dataset, split) for split in ("train", "validation")}
    return Tables(dataset, mentions, entities, {split: load_candidates(dataset, split) for split in _wanted(arguments)})


def tables_in_memory(train: Dataset, validation: Dataset, entities: Dataset, arguments: DataArguments) -> Tables:
    """Checks rows that are already loaded.

    Args:
        train: Training mentions, with the columns `MENTION_COLUMNS` of `dim.corpora.loading`.
        validation: Validation mentions.
        entities: The knowledge base, with the columns `ENTITY_COLUMNS`.
        arguments: How batches are drawn.

    Raises:
        DIMError: If a column is missing, a table is empty, an id occurs twice, or candidates are asked for.
    """
    given = {"train_dataset": train, "eval_dataset": validation, "entities": entities}
    for name, rows in given.items():
        if not len(rows):
            raise DIMError(f"{name} has no rows.")
    if wanted := _wanted(arguments):
        raise DIMError(f"There are no candidates of the split {wanted[0]!r}: give the dataset's name in data_args.")
    mentions = {"train": checked_columns(train, "train_dataset", MENTION_COLUMNS, "image"),
                "validation": checked_columns(validation, "eval_dataset", MENTION_COLUMNS, "image")}  # fmt: skip
    kept = checked_columns(entities, "entities", ENTITY_COLUMNS, "images")
    index_of(kept["id"][:])
    return Tables("the given datasets", mentions, kept, {})


def _wanted(arguments: DataArguments) -> list[str]:
    """The splits whose candidates are needed."""
    needed = {"train": arguments.negatives == "candidates", "validation": arguments.rank_candidates}
    return [split for split, is_needed in needed.items() if is_needed]
