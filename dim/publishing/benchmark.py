"""`eval.yaml`, by which the Hub knows a dataset as a benchmark, and the tasks in it."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

FILE = "eval.yaml"
METRICS = {"H@1": "hits_at_1", "MRR": "mrr"}
"""Metrics that have a leaderboard, with their part of a task's id; the card of a model has the others too."""
PROTOCOLS = {"full_kb": "mentions", "candidates": "candidates"}
"""Protocols that have a leaderboard, with the config whose splits allow them; others flatter."""

_DESCRIPTION = (
    "Multimodal entity linking: each mention, in its sentence and with its picture, is linked to an entity of a "
    "knowledge base. H@1 and MRR in percent, a tie counts half."
)


def task_id(split: str, protocol: str, metric: str) -> str:
    """Names a task, which is a leaderboard.

    Args:
        split: `validation` or `test`.
        protocol: A key of `PROTOCOLS`.
        metric: A key of `METRICS`.

    Returns:
        The `id` in `eval.yaml`, and the `task_id` in results.

    Example:

        >>> task_id("test", "full_kb", "H@1")
        'test_full_kb_hits_at_1'
    """
    return f"{split}_{protocol}_{METRICS[metric]}"


def benchmark_text(name: str, configs: Iterable[Mapping[str, Any]]) -> str | None:
    """Writes `eval.yaml` for a dataset.

    The field `evaluation_framework` is left out: the Hub keeps the list of its values, and dim is not among them.

    Args:
        name: What the dataset is called.
        configs: The entry `configs` of its card.

    Returns:
        The file's text; `None` if the dataset has neither a test nor a validation split of mentions.

    Example:

        >>> files = [{"split": "train", "path": "train.parquet"}, {"split": "test", "path": "test.parquet"}]
        >>> text = benchmark_text("Gems", [{"config_name": "mentions", "data_files": files}])
        >>> [task["id"] for task in yaml.safe_load(text)["tasks"]]
        ['test_full_kb_hits_at_1', 'test_full_kb_mrr']
        >>> benchmark_text("Gems", [{"config_name": "mentions", "data_files": "train.parquet"}]) is None
        True
    """
    splits = {config.get("config_name"): _splits(config.get("data_files")) for config in configs}
    tasks = [
        {"id": task_id(split, protocol, metric), "config": "mentions", "split": split}
        for split in ("test", "validation")
        for protocol, config in PROTOCOLS.items()
        for metric in METRICS
        if split in splits.get("mentions", ()) and split in splits.get(config, ())
    ]
    if not tasks:
        return None
    content = {"name": name, "description": _DESCRIPTION, "tasks": tasks}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _splits(data_files: object) -> set[str]:
    """The splits that an entry `data_files` names."""
    entries = data_files if isinstance(data_files, list) else []
    return {entry["split"] for entry in entries if isinstance(entry, dict) and "split" in entry}
