"""Datasets of mentions, entities and candidates, from a folder or the Hub, checked before anything long starts."""

import hashlib
from pathlib import Path

import datasets

from dim.errors import DIMError

MENTION_COLUMNS = ("id", "sentence", "mention", "start", "end", "image", "entity_id")
ENTITY_COLUMNS = ("id", "name", "description", "images")
CANDIDATE_COLUMNS = ("mention_id", "entity_ids")


def load_mentions(dataset: str, split: str) -> datasets.Dataset:
    """The mentions of a split, with undecoded pictures.

    Args:
        dataset: Folder or Hub name of a dataset that has the config `mentions`.
        split: `train`, `validation` or `test`.

    Returns:
        Rows with at least the columns `MENTION_COLUMNS`; `image` holds `{"bytes", "path"}` or `None`.

    Raises:
        DIMError: If there is no such folder, config or split, if a column is missing, or if the split is empty.

    Example:
        >>> mention = load_mentions("datasets/namesakes", "test")[0]
        >>> mention["sentence"], mention["mention"], mention["entity_id"]
        ('He pointed at the image and said love letter.', 'love letter', 'e0397')
        >>> mention["sentence"][mention["start"] : mention["end"]], list(mention["image"])
        ('love letter', ['bytes', 'path'])
    """
    return _load(dataset, "mentions", split, MENTION_COLUMNS, "image")


def load_entities(dataset: str) -> datasets.Dataset:
    """The entities of a dataset's knowledge base, with undecoded pictures.

    Args:
        dataset: Folder or Hub name of a dataset that has the config `entities`.

    Returns:
        Rows with at least the columns `ENTITY_COLUMNS`; `images` holds lists of `{"bytes", "path"}`.

    Raises:
        DIMError: If there is no such folder or config, if a column is missing, if there is no entity, or if an id
            occurs twice.

    Example:
        >>> entity = load_entities("datasets/namesakes")[0]
        >>> entity["id"], entity["name"], entity["description"]
        ('e0001', 'loudly crying face', 'Yellow expression with streams of tears.')
    """
    entities = _load(dataset, "entities", "kb", ENTITY_COLUMNS, "images")
    ids = entities["id"][:]
    if len(set(ids)) != len(ids):
        first = next(name for name in ids if ids.count(name) > 1)
        raise DIMError(f"{dataset} has the entity id {first!r} more than once; ids must be unique.")
    return entities


def load_candidates(dataset: str, split: str) -> dict[str, list[str]]:
    """The candidate entities of a split's mentions.

    Args:
        dataset: Folder or Hub name of a dataset that has the config `candidates`.
        split: `train`, `validation` or `test`.

    Returns:
        Entity ids by mention id.

    Raises:
        DIMError: If there is no such folder, config or split, or if a column is missing.

    Example:
        >>> candidates = load_candidates("datasets/namesakes", "test")
        >>> candidates["m000008"]
        ['e1059', 'e1528']
    """
    rows = _load(dataset, "candidates", split, CANDIDATE_COLUMNS, None)
    return dict(zip(rows["mention_id"][:], rows["entity_ids"][:], strict=True))


def _load(dataset: str, config: str, split: str, columns: tuple[str, ...], pictures: str | None) -> datasets.Dataset:
    if dataset.startswith((".", "/", "~")) and not Path(dataset).expanduser().is_dir():
        raise DIMError(f"There is no dataset folder {dataset}.")
    folder = Path(dataset).expanduser()
    try:
        if folder.is_dir():
            rows = datasets.load_dataset(str(folder), config, split=split, cache_dir=_cache_of(folder))
        else:
            rows = datasets.load_dataset(dataset, config, split=split)
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        raise DIMError(f"There is no dataset {dataset!r}, neither as a folder nor on the Hub.") from error
    except ValueError as error:  # unknown config, unknown split, or files that are no data
        raise DIMError(f"{dataset} cannot give the split {split!r} of its config {config!r}: {error}") from error
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise DIMError(f"{dataset}, config {config!r}, lacks the column {missing[0]!r}; it has {rows.column_names}.")
    if len(rows) == 0:
        raise DIMError(f"{dataset}, config {config!r}, split {split!r}, has no rows.")
    if pictures is None:
        return rows
    feature = rows.features[pictures]
    is_list = pictures == "images"
    if not isinstance(feature.feature if is_list and hasattr(feature, "feature") else feature, datasets.Image):
        raise DIMError(f"{dataset}, config {config!r}: the column {pictures!r} must hold images, got {feature}.")
    undecoded = datasets.Image(decode=False)
    return rows.cast_column(pictures, datasets.List(undecoded) if is_list else undecoded)


def _cache_of(folder: Path) -> str:
    """A cache folder that changes with the files: that of `datasets` looks at a local folder's README alone, and so
    gives the old rows of a rewritten file, or those of another folder with the same README."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.blake2b(repr(states).encode(), digest_size=12).hexdigest()
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "dim" / digest)


__all__ = ["load_candidates", "load_entities", "load_mentions"]
