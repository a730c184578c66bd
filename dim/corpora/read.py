"""`read_release`: whatever raw release is on disk, as mentions and entities."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dim.corpora.offsets import find_spans
from dim.corpora.readers import ghmfc, jsonl, kgmel, melbench, mimic, wikidiverse
from dim.corpora.readers.draft import Draft
from dim.corpora.readers.files import Files, recognise
from dim.corpora.readers.raw import DATASETS, Kind, some
from dim.corpora.release import Mention, Release, SourceFile
from dim.corpora.splits import seeded_order
from dim.errors import DIMError

Reader = Callable[[Files, str, int], Draft]

_READERS: dict[str, Reader] = {
    "melbench": melbench.read,
    "ghmfc": ghmfc.read,
    "dim": ghmfc.read,
    "mimic": mimic.read,
    "kgmel": kgmel.read,
    "wikidiverse": wikidiverse.read,
    "jsonl": jsonl.read,
}
_TEXTS: dict[str, tuple[Kind, ...]] = {  # the files that tell a layout; dim's are those of ghmfc
    "melbench": (melbench.WIKIMEL, melbench.RICHPEDIA),
    "ghmfc": (ghmfc.TEXTS,),
    "mimic": (mimic.MENTIONS,),
    "kgmel": (kgmel.TEXTS,),
    "wikidiverse": (wikidiverse.SENTENCES, wikidiverse.MENTIONS),
    "jsonl": (jsonl.MENTIONS,),
}
_KINDS = [kind for room in (melbench, ghmfc, mimic, kgmel, wikidiverse, jsonl) for kind in room.KINDS]

LAYOUTS = ("auto", *_READERS)
"""Values of `layout`."""


def read_release(dataset: str, raw: Sequence[Path], layout: str = "auto", seed: int = 0) -> Release:
    """Reads a raw release.

    Args:
        dataset: `wikimel`, `richpediamel` or `wikidiverse`, also with `_plus` behind, or any name for a user's own
            data in layout `jsonl`.
        raw: Files, and folders that are searched for files; folders of pictures are not.
        layout: One of `LAYOUTS`. `auto` takes the one whose texts are there. Where both Richpedias are, it takes
            MELBench's and says so.
        seed: Seed of new ids, and of splits where the release has none.

    Returns:
        The release. `rows_in` is the number of its mentions plus that of the rejected ones.

    Raises:
        DIMError: If a path does not exist, no layout or more than one fits, a file that the layout needs is missing
            or no JSON, no mention is left, or the knowledge base is another release's.
    """
    if layout not in LAYOUTS:
        raise DIMError(f"There is no layout {layout!r}; there are {', '.join(LAYOUTS)}.")
    name = dataset.removesuffix("_plus")
    files = recognise(raw, name, _KINDS)
    notes: list[str] = []
    if layout == "auto":
        layout, notes = _choose(name, files)
        draft = _READERS[layout](files, name, seed)
        layout = draft.label
    elif name not in DATASETS and layout != "jsonl":
        raise DIMError(f"{dataset!r} is none of {', '.join(DATASETS)}: its layout can only be jsonl.")
    else:
        draft = _READERS[layout](files, name, seed)
    if not draft.mentions:
        first = draft.rejected[0] if draft.rejected else None
        why = f"; the first: {first.file}, {first.key}: {first.reason}" if first else ""
        raise DIMError(f"No mention is left of {draft.rows_in}{why}.")
    notes += [*draft.notes, *_beside(files)]
    if draft.blank_mentions:
        notes.append(
            f"Mentions that are blank in the release and got the name of their answer: {len(draft.blank_mentions)}."
        )
    notes += _without_entity(draft)
    notes += _new_ids(draft, seed)
    return Release(
        layout=layout,
        mentions=draft.mentions,
        entities=draft.entities,
        rejected=[*draft.rejected, *files.unknown],
        rows_in=draft.rows_in,
        sources=_sources(files, layout),
        offsets=_locate(draft.mentions),
        notes=notes,
    )


def _sources(files: Files, layout: str) -> list[SourceFile]:
    sources = []
    for file in files.used:
        is_dim = layout == "dim" and file.kind is ghmfc.TEXTS  # of the same kind as GHMFC's
        sources.append(replace(file.source(), source="season1blue/DIM") if is_dim else file.source())
    return sources


def _choose(dataset: str, files: Files) -> tuple[str, list[str]]:
    """The one layout that fits."""
    fitting = [name for name, kinds in _TEXTS.items() if any(files.of(kind) for kind in kinds)]
    if dataset not in DATASETS:
        fitting = [name for name in fitting if name == "jsonl"]
    if dataset == "richpediamel" and fitting == ["melbench", "ghmfc"]:
        return "melbench", ["MELBench's and GHMFC's Richpedia are there, with other sentences; MELBench's was taken "
                            "(layout ghmfc takes the other)."]  # fmt: skip
    if len(fitting) != 1:
        what = f"Layouts {' and '.join(fitting)} fit" if fitting else "No layout fits"
        possible = ", ".join(fitting or (_READERS if dataset in DATASETS else ["jsonl"]))
        raise DIMError(
            f"{what} {dataset}: give its files with --raw, or one of {possible} as --layout. {files.describe()}"
        )
    return fitting[0], []


def _beside(files: Files) -> list[str]:
    """What was found and not read."""
    notes = []
    used = {file.path for file in files.used}
    others = [*(file.path.name for file in files.files if file.path not in used), *(path.name for path in files.others)]
    if others:
        notes.append(f"Not read, since they are not needed or of another dataset or layout: {some(others)}.")
    if files.unknown:
        rows = [f"{row.file}, key {row.key!r} ({row.reason})" for row in files.unknown]
        notes.append(f"Not read, since no reader knows them: {some(rows)}.")
    return notes


def _without_entity(draft: Draft) -> list[str]:
    """Makes mentions NIL whose answer is not in the knowledge base, and counts NIL."""
    known = {entity.id for entity in draft.entities}
    answered = [mention for mention in draft.mentions if mention.entity_id]
    lost = [mention for mention in answered if mention.entity_id not in known]
    if 2 * len(lost) > len(answered):
        raise DIMError(
            f"The knowledge base lacks the answers of {len(lost)} of {len(answered)} mentions (the first: "
            f"{lost[0].entity_id!r}): it is another release's. Give its own files with --raw."
        )
    notes = []
    if len(answered) < len(draft.mentions):
        notes.append(f"Mentions that are NIL in the release: {len(draft.mentions) - len(answered)}.")
    if lost:
        answers = list(dict.fromkeys(mention.entity_id for mention in lost))
        notes.append(f"Mentions made NIL, since their answers have no entity: {len(lost)} ({some(answers)}).")
    for mention in lost:
        mention.entity_id = ""
    return notes


def _new_ids(draft: Draft, seed: int) -> list[str]:
    """Numbers the pictures, and the mentions, too, if an id of theirs tells the answer (but for a user's own)."""
    pictures = _numbered("p", (mention.image_id for mention in draft.mentions if mention.image_id), seed)
    for mention in draft.mentions:
        mention.image_id = pictures.get(mention.image_id, "")
    telling = [mention.id for mention in draft.mentions if mention.entity_id in re.findall(r"\w+", mention.id)]
    if draft.has_numbered_rows or not telling:
        return []
    if draft.label == "jsonl":
        return [f"Ids of mentions that hold the id of their answer: {len(telling)} ({some(telling)}). Rename them."]
    ids = _numbered("m", (mention.id for mention in draft.mentions), seed)
    for mention in draft.mentions:
        mention.id = ids[mention.id]
    draft.mentions.sort(key=lambda mention: mention.id)
    return [f"Ids of the release told the answer; mentions and pictures have new ones, in random order (seed {seed})."]


def _numbered(letter: str, names: Iterable[str], seed: int) -> dict[str, str]:
    order = seeded_order(names, seed)
    width = len(str(len(order)))
    return {name: f"{letter}{number:0{width}}" for number, name in enumerate(order, 1)}


def _locate(mentions: Sequence[Mention]) -> Counter[str]:
    """Sets the offsets of mentions that have none, sentence by sentence, and counts the rules."""
    sentences: defaultdict[tuple[str, str], list[Mention]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for mention in mentions:
        if mention.start >= 0:
            counts["given"] += 1
        else:
            sentences[mention.sentence, mention.image_id].append(mention)
    for (sentence, _), found in sentences.items():
        for mention, (start, end, rule) in zip(found, find_spans(sentence, [m.mention for m in found]), strict=True):
            mention.start, mention.end = start, end
            counts[rule] += 1
    return counts


__all__ = ["LAYOUTS", "read_release"]
