"""The files of one release by kind, and the other files found beside them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dim.corpora.readers.raw import Kind, RawFile, json_files
from dim.corpora.readers.shape import peek, some
from dim.corpora.release import Rejected
from dim.corpora.schema import SPLITS
from dim.errors import DIMError


class Files:
    """The files of a release. `used` lists those that a reader has taken.

    Args:
        files: Files of known kinds. Of several with the same kind and content the first counts.
        unknown: JSON files of no known kind, with the reason.
        others: Files of other datasets.
    """

    def __init__(self, files: Iterable[RawFile], unknown: Sequence[Rejected] = (), others: Sequence[Path] = ()) -> None:
        different = {(file.kind.what, file.split, file.sha256): file for file in reversed(list(files))}
        self.files = sorted(different.values(), key=lambda file: file.path)
        self.unknown = list(unknown)
        self.others = list(others)
        self.used: list[RawFile] = []

    def of(self, kind: Kind) -> list[RawFile]:
        """Returns the files of a kind."""
        return [file for file in self.files if file.kind is kind]

    def maybe(self, kind: Kind) -> RawFile | None:
        """Takes the file of a kind, if there is one.

        Raises:
            DIMError: If there are several that differ.
        """
        found = self.of(kind)
        self._check_single(found, kind.what)
        self.used += found
        return found[0] if found else None

    def one(self, kind: Kind) -> RawFile:
        """Takes the file of a kind.

        Raises:
            DIMError: If there is none, or if there are several that differ.
        """
        found = self.maybe(kind)
        if found is None:
            raise self._missing(kind)
        return found

    def by_split(self, kind: Kind) -> dict[str, RawFile]:
        """Takes the files of a kind that has one for each split, in the order of the splits.

        Raises:
            DIMError: If there is none, or if there are several for a split.
        """
        found: dict[str, RawFile] = {}
        for split in SPLITS:
            files = [file for file in self.of(kind) if file.split == split]
            self._check_single(files, f"{kind.what}, split {split}")
            found.update((split, file) for file in files)
        if not found:
            raise self._missing(kind)
        self.used += found.values()
        return found

    def describe(self) -> str:
        """Lists what was found, for messages."""
        known = [f"{file.name} ({file.kind.what})" for file in self.files]
        known += [f"{path.name} (another dataset's)" for path in self.others]
        known += [f"{row.file}, key {row.key!r} ({row.reason})" for row in self.unknown]
        return f"Found: {some(known)}."

    def _missing(self, kind: Kind) -> DIMError:
        return DIMError(f"{kind.what} ({kind.called}) are missing: give their folder with --raw. {self.describe()}")

    @staticmethod
    def _check_single(files: Sequence[RawFile], what: str) -> None:
        if len(files) > 1:
            paths = " and ".join(str(file.path) for file in files)
            raise DIMError(f"{paths} are different files of {what}: give --raw only the folder of the right one.")


def recognise(raw: Sequence[Path], dataset: str, kinds: Sequence[Kind]) -> Files:
    """Finds the files of a dataset and the kind of each, by its name and its beginning.

    Args:
        raw: Files and folders.
        dataset: The dataset. Files are left out whose name, or nearest folder named after a dataset, is another one's.
        kinds: The kinds to look for.

    Returns:
        The files.

    Raises:
        DIMError: If a path does not exist, or if there is no JSON file.
    """
    files, unknown, others = [], [], []
    for path, named_dataset in json_files(raw):
        shape = peek(path)
        named = [kind for kind in kinds if kind.name.fullmatch(path.name)]
        fitting = [kind for kind in kinds if kind.fits(shape)]
        both = [kind for kind in named if kind in fitting or kind.is_own]
        if both:
            owner = both[0].dataset or ("" if both[0].is_own else named_dataset)
            if owner in ("", dataset):
                files.append(RawFile(path, both[0]))
            else:
                others.append(path)
        else:
            if named:
                reason = f"named like {named[0].what}, but its content differs: {shape.describe()}"
            elif fitting:
                reason = f"looks like {fitting[0].what}, which are called {fitting[0].called}"
            else:
                reason = f"no reader knows it: {shape.describe()}"
            unknown.append(Rejected(path.name, shape.key or "-", reason, "file"))
    return Files(files, unknown, others)
