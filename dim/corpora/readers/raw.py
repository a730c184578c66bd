"""The files of a raw release: found under folders, and recognised by their name and by what is in them."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dim.corpora.readers.draft import kind_of
from dim.corpora.release import SourceFile
from dim.errors import DIMError

DATASETS = ("wikimel", "richpediamel", "wikidiverse")
"""The datasets whose releases are known; each may be called with `_plus` behind."""

_NAMES_OF_DATASETS = {
    "wikimel": r"wiki(data|pedia)?[-_ ]?mel",
    "richpediamel": r"richpedia",
    "wikidiverse": r"wiki[-_ ]?diverse",
}
_PICTURES = re.compile(  # folders not to look into, and hidden ones
    r"((mention|kb|entity|cleaned|wikinews|kvqa)[-_ ]?)?(image|img|picture|photo)s?|\..*", re.IGNORECASE
)
_SPLITS = {"train": "train", "test": "test", **dict.fromkeys(("dev", "val", "valid", "validation"), "validation")}
SPLIT_NAME = re.compile(rf"(.*[-_. ])?(?P<split>{'|'.join(_SPLITS)})(_w_\d+cands)?\.json", re.IGNORECASE)
"""Name of a file that holds one split."""
_LISTED = 8
_DECODER = json.JSONDecoder(object_pairs_hook=tuple)


@dataclass(frozen=True, slots=True)
class Shape:
    """The beginning of a JSON or JSONL file.

    Args:
        top: `object`, `array`, `lines`, or what is wrong with the file.
        key: First key, where `top` is an object, else the first row's number.
        value: First value; objects are dicts.

    Example:
        >>> shape = Shape("array", "row 0", {"sentence": "Ada met Al.", "mention": "Ada"})
        >>> shape.has_rows("array", "sentence", "mention"), shape.has_rows("lines", "sentence", "mention")
        (True, False)
    """

    top: str
    key: str = ""
    value: Any = None

    def has_rows(self, top: str, *keys: str) -> bool:
        """Whether the file is of objects with these keys."""
        return self.top == top and isinstance(self.value, dict) and self.value.keys() >= set(keys)

    def describe(self) -> str:
        """What is seen, for messages."""
        if isinstance(self.value, dict):
            return f"{self.top} of objects with the keys {some([repr(key) for key in self.value])}"
        return f"{self.top} that begins with {kind_of(self.value)}" if self.key else self.top


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Args:
        what: What it is, for messages and the card.
        called: What it is called, for messages.
        name: What its name matches as a whole; `SPLIT_NAME` for one file a split.
        fits: Whether the beginning of a file is that of this kind.
        source: Where it comes from.
        licence: Licence of its content, empty where none is known.
        dataset: The dataset that it belongs to, where its name tells it.
        is_own: Whether it is a user's own, whatever the folder is called.

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
    """A file that was recognised.

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
        """The split that its name tells: `train.json`, `WIKIMEL_dev.json`, `valid_w_10cands.json`."""
        return split_of_file(self.name)

    @cached_property
    def sha256(self) -> str:
        """Checksum of its content."""
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def read(self) -> Any:
        """Its content, as [`read_json`] gives it."""
        return read_json(self.path)

    def source(self) -> SourceFile:
        """What the card says about it."""
        return SourceFile(self.name, self.kind.what, self.sha256, self.kind.source, self.kind.licence)


def some(names: Sequence[str]) -> str:
    """The first of many names, for messages.

    >>> some(["a", "b"]), some(list("abcdefghij"))
    ('a, b', 'a, b, c, d, e, f, g, h, and 2 more')
    """
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f", and {more} more" if more > 0 else "")


