"""Finds the file of a picture that a release names, although folders and suffixes may differ."""

import filecmp
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import unquote

from dim.errors import DIMError
from dim.folding_dim import composed

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".tif", ".tiff", ".bmp")


class PictureFolder:
    """Index of the pictures in some folders, by the names that a release gives them.

    Suffixes do not matter (`Map.svg` may have become `Map.png`, `A.PNG` `A.jpg`), nor do the two ways in which Unicode
    writes an accent. Links to folders are followed; each folder is read once.

    Args:
        folders: Folders with pictures at any depth.

    Raises:
        DIMError: If a folder does not exist or has no pictures.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._found: defaultdict[str, list[tuple[Path, str]]] = defaultdict(list)  # stem -> (folder given, path)
        for folder in map(Path, folders):
            if not folder.is_dir():
                raise DIMError(f"There is no folder of pictures {folder}.")
            before, seen = len(self), set()
            for root, inner, names in os.walk(folder, followlinks=True):
                real = os.path.realpath(root)
                if real in seen:  # a link back
                    inner.clear()
                    continue
                seen.add(real)
                for name in names:
                    if name.lower().endswith(SUFFIXES):
                        self._found[_stem(name)].append((folder, f"{root}{os.sep}{name}"))
            if len(self) == before:
                raise DIMError(f"{folder} has no pictures ({', '.join(SUFFIXES)}).")

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return sum(map(len, self._found.values()))

    def find(self, reference: str, keys: Sequence[str] = ()) -> Path | None:
        """Finds a picture.

        Names are tried in this order: for a URL, the name from `dim fetch-images` ([`url_name`]), WikiDiverse's name
        (md5 of the URL's last part), and the last part itself; for a path, its file name; then the keys. Names are
        tried as they are and with %xx decoded. If several files have a name, the one at the reference's path is
        returned, or else the one that shares most of its parent folders.

        Args:
            reference: The release's name of the picture: URL, path or file name; may be empty.
            keys: Ids of the sample or entity, which may be the file's name.

        Returns:
            The file, or `None`.

        Raises:
            DIMError: If several files with different content fit equally well.
        """
        parents: tuple[str, ...] | None = None
        if is_url(reference):
            path, names = PurePosixPath(_without_query(reference)), _names_of_url(reference)
        else:
            path = PurePosixPath(reference.replace("\\", "/"))
            names, parents = [path.name, unquote(path.name)], path.parts[:-1] if path.name else None
        for name in filter(None, (*names, *keys)):
            for stem in (_stem(name), _normal(name)):  # the latter for Map.svg.png
                if stem in self._found:
                    return _best(self._found[stem], parents, path.suffix, name)
        return None


def _best(found: list[tuple[Path, str]], parents: tuple[str, ...] | None, suffix: str, name: str) -> Path:
    """The best of several files with a name: by the parent folders of the reference (`None` for a URL), then suffix."""
    if len(found) == 1:
        return Path(found[0][1])

    def fit(folder: Path, path: str) -> tuple[bool, int, bool]:
        above = PurePath(path).parts[:-1]
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(parents or ()), reversed(above), strict=False))
        is_there = PurePath(path).relative_to(folder).parts[:-1] == parents
        return is_there, len(list(shared)), PurePath(path).suffix.lower() == suffix.lower()

    best = max(fit(*entry) for entry in found)
    first, *others = sorted(path for folder, path in found if fit(folder, path) == best)
    for other in others:
        if not filecmp.cmp(first, other, shallow=False):
            raise DIMError(
                f"There are two pictures {name!r} with different content, {first} and {other}: "
                "remove one, or give only the right folder."
            )
    return Path(first)


def is_url(reference: str) -> bool:
    """Returns whether a release's name of a picture is a URL.

    >>> is_url("https://a.example/b.jpg"), is_url("images/b.jpg")
    (True, False)
    """
    return reference.lower().startswith(("http://", "https://"))


def url_name(url: str) -> str:
    """Returns the file name, without suffix, that `dim fetch-images` gives to a URL's picture: md5 of the whole URL.

    WikiDiverse takes md5 of the last part alone, so different pictures can have the same name.

    >>> url_name("https://a.example/1/b.jpg") == url_name("https://a.example/2/b.jpg")
    False
    """
    return _md5(url)


def _names_of_url(url: str) -> list[str]:
    """Names that the file of a URL's picture may have: ours, those of WikiDiverse's authors, then the last part."""
    names = [url_name(url)]
    quoted = url.rpartition("/")[2]
    for last in (quoted, unquote(quoted)):
        names += [_md5(last), _md5(last) + last]  # the latter for suffixes that they do not know
    quoted = _without_query(url).rpartition("/")[2]
    return [*names, quoted, unquote(quoted)]


def _without_query(url: str) -> str:
    return re.split("[?#]", url, maxsplit=1)[0]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def _stem(name: str) -> str:
    """A file name in NFC without the suffix of a picture."""
    return _normal(name[: name.rindex(".")] if name.lower().endswith(SUFFIXES) else name)


def _normal(name: str) -> str:
    return composed(name)
