"""Mapping of ids and labels to indices."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from dim.errors import DIMError


def index_of(ids: Sequence[str]) -> dict[str, int]:
    """Maps each id to its row index.

    Args:
        ids: Ids, in the order of the rows.

    Returns:
        The index of each id.

    Raises:
        DIMError: If an id occurs twice.

    Example:
        >>> index_of(["e7", "e2"])
        {'e7': 0, 'e2': 1}
    """
    index = {name: row for row, name in enumerate(ids)}
    if len(index) != len(ids):
        twice = next(name for row, name in enumerate(ids) if index[name] != row)
        raise DIMError(f"The id {twice!r} occurs more than once; ids must be unique.")
    return index


def gold_indices(mentions: Sequence[str], golds: Sequence[str], index: Mapping[str, int], source: str) -> list[int]:
    """Looks up the row index of each mention's entity.

    Args:
        mentions: Ids of `M` mentions, for the error.
        golds: Ids of their entities; empty for NIL.
        index: Row index of each entity id, from [`index_of`].
        source: Where the mentions come from, for the error.

    Returns:
        `M` indices; -1 for NIL.

    Raises:
        DIMError: If an entity is not in the index.

    Example:
        >>> gold_indices(["m1", "m2"], ["e2", ""], index_of(["e7", "e2"]), "data/cities, train")
        [1, -1]
    """
    for name, gold in zip(mentions, golds, strict=True):
        if gold and gold not in index:
            raise DIMError(f"{source}: the entity {gold!r} of mention {name!r} is not in the entities.")
    return [index[gold] if gold else -1 for gold in golds]


def group_indices(labels: Iterable[Hashable]) -> list[int]:
    """Maps labels to indices, in the order of their first appearance.

    Args:
        labels: Any hashable labels, such as the surface forms of mentions.

    Returns:
        One index for each label; equal labels have equal indices.

    Example:
        >>> group_indices(["Rome", "Paris", "Rome"])
        [0, 1, 0]
    """
    indices: dict[Hashable, int] = {}
    return [indices.setdefault(label, len(indices)) for label in labels]
