"""A layout of raw releases, as its reader declares it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dim.corpora.readers.draft import Draft
from dim.corpora.readers.files import Files
from dim.corpora.readers.raw import Kind


@dataclass(frozen=True)
class Layout:
    """A layout of raw releases. Every reader declares one as `LAYOUT`; [`dim.corpora.readers.registry`] lists them.

    Args:
        names: Names for `--layout`. Where a reader knows several, the label of its draft says which one it found.
        kinds: Kinds of the files that only this layout has.
        texts: The kinds among them that identify the layout.
        read: Reads files: `read(files, dataset, seed)`.
        datasets: Datasets that are published in it; none for a user's own data, whose name is free.
        sources: Repositories of the texts by name of the layout, where their kind says another one.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    texts: tuple[Kind, ...]
    read: Callable[[Files, str, int], Draft]
    datasets: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def holds(self, dataset: str) -> bool:
        """Returns whether a dataset may be in this layout."""
        return not self.datasets or dataset in self.datasets