def json_files(raw: Sequence[Path]) -> list[tuple[Path, str]]:
    """The JSON and JSONL files that are given or lie under folders, but for folders of pictures and hidden ones.

    Args:
        raw: Folders and files.

    Returns:
        Each file once, sorted, with the dataset that its name or a folder's (up to the one given) tells, or `""`.

    Raises:
        DIMError: If one does not exist, or if there is no JSON file.

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
            inner[:] = [] if real in seen else sorted(name for name in inner if not _PICTURES.fullmatch(name))
            seen.add(real)  # a link may lead back
            parts = [top.name, *Path(folder).relative_to(top).parts]
            for name in names:
                if name.lower().endswith((".json", ".jsonl")):
                    found[Path(folder, name)] = _dataset_of([name, *reversed(parts)])
    if not found:
        raise DIMError(f"There is no .json or .jsonl file under {', '.join(map(str, raw))}.")
    return sorted(found.items())


def _dataset_of(parts: Iterable[str]) -> str:
    """The dataset that the first part names that names one."""
    for part in parts:
        for dataset, pattern in _NAMES_OF_DATASETS.items():
            if re.search(pattern, part, re.IGNORECASE):
                return dataset
    return ""


def split_of_file(name: str) -> str | None:
    """The split that a file's name tells.

    >>> split_of_file("WIKIMEL_dev.json"), split_of_file("valid_w_10cands.json"), split_of_file("constrain.json")
    ('validation', 'validation', None)
    """
    match = SPLIT_NAME.fullmatch(name)
    return split_name(match["split"]) if match else None


def split_name(name: str) -> str | None:
    """The split that releases also call `dev` or `val`.

    >>> split_name("dev"), split_name("Train"), split_name("all")
    ('validation', 'train', None)
    """
    return _SPLITS.get(name.lower())


def peek(path: Path) -> Shape:
    """The beginning of a file, without reading the rest.

    Args:
        path: A file called `.json` or `.jsonl`.

    Returns:
        Its shape; `top` says what is wrong with a file that is no JSON.

    Example:
        >>> _ = Path("rows.json").write_text('{"7": {"sentence": "Ada met Al."}}')
        >>> peek(Path("rows.json"))
        Shape(top='object', key='7', value={'sentence': 'Ada met Al.'})
    """
    size = 1 << 16
    try:
        while True:
            with path.open(encoding="utf-8-sig") as stream:
                text = stream.read(size)
            try:
                return _shape(text, path.suffix.lower() == ".jsonl")
            except (json.JSONDecodeError, IndexError):
                if len(text) < size:
                    raise
                size *= 4
    except (OSError, ValueError, IndexError, RecursionError) as error:
        return Shape(f"no JSON ({error})")


def _shape(text: str, is_lines: bool) -> Shape:
    if not text.strip():
        return Shape("empty file")
    place = _skip(text, 0)
    if is_lines:
        return Shape("lines", "line 1", _plain(_DECODER.raw_decode(text, place)[0]))
    bracket = text[place]
    if bracket not in "{[":
        return Shape("single value")
    place = _skip(text, place + 1)
    if text[place] in "}]":
        return Shape("empty list or object")
    if bracket == "[":
        return Shape("array", "row 0", _plain(_DECODER.raw_decode(text, place)[0]))
    key, place = _DECODER.raw_decode(text, place)
    place = _skip(text, _skip(text, place) + 1)  # the colon
    return Shape("object", str(key), _plain(_DECODER.raw_decode(text, place)[0]))


def _skip(text: str, place: int) -> int:
    while text[place] in " \t\r\n":
        place += 1
    return place


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, tuple) else value


def read_json(path: Path) -> Any:
    """The content of a JSON file, with objects as tuples of `(key, value)`, so that repeated keys are seen.

    Raises:
        DIMError: If it is no JSON in UTF-8.

    Example:
        >>> _ = Path("twice.json").write_text('{"7": null, "7": [1, 2]}')
        >>> read_json(Path("twice.json"))
        (('7', None), ('7', [1, 2]))
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise DIMError(f"{path} is no JSON: {error}.") from error


__all__ = ["DATASETS", "SPLIT_NAME", "Kind", "RawFile", "Shape", "json_files", "peek", "read_json", "some",
           "split_name", "split_of_file"]  # fmt: skip
