"""Loads mentions, entities and candidates from a folder or the Hub, and checks them before long work starts."""

import functools
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import datasets

from dim.common.checksums import verify_checksums
from dim.common.ids import index_of
from dim.corpora.schema import MANIFEST, SPLITS
from dim.errors import DIMError

MENTION_COLUMNS = ("id", "sentence", "mention", "start", "end", "image", "entity_id")
ENTITY_COLUMNS = ("id", "name", "description", "images")
CANDIDATE_COLUMNS = ("mention_id", "entity_ids")


def load_mentions(dataset: str, split: str) -> datasets.Dataset:
    """Loads the mentions of a split, with undecoded pictures.

    Args:
        dataset: Folder or Hub name of a dataset that has the config `mentions`.
        split: `train`, `validation` or `test`.

    Returns:
        Rows with at least the columns `MENTION_COLUMNS`; `image` holds `{"bytes", "path"}` or `None`.

    Raises:
        DIMError: If the folder, the config, the split or a column is missing, or if the split is empty.

    Example:
        >>> mention = load_mentions("datasets/namesakes", "test")[0]
        >>> mention["sentence"], mention["mention"], mention["entity_id"]
        ('He pointed at the image and said love letter.', 'love letter', 'e0397')
        >>> mention["sentence"][mention["start"] : mention["end"]], list(mention["image"])
        ('love letter', ['bytes', 'path'])
    """
    return _load(dataset, "mentions", split, MENTION_COLUMNS, "image")


def load_entities(dataset: str) -> datasets.Dataset:
    """Loads the knowledge base of a dataset, with undecoded pictures.

    Args:
        dataset: Folder or Hub name of a dataset that has the config `entities`.

    Returns:
        Rows with at least the columns `ENTITY_COLUMNS`; `images` holds lists of `{"bytes", "path"}`.

    Raises:
        DIMError: If the folder, the config or a column is missing, if there is no entity, or if an id occurs twice.

    Example:
        >>> entity = load_entities("datasets/namesakes")[0]
        >>> entity["id"], entity["name"], entity["description"]
        ('e0001', 'loudly crying face', 'Yellow expression with streams of tears.')
    """
    entities = _load(dataset, "entities", "kb", ENTITY_COLUMNS, "images")
    try:
        index_of(entities["id"][:])
    except DIMError as error:
        raise DIMError(f"{dataset}, entities: {error}") from error
    return entities


def load_candidates(dataset: str, split: str) -> dict[str, list[str]]:
    """Loads the candidate entities of a split's mentions.

    Args:
        dataset: Folder or Hub name of a dataset that has the config `candidates`.
        split: `train`, `validation` or `test`.

    Returns:
        Entity ids by mention id.

    Raises:
        DIMError: If the folder, the config, the split or a column is missing, or if the split is empty.

    Example:
        >>> candidates = load_candidates("datasets/namesakes", "test")
        >>> candidates["m000008"]
        ['e1059', 'e1528']
    """
    rows = _load(dataset, "candidates", split, CANDIDATE_COLUMNS)
    return dict(zip(rows["mention_id"][:], rows["entity_ids"][:], strict=True))


def load_splits(dataset: str) -> dict[str, datasets.Dataset]:
    """Loads the mentions of every split, with undecoded pictures.

    Args:
        dataset: Folder or Hub name of a dataset that has the config `mentions`.

    Returns:
        Rows as [`load_mentions`] gives them, by split.

    Raises:
        DIMError: If there is no such dataset or no split, or as [`load_mentions`].

    Example:
        >>> {split: len(rows) for split, rows in load_splits("datasets/namesakes").items()}
        {'train': 7584, 'validation': 696, 'test': 1586}
    """
    found = {split: load_mentions(dataset, split) for split in splits_of(dataset)}
    if not found:
        raise DIMError(f"{dataset} has no split of mentions: its config 'mentions' needs one of {', '.join(SPLITS)}.")
    return found


def splits_of(dataset: str, config: str = "mentions") -> tuple[str, ...]:
    """Lists the splits of a config without loading them.

    Args:
        dataset: Folder or Hub name.
        config: `mentions`, `entities` or `candidates`.

    Returns:
        Those of `train`, `validation`, `test` and `kb` that it has, in this order; none where it lacks the config.

    Raises:
        DIMError: If there is no such dataset, or its files cannot be read.

    Example:
        >>> splits_of("datasets/namesakes"), splits_of("datasets/namesakes", "entities")
        (('train', 'validation', 'test'), ('kb',))
    """
    path = _path(dataset)
    try:
        configs = datasets.get_dataset_config_names(path)
        there = datasets.get_dataset_split_names(path, config) if config in configs else []
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        raise _not_there(dataset) from error
    except ValueError as error:  # files that are no data
        raise DIMError(f"{dataset} cannot give the splits of its config {config!r}: {_why(error)}") from error
    return tuple(split for split in (*SPLITS, "kb") if split in there)


