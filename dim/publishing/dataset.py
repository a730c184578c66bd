"""Publication of a dataset: files named in its card, script, and the rejected rows of its build."""

from pathlib import Path
from typing import Any

from dim.errors import DIMError
from dim.publishing.files import CARD, Publication, files_of, read_card_of, required
from dim.publishing.leaks import check_files
from dim.publishing.licences import check_dataset_licences

_BESIDE = (CARD, "script/**/*", "*.jsonl", "LICENSE*", "NOTICE*")


def dataset_publication(folder: Path, target: str) -> Publication:
    """Collects and checks the files of a dataset.

    Args:
        folder: A folder from `dim build`, or another one whose card names its configs and their Parquet files.
        target: Name of the repository, `owner/name`.

    Returns:
        The publication.

    Raises:
        DIMError: If the card or a file that it names is missing, a licence does not allow publishing, or a file
            contains an access token, a local path, or pictures that are only paths.

    Example:

        >>> publication = dataset_publication(Path("datasets/namesakes"), "my-group/namesakes")
        >>> [file.path for file in publication.files if file.path.startswith("entities/")]
        ['entities/kb-00000-of-00001.parquet']
    """
    required(folder, [CARD], "dim build writes it")
    metadata, text = read_card_of(folder)
    check_dataset_licences(str(folder / CARD), metadata, text)
    script = folder / f"{target.split('/')[-1]}.py"
    if script.exists():
        raise DIMError(f"{script} would make load_dataset refuse the repository: move it to script/.")
    configs = metadata.get("configs")
    if not configs:
        raise DIMError(f"{folder / CARD} names no configs; dim build writes them.")
    patterns = _patterns(folder / CARD, configs)
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise DIMError(f"{folder / CARD} names {pattern!r}, which is outside the folder.")
        if not any(path.is_file() for path in folder.glob(pattern)):
            raise DIMError(f"{folder / CARD} names {pattern!r}, and there is no such file.")
    files = tuple(files_of(folder, [*_BESIDE, *patterns]))
    check_files(files)
    return Publication("dataset", target, files, ("*.parquet",))


def _patterns(card: Path, configs: list[dict[str, Any]]) -> list[str]:
    """Returns the patterns of all configs; `data_files` holds patterns, or splits with a `path`."""
    found: list[str] = []
    for config in configs:
        data = config.get("data_files")
        for entry in data if isinstance(data, list) else [data]:
            path = entry.get("path") if isinstance(entry, dict) else entry
            if not path:
                raise DIMError(f"{card} names no data_files for the config {config.get('config_name')!r}.")
            found += [path] if isinstance(path, str) else path
    return found
