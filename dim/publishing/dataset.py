"""Publication of a dataset: files named in its card, script, rejected rows of its build, and `eval.yaml`."""

from pathlib import Path
from typing import Any

from dim.errors import DIMError
from dim.publishing.benchmark import FILE as BENCHMARK
from dim.publishing.benchmark import benchmark_text
from dim.publishing.files import CARD, Publication, RepoFile, files_of, read_card_of, required, restriction
from dim.publishing.leaks import check_files
from dim.publishing.licences import dataset_problems, has_pictures, is_own, picture_problems

_BESIDE = (CARD, BENCHMARK, "script/**/*", "*.jsonl", "LICENSE*", "NOTICE*")


def dataset_publication(folder: Path, target: str, private: bool = False) -> Publication:
    """Collects and checks the files of a dataset.

    Args:
        folder: A folder from `dim build`, or another one whose card names its configs and their Parquet files. Its
            own `eval.yaml` is published as it is.
        target: Name of the repository, `owner/name`.
        private: Whether the repository is private; it may then hold what must not be published.

    Returns:
        The publication.

    Raises:
        DIMError: If the card or a file that it names is missing, a licence does not allow publishing and the
            repository is not private, or a file contains an access token, a local path, or pictures that are only
            paths.

    Example:

        >>> publication = dataset_publication(Path("datasets/namesakes"), "my-group/namesakes")
        >>> [file.path for file in publication.files if file.path.startswith("entities/")]
        ['entities/kb-00000-of-00001.parquet']
    """
    required(folder, [CARD], "dim build writes it")
    metadata, text = read_card_of(folder)
    problems = dataset_problems(str(folder / CARD), metadata, text)
    Publication("dataset", target, (), restricted=tuple(problems)).check_private(private)
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
    benchmark = benchmark_text(metadata.get("pretty_name") or target.split("/")[-1], configs)
    if benchmark is not None and not (folder / BENCHMARK).exists():
        files = (*files, RepoFile(BENCHMARK, benchmark.encode()))
    if has_pictures(text) and not is_own(text):
        problems += picture_problems(files)
    made = Publication(
        "dataset", target, files, ("*.parquet",), notes=restriction(problems), restricted=tuple(problems)
    )
    made.check_private(private)
    check_files(files)
    return made


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
