"""The files of one release, by kind, and what was found beside them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dim.corpora.readers.raw import Kind, RawFile, json_files, peek, some
from dim.corpora.release import Rejected
from dim.corpora.schema import SPLITS
from dim.errors import DIMError


class Files:
    """The files of a release. Each that a reader takes is remembered in `used`.

    Args:
        files: Files that were recognised. Of those of a kind with the same content the first counts.
        unknown: JSON files that no reader knows, with the reason.
        others: Files of other datasets.
    """

    def __init__(self, files: Iterable[RawFile], unknown: Sequence[Rejected] = (), others: Sequence[Path] = ()) -> None:
        different = {(file.kind.what, file.split, file.sha256): file for file in reversed(list(files))}
        self.files = sorted(different.values(), key=lambda file: file.path)
        self.unknown = list(unknown)
        self.others = list(others)
        self.used: list[RawFile] = []

    def of(self, kind: Kind) -> list[RawFile]:
        """The files of a kind."""
        return [file for file in self.files if file.kind is kind]

    def maybe(self, kind: Kind) -> RawFile | None:
        """The file of a kind, if there is one.

        Raises:
            DIMError: If there are several that differ.
        """
        found = self.of(kind)
        if len(found) > 1:
            raise DIMError(
                f"{_list(found)} are different files of {kind.what}: "
                "give --raw only the folder of the one that is meant."
            )
        self.used += found
        return found[0] if found else None

    def one(self, kind: Kind) -> RawFile:
        """The file of a kind.

        Raises:
            DIMError: If there is none, or if there are several that differ.
        """
        found = self.maybe(kind)
        if found is None:
            raise DIMError(f"{kind.what} ({kind.called}) are missing: give their folder with --raw. {self.describe()}")
        return found

    def by_split(self, kind: Kind) -> dict[str, RawFile]:
        """The files of a kind that has one for each split, in the order of the splits.

        Raises:
            DIMError: If there is none, or if there are several for a split.
        """
        found: dict[str, RawFile] = {}
        for split in SPLITS:
            files = [file for file in self.of(kind) if file.split == split]
            if len(files) > 1:
                raise DIMError(
                    f"{_list(files)} are different files of {kind.what}, split {split}: "
                    "give --raw only the folder of the one that is meant."
                )
            found.update((split, file) for file in files)
        if not found:
            raise DIMError(f"{kind.what} ({kind.called}) are missing: give their folder with --raw. {self.describe()}")
        self.used += found.values()
        return found

    def describe(self) -> str:
        """What was found, file by file, for messages."""
        known = [f"{file.name} ({file.kind.what})" for file in self.files]
        known += [f"{path.name} (another dataset's)" for path in self.others]
        known += [f"{row.file}, key {row.key!r} ({row.reason})" for row in self.unknown]
        return f"Found: {some(known)}."


def recognise(raw: Sequence[Path], dataset: str, kinds: Sequence[Kind]) -> Files:
    """Finds the files of a dataset and recognises each by its name and its beginning.

    Args:
        raw: Folders and files.
        dataset: The dataset. Files whose name, or nearest folder with a dataset's name, tells another are left out.
        kinds: The kinds there are.

    Returns:
        The files.

    Raises:
        DIMError: If a path does not exist, or if there is no JSON file.
    """
    files, unknown, others = [], [], []
    for path, told in json_files(raw):
        shape = peek(path)
        named = [kind for kind in kinds if kind.name.fullmatch(path.name)]
        fitting = [kind for kind in kinds if kind.fits(shape)]
        both = [kind for kind in named if kind in fitting]
        if both:
            owner = both[0].dataset or ("" if both[0].is_own else told)
            if owner in ("", dataset):
                files.append(RawFile(path, both[0]))
            else:
                others.append(path)
        else:
            if named:
                reason = f"called like {named[0].what}, but not such: {shape.describe()}"
            elif fitting:
                reason = f"looks like {fitting[0].what}, which are called {fitting[0].called}"
            else:
                reason = f"no reader knows it: {shape.describe()}"
            unknown.append(Rejected(path.name, shape.key or "-", reason, "file"))
    return Files(files, unknown, others)


def _list(files: Iterable[RawFile]) -> str:
    return " and ".join(str(file.path) for file in files)


__all__ = ["Files", "recognise"]