def load_dataset_folder(dataset: str, config: str, split: str) -> datasets.Dataset:
    """Loads a split from a folder or the Hub, with any columns; a file of the folder that has changed is read again.

    `datasets.load_dataset` looks at a folder's README.md alone: without a change there, it gives the rows of an earlier
    state of the folder from its cache, or those of another folder with the same README.md.

    Args:
        dataset: Folder or Hub name.
        config: Name of the config.
        split: Name of the split.

    Returns:
        The rows.

    Raises:
        DIMError: If the dataset, the config or the split is missing, or a file differs from the manifest of the command
            that wrote the folder or cannot be read.
        OSError: If the operating system refuses to read the files or to write the cache.

    Example:
        >>> load_dataset_folder("datasets/namesakes", "candidates", "test").column_names
        ['mention_id', 'entity_ids', 'source']
    """
    path = _path(dataset)
    cache = None
    if Path(path).is_dir():
        cache = str(Path(datasets.config.HF_DATASETS_CACHE) / "dim" / verify_dataset(Path(path)))
    try:
        return datasets.load_dataset(path, config, split=split, cache_dir=cache)
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        raise _not_there(dataset) from error
    except (ValueError, datasets.exceptions.DatasetGenerationError) as error:  # no such config or split, or no data
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:  # such as a full disk
            raise error.__cause__ from error
        raise DIMError(f"{dataset} cannot give the split {split!r} of its config {config!r}: {_why(error)}") from error


def commit_of(rows: datasets.Dataset) -> str | None:
    """Returns the commit on the Hub that rows were loaded from.

    Args:
        rows: As [`load_mentions`] gives them.

    Returns:
        40 hexadecimal digits, by which `datasets` names the folder of its cache; `None` for rows of a folder.

    Example:
        >>> commit_of(load_mentions("datasets/namesakes", "test")) is None
        True
    """
    names = {Path(file["filename"]).parent.name for file in rows.cache_files}
    return next((name for name in names if re.fullmatch(r"[0-9a-f]{40}", name)), None)


def verify_dataset(folder: Path) -> str:
    """Compares the files of a dataset that a command wrote with its manifest, once for each state of them.

    Args:
        folder: Folder of a dataset; one without a manifest of dim passes.

    Returns:
        [`state_of`] the folder.

    Raises:
        DIMError: If a file is missing or differs, or the manifest cannot be read.
    """
    state = state_of([folder])
    _verify(str(folder), state)
    return state


@functools.lru_cache(maxsize=64)
def _verify(folder: str, state: str) -> None:
    try:
        made_by = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))["made_by"]
    except (OSError, ValueError, LookupError, TypeError):  # none, or one of another program
        return
    if str(made_by).startswith("dim "):
        verify_checksums(Path(folder), manifest=MANIFEST)


def state_of(paths: Iterable[Path]) -> str:
    """Computes a key of files that changes with them: a digest of their paths, sizes and times of change.

    Args:
        paths: Files, and folders with files at any depth.

    Returns:
        24 hexadecimal digits.
    """
    files = sorted(file for path in paths for file in (path, *path.rglob("*")) if file.is_file())
    states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(repr(states).encode(), digest_size=12).hexdigest()


def _path(dataset: str) -> str:
    """What `datasets` takes: the path of a folder, or a Hub name."""
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        return str(folder)
    if dataset.startswith((".", "/", "~")):
        raise DIMError(f"There is no dataset folder {dataset}.")
    return dataset


def _why(error: Exception) -> str:
    """The message of an error of `datasets`, or of its cause, in one line."""
    return " ".join(str(error.__cause__ or error).split())


def _not_there(dataset: str) -> DIMError:
    return DIMError(f"There is no dataset {dataset!r}, neither as a folder nor on the Hub.")


def _load(dataset: str, config: str, split: str, columns: tuple[str, ...], pictures: str = "") -> datasets.Dataset:
    rows = load_dataset_folder(dataset, config, split)
    if len(rows) == 0:
        raise DIMError(f"{dataset}, config {config!r}, split {split!r}, has no rows.")
    return checked_columns(rows, f"{dataset}, config {config!r}", columns, pictures)


def checked_columns(
    rows: datasets.Dataset, name: str, columns: tuple[str, ...], pictures: str = ""
) -> datasets.Dataset:
    """Checks that rows have the columns of mentions, entities or candidates, and leaves their pictures undecoded.

    Args:
        rows: The rows.
        name: What they are, for messages.
        columns: The columns that they need.
        pictures: The column with pictures, if there is one.

    Returns:
        The rows.

    Raises:
        DIMError: If a column is missing, or holds no pictures.
    """
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise DIMError(f"{name} lacks the column {missing[0]!r}; it has {rows.column_names}.")
    if not pictures:
        return rows
    feature = rows.features[pictures]
    is_list = pictures == "images"
    if not isinstance(getattr(feature, "feature", None) if is_list else feature, datasets.Image):
        raise DIMError(f"{name}: the column {pictures!r} must hold images, got {feature}.")
    undecoded = datasets.Image(decode=False)
    return rows.cast_column(pictures, datasets.List(undecoded) if is_list else undecoded)
