"""The files of a raw release: found in folders, recognised by their name and content."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dim.common.files import sha256_of
from dim.corpora.readers.shape import Shape, read_json
from dim.corpora.release import SourceFile
from dim.errors import DIMError

DATASETS = ("wikimel", "richpediamel", "wikidiverse")
"""The datasets with known releases; the name of a plus version has `_plus` behind it."""

_NAMES_OF_DATASETS = {
    "wikimel": r"wiki(data|pedia)?[-_ ]?mel",
    "richpediamel": r"richpedia",
    "wikidiverse": r"wiki[-_ ]?diverse",
}
_SKIPPED = re.compile(  # folders of pictures, and hidden ones
    r"((mention|kb|entity|cleaned|wikinews|kvqa)[-_ ]?)?(image|img|picture|photo)s?|\..*", re.IGNORECASE
)
_SPLITS = {"train": "train", "test": "test", **dict.fromkeys(("dev", "val", "valid", "validation"), "validation")}
OWN_NAME = re.compile(r"(mentions|entities)\.(jsonl|ndjson|json|csv|tsv|parquet)(\.gz)?", re.IGNORECASE)
"""Name of a table of a user's own data."""
SPLIT_NAME = re.compile(rf"(.*[-_. ])?(?P<split>{'|'.join(_SPLITS)})(_w_\d+cands)?\.json", re.IGNORECASE)
"""Name of a file that holds one split."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file, recognised by its name and its shape.

    Args:
        what: What the file is, for messages and the card.
        called: Its usual name, for messages.
        name: Pattern of its whole name; `SPLIT_NAME` where each split has a file of its own.
        fits: Returns whether a file of a shape can be of this kind.
        source: Repository that it comes from.
        licence: Licence of its content, empty where none is known.
        dataset: The dataset that it belongs to, where its name tells it.
        is_own: Whether it is a user's own, whatever its folder is called. A file of that name is taken whatever
            its first row is: its reader says what is wrong with it.

    Example:
        >>> texts = Kind("the texts", "train.json, dev.json and test.json", SPLIT_NAME,
        ...              lambda shape: shape.has_rows("array", "sentence", "mention"), licence="MIT")
        >>> bool(texts.name.fullmatch("dev.json")), texts.fits(Shape("array", "row 0", {"sentence": "", "mention": ""}))
        (True, True)
    """

    what: str
    called: str
    name: re.Pattern[str]
    fits: Callable[[Shape], bool]
    source: str = ""
    licence: str = ""
    dataset: str = ""
    is_own: bool = False


@dataclass(frozen=True)
class RawFile:
    """A file of a known kind.

    Args:
        path: Where it is.
        kind: Its kind.

    Example:
        >>> _ = Path("train.json").write_text('[{"sentence": "Ada met Al."}]')
        >>> file = RawFile(Path("train.json"), Kind("the texts", "train.json", SPLIT_NAME, lambda shape: True))
        >>> file.name, file.split, file.read()
        ('train.json', 'train', [(('sentence', 'Ada met Al.'),)])
    """

    path: Path
    kind: Kind

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.name

    @property
    def split(self) -> str | None:
        """The split in its name, as in `train.json`, `WIKIMEL_dev.json` or `valid_w_10cands.json`."""
        return split_of_file(self.name)

    @cached_property
    def sha256(self) -> str:
        """Checksum of its content."""
        return sha256_of(self.path)

    def read(self) -> Any:
        """Returns its content, as [`dim.corpora.readers.shape.read_json`] gives it."""
        return read_json(self.path)

    def source(self) -> SourceFile:
        """Returns its entry in the card."""
        return SourceFile(self.name, self.kind.what, self.sha256, self.kind.source, self.kind.licence)


def json_files(raw: Sequence[Path]) -> list[tuple[Path, str]]:
    """Finds JSON and JSON Lines files, and tables of a user's own. Folders of pictures and hidden folders are skipped.

    Args:
        raw: Files, and folders with files at any depth.

    Returns:
        Each file once, sorted, with the dataset in its name or in that of a folder (up to the one given), or `""`.

    Raises:
        DIMError: If a path does not exist, or if there is no JSON file.

    Example:
        >>> Path("raw/wikimel").mkdir(parents=True)
        >>> _ = Path("raw/wikimel/train.json").write_text("[]")
        >>> [(path.name, dataset) for path, dataset in json_files([Path("raw")])]
        [('train.json', 'wikimel')]
    """
    found: dict[Path, str] = {}
    for root in map(Path, raw):
        if not root.exists():
            raise DIMError(f"There is no file or folder {root}.")
        top = root.resolve()
        if top.is_file():
            found[top] = _dataset_of([top.name, top.parent.name])
            continue
        seen = set()
        for folder, inner, names in os.walk(top, followlinks=True):
            real = os.path.realpath(folder)
            inner[:] = [] if real in seen else sorted(name for name in inner if not _SKIPPED.fullmatch(name))
            seen.add(real)  # a link may lead back
            parts = [top.name, *Path(folder).relative_to(top).parts]
            for name in names:
                if name.lower().endswith((".json", ".jsonl")) or OWN_NAME.fullmatch(name):
                    found[Path(folder, name)] = _dataset_of([name, *reversed(parts)])
    if not found:
        raise DIMError(f"There is no .json or .jsonl file under {', '.join(map(str, raw))}.")
    return sorted(found.items())


def _dataset_of(parts: Iterable[str]) -> str:
    """The dataset in the first part that names one."""
    for part in parts:
        for dataset, pattern in _NAMES_OF_DATASETS.items():
            if re.search(pattern, part, re.IGNORECASE):
                return dataset
    return ""


def split_of_file(name: str) -> str | None:
    """Returns the split in a file's name.

    >>> split_of_file("WIKIMEL_dev.json"), split_of_file("valid_w_10cands.json"), split_of_file("constrain.json")
    ('validation', 'validation', None)
    """
    match = SPLIT_NAME.fullmatch(name)
    return split_name(match["split"]) if match else None


def split_name(name: str) -> str | None:
    """Returns the name of a split, which releases also call `dev` or `val`.

    >>> split_name("dev"), split_name("Train"), split_name("all")
    ('validation', 'train', None)
    """
    return _SPLITS.get(name.lower())
