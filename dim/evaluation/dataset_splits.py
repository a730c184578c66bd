"""Which splits a dataset has, told from those that it has and cannot give."""

from pathlib import Path
from typing import Any

import datasets

from dim.corpora.loading import load_mentions
from dim.corpora.schema import SPLITS
from dim.errors import DIMError


def splits_of(dataset: str, config: str = "mentions") -> tuple[str, ...]:
    """The splits of a config.

    Args:
        dataset: Folder or Hub name of a dataset that is there.
        config: `mentions` or `candidates`.

    Returns:
        Those of `train`, `validation` and `test` that it has; none where it lacks the config.
    """
    folder = Path(dataset).expanduser()
    source = str(folder) if folder.is_dir() else dataset
    if config not in datasets.get_dataset_config_names(source):
        return ()
    there = datasets.get_dataset_split_names(source, config)
    return tuple(split for split in SPLITS if split in there)


def load_splits(dataset: str) -> dict[str, Any]:
    """The mentions of every split, with undecoded pictures.

    Args:
        dataset: Folder or Hub name of a dataset that is there.

    Returns:
        `datasets.Dataset` by split.

    Raises:
        DIMError: If there is no split, or as [`dim.corpora.loading.load_mentions`].
    """
    found = {split: load_mentions(dataset, split) for split in splits_of(dataset)}
    if not found:
        raise DIMError(f"{dataset} has no split of mentions: its config `mentions` needs one of {', '.join(SPLITS)}.")
    return found


__all__ = ["load_splits", "splits_of"]
