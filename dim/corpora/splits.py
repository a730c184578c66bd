"""Makes the splits of releases that have none, and drops mentions that splits share."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dim.common.text import sentence_key
from dim.corpora.release import Mention, Rejected, Release
from dim.corpora.schema import SPLITS


def seeded_order(ids: Iterable[str], seed: int) -> list[str]:
    """Sorts ids in a random order that depends on the ids and the seed alone.

    Args:
        ids: Ids in any order; repeated ones count once.
        seed: The seed.

    Returns:
        The different ids, sorted by `blake2b` of `"<seed>\\t<id>"`.

    Example:
        >>> seeded_order(["a", "b", "c"], seed=0) == seeded_order(["c", "a", "b", "a"], seed=0)
        True
    """
    return sorted(set(ids), key=lambda name: (hashlib.blake2b(f"{seed}\t{name}".encode()).digest(), name))


def disjoint_splits(
    groups: Iterable[str], seed: int, held_out: tuple[str, ...] = ("validation", "test")
) -> dict[str, str]:
    """Splits groups, such as the mentions of each entity, so that no group is in two splits.

    Of `n` groups in [`seeded_order`], the first `n // 10` go to the first of `held_out`, the next `n // 10` to the
    second, and the others to `train`.

    Args:
        groups: The name of each group.
        seed: The seed.
        held_out: The splits to fill besides `train`.

    Returns:
        The split of each group.

    Example:
        >>> splits = disjoint_splits((str(number) for number in range(25)), seed=0)
        >>> [list(splits.values()).count(split) for split in ("train", "validation", "test")]
        [21, 2, 2]
    """
    order = seeded_order(groups, seed)
    tenth = len(order) // 10
    splits = dict.fromkeys(order, "train")
    for index, split in enumerate(held_out):
        splits.update(dict.fromkeys(order[index * tenth : (index + 1) * tenth], split))
    return splits


def clean(release: Release, pictures: Mapping[str, str] | None = None) -> tuple[Release, list[Rejected]]:
    """Drops mentions that an earlier split shares with a later one; the test split stays as published.

    A training mention is dropped if its sentence or its picture is also in validation or test, a validation mention if
    it is in test. Sentences are compared word by word, ignoring case, accents and punctuation; pictures by the
    release's name and id, and by content where it is known.

    Args:
        release: A release, which is not changed.
        pictures: Hash of the content of each picture, by `image_id`.

    Returns:
        The release without the leaks, with notes, and the dropped mentions, with the split as `file` and the id as
        `key`. `rejected`, `rows_in` and `offsets` of the release stay the same.
    """
    contents = pictures or {}
    later: dict[_Identity, str] = {}  # content of the splits after the current one, and in which of them it is
    dropped: dict[str, Rejected] = {}
    for split in reversed(SPLITS):
        held: dict[_Identity, str] = {}
        for mention in release.mentions:
            if mention.split == split:
                names = _identities(mention, contents)
                leak = next((name for name in names if name in later), None)
                if leak is None:
                    held.update(dict.fromkeys(names, split))
                else:
                    reason = f"its {leak[0]} is also in {later[leak]}"
                    dropped[mention.id] = Rejected(split, mention.id, reason)
        later.update(held)
    counts = Counter((leak.file, leak.reason) for leak in dropped.values())
    notes = [f"Dropped from {split}, {reason}: {count}." for (split, reason), count in sorted(counts.items())]
    kept = [mention for mention in release.mentions if mention.id not in dropped]
    return replace(release, mentions=kept, notes=[*release.notes, *notes]), list(dropped.values())


_Identity = tuple[str, str, str]  # sentence or picture, by what it is identified, and the value


def _identities(mention: Mention, contents: Mapping[str, str]) -> list[_Identity]:
    content = contents.get(mention.image_id, "") if mention.image_id else ""
    known = [("name", mention.image), ("id", mention.image_id), ("content", content)]
    pictures = [("picture", by, value) for by, value in known if value]
    sentences = [("sentence", "words", sentence_key(mention.sentence))] if mention.sentence else []
    return sentences + pictures
