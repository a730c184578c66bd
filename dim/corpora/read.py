"""Reads a raw release of any layout into mentions and entities."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dim.common.offsets import find_spans
from dim.corpora.readers.draft import Draft
from dim.corpora.readers.files import Files, recognise
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.registry import KINDS, LAYOUTS
from dim.corpora.readers.shape import some
from dim.corpora.release import Mention, Release, SourceFile
from dim.corpora.splits import seeded_order
from dim.errors import DIMError


def read_release(dataset: str, raw: Sequence[Path], layout: str = "auto", seed: int = 0) -> Release:
    """Reads a raw release.

    Args:
        dataset: `wikimel`, `richpediamel` or `wikidiverse`, also with `_plus` behind, or any name for a user's own
            data in layout `jsonl`.
        raw: Files, and folders that are searched for files; folders of pictures are not.
        layout: A name in [`dim.corpora.readers.registry.LAYOUTS`], or `auto` for the one whose texts are there. If the
            Richpedias of MELBench and GHMFC are both there, `auto` takes MELBench's and says so in the notes.
        seed: Seed of new ids, and of splits where the release has none.

    Returns:
        The release. `rows_in` is the number of its mentions plus that of the rejected ones.

    Raises:
        DIMError: If a path does not exist, no layout or more than one fits, a file that the layout needs is missing
            or is not valid JSON, no mention is left, or the knowledge base is another release's.
    """
    if layout not in ("auto", *LAYOUTS):
        raise DIMError(f"There is no layout {layout!r}; there are auto, {', '.join(LAYOUTS)}.")
    name = dataset.removesuffix("_plus")
    files = recognise(raw, name, KINDS)
    chosen, notes = _choose(name, files) if layout == "auto" else (LAYOUTS[layout], [])
    if not chosen.holds(name):
        has = ", ".join(chosen.datasets)
        raise DIMError(f"The layout {layout} has {has}, not {dataset!r}; data of your own has the layout jsonl.")
    draft = chosen.read(files, name, seed)
    found = layout if layout != "auto" else draft.label or chosen.names[0]
    if not draft.mentions:
        first = draft.rejected[0] if draft.rejected else None
        why = f"; the first: {first.file}, {first.key}: {first.reason}" if first else ""
        raise DIMError(f"No mention is left of {draft.rows_in}{why}.")
    notes += [*draft.notes, *_not_read(files)]
    if draft.blank_mentions:
        notes.append(
            f"Mentions that are blank in the release and got the name of their answer: {len(draft.blank_mentions)}."
        )
    about_nil, made_nil = _without_entity(draft)
    notes += about_nil
    notes += _new_ids(draft, chosen, seed)
    return Release(
        layout=found,
        mentions=draft.mentions,
        entities=draft.entities,
        rejected=[*draft.rejected, *files.unknown],
        rows_in=draft.rows_in,
        sources=_sources(files, chosen, found),
        offsets=_locate(draft.mentions),
        notes=notes,
        made_nil=made_nil,
    )


def _sources(files: Files, layout: Layout, name: str) -> list[SourceFile]:
    repository = layout.sources.get(name)
    return [
        replace(file.source(), source=repository) if repository and file.kind in layout.texts else file.source()
        for file in files.used
    ]


def _choose(dataset: str, files: Files) -> tuple[Layout, list[str]]:
    """The one layout that fits, and notes."""
    possible = {name: layout for name, layout in LAYOUTS.items() if layout.holds(dataset)}
    fitting = list(dict.fromkeys(one.names[0] for one in possible.values() if any(map(files.of, one.texts))))
    if dataset == "richpediamel" and fitting == ["melbench", "ghmfc"]:
        return LAYOUTS["melbench"], ["The Richpedias of MELBench and GHMFC are both there, with different sentences; "
                                     "MELBench's was read (layout ghmfc reads the other)."]  # fmt: skip
    if len(fitting) != 1:
        what = f"Layouts {' and '.join(fitting)} fit" if fitting else "No layout fits"
        raise DIMError(
            f"{what} {dataset}: give its files with --raw, or one of {', '.join(fitting or possible)} as --layout. "
            f"{files.describe()}"
        )
    return LAYOUTS[fitting[0]], []


def _not_read(files: Files) -> list[str]:
    """Notes on the files that were found and not read."""
    notes = []
    used = {file.path for file in files.used}
    others = [*(file.path.name for file in files.files if file.path not in used), *(path.name for path in files.others)]
    if others:
        notes.append(f"Not read, because they are not needed or belong to another dataset or layout: {some(others)}.")
    if files.unknown:
        rows = [f"{row.file}, key {row.key!r} ({row.reason})" for row in files.unknown]
        notes.append(f"Not read, because no reader knows them: {some(rows)}.")
    return notes


def _without_entity(draft: Draft) -> tuple[list[str], list[str]]:
    """Makes mentions NIL whose answer is not in the knowledge base; returns notes on NIL, and those on lost answers."""
    known = {entity.id for entity in draft.entities}
    answered = [mention for mention in draft.mentions if mention.entity_id]
    lost = [mention.entity_id for mention in answered if mention.entity_id not in known]
    rejected = [name for name in lost if name in draft.rejected_entities]
    if 2 * len(lost) > len(answered):
        what = f"The knowledge base lacks the answers of {len(lost)} of {len(answered)} mentions"
        if rejected:
            raise DIMError(f"{what}; the entities of {len(rejected)} were rejected: {_rejections(draft, rejected)}.")
        raise DIMError(f"{what} (the first: {lost[0]!r}): it is another release's. Give its own files with --raw.")
    notes = []
    if len(answered) < len(draft.mentions):
        notes.append(f"Mentions that are NIL in the release: {len(draft.mentions) - len(answered)}.")
    made_nil = []
    absent = [name for name in lost if name not in draft.rejected_entities]
    if absent:
        names = some(list(dict.fromkeys(absent)))
        made_nil.append(f"Mentions made NIL, because their answers have no entity: {len(absent)} ({names}).")
    if rejected:
        rows = _rejections(draft, rejected)
        made_nil.append(f"Mentions made NIL, because their entities were rejected: {len(rejected)} ({rows}).")
    for mention in answered:
        mention.entity_id = mention.entity_id if mention.entity_id in known else ""
    return [*notes, *made_nil], made_nil


def _rejections(draft: Draft, names: Iterable[str]) -> str:
    """The rejected rows of entities, with the reasons."""
    rows = {name: draft.rejected_entities[name] for name in names}
    return some([f"{name} ({row.file}, {row.key}: {row.reason})" for name, row in rows.items()])


def _new_ids(draft: Draft, layout: Layout, seed: int) -> list[str]:
    """Numbers the pictures, and the mentions, too, if one of their ids reveals the answer. A user's own ids stay."""
    pictures = _numbered("p", (mention.image_id for mention in draft.mentions if mention.image_id), seed)
    for mention in draft.mentions:
        mention.image_id = pictures.get(mention.image_id, "")
    telling = [mention.id for mention in draft.mentions if mention.entity_id in re.findall(r"\w+", mention.id)]
    if draft.has_numbered_rows or not telling:
        return []
    if not layout.datasets:
        return [f"Ids of mentions that hold the id of their answer: {len(telling)} ({some(telling)}). Rename them."]
    ids = _numbered("m", (mention.id for mention in draft.mentions), seed)
    for mention in draft.mentions:
        mention.id = ids[mention.id]
    draft.mentions.sort(key=lambda mention: mention.id)
    return [
        f"Ids of the release revealed the answer; mentions and pictures have new ones, in random order (seed {seed})."
    ]


def _numbered(letter: str, names: Iterable[str], seed: int) -> dict[str, str]:
    order = seeded_order(names, seed)
    width = len(str(len(order)))
    return {name: f"{letter}{number:0{width}}" for number, name in enumerate(order, 1)}


def _locate(mentions: Sequence[Mention]) -> Counter[str]:
    """Sets the offsets of mentions that have none, sentence by sentence; counts mentions by rule."""
    sentences: defaultdict[tuple[str, str], list[Mention]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for mention in mentions:
        if mention.start >= 0:
            counts["given"] += 1
        elif not mention.mention:
            counts["a picture alone"] += 1
        else:
            sentences[mention.sentence, mention.image_id].append(mention)
    for (sentence, _), found in sentences.items():
        for mention, (start, end, rule) in zip(found, find_spans(sentence, [m.mention for m in found]), strict=True):
            mention.start, mention.end = start, end
            counts[rule] += 1
    return counts
