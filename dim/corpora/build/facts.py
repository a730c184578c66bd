"""Facts of a build for its card: counts, leaks, recall, sources."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dim.common.parquet import Written
from dim.corpora.build.corpus import Corpus
from dim.corpora.build.embed import MissingPicture
from dim.corpora.build.name_candidates import RECALLS, recall
from dim.corpora.build.shards import Shard
from dim.corpora.release import Mention

Tables = Mapping[str, Mapping[str, Sequence[Shard]]]  # config -> split -> shards


def written(tables: Tables) -> list[Written]:
    """Lists sizes and checksums of all Parquet files.

    Args:
        tables: The shards.

    Returns:
        One entry per file.
    """
    return [shard.written for splits in tables.values() for shards in splits.values() for shard in shards]


def missing_pictures(tables: Tables) -> list[MissingPicture]:
    """Lists the pictures that rows lack, each once.

    Args:
        tables: The shards.

    Returns:
        Their names, with the reasons.
    """
    entries = [one for splits in tables.values() for shards in splits.values() for s in shards for one in s.missing]
    return list(dict.fromkeys(entries))


def recalls(corpus: Corpus) -> dict[str, dict[int, float]]:
    """Computes the recall of the candidates.

    Args:
        corpus: The content of the dataset.

    Returns:
        The result of [`dim.corpora.build.name_candidates.recall`] for each split that has answers.
    """
    if not corpus.release.entities:
        return {}
    found = {split: recall(mentions, corpus.candidates) for split, mentions in corpus.mentions.items()}
    return {split: shares for split, shares in found.items() if shares}


def build_facts(corpus: Corpus, tables: Tables, options: Mapping[str, str]) -> str:
    """Writes the section of the card on a build.

    Args:
        corpus: The content of the dataset.
        tables: The shards.
        options: Options of the build, as text by name.

    Returns:
        Markdown.
    """
    release = corpus.release
    parts = [_table(("option", "value"), options.items())]
    if corpus.mentions:
        parts += [_mention_counts(corpus, tables), "Checksums of the ids of the mentions, one per line, in order:"]
        parts.append(
            _table(("split", "sha256"), [(split, ids_checksum(rows)) for split, rows in corpus.mentions.items()])
        )
        parts.append(_table(("how offsets were found", "mentions"), release.offsets.most_common()))
    if release.entities:
        described = sum(bool(entity.description or entity.id in corpus.descriptions) for entity in release.entities)
        text = f"The knowledge base has {len(release.entities):,} entities, {described:,} of them with a description."
        if corpus.descriptions:
            text += (
                f" A language model wrote {len(corpus.descriptions):,} of the descriptions;"
                f" {len(release.entities) - len(corpus.descriptions):,} entities keep their own."
            )
        parts.append(text)
    if recalls(corpus):
        parts.append("Recall of the candidates, in percent of the mentions that have an answer:")
        cells = [(split, *(f"{found[n]:.2f}" for n in RECALLS)) for split, found in recalls(corpus).items()]
        parts.append(_table(("split", *(f"recall@{count}" for count in RECALLS)), cells))
    parts.append(_counted("Raw rows left out (`rejected.jsonl`)", [row.reason for row in release.rejected]))
    if corpus.pictures:
        missing = [picture.reason for picture in missing_pictures(tables)]
        parts.append(_counted("Pictures missing (`missing_pictures.jsonl`)", missing))
    if release.notes:
        parts.append("\n".join(f"- {_plain(note)}" for note in release.notes))
    columns = ("raw file", "what", "source", "licence", "sha256")
    parts.append(_table(columns, [(f.name, f.kind, f.source, f.licence or "none", f.sha256) for f in release.sources]))
    return "\n\n".join(filter(None, parts)) + "\n"


def _mention_counts(corpus: Corpus, tables: Tables) -> str:
    names = {entity.id: entity.name for entity in corpus.release.entities}
    train = corpus.mentions.get("train", [])
    sentences, golds = {m.sentence for m in train}, {m.entity_id for m in train} - {""}
    missing = {picture.picture for picture in missing_pictures(tables)}
    rows = []
    for split, mentions in corpus.mentions.items():
        seen = [sum(m.sentence in sentences for m in mentions), sum(m.entity_id in golds for m in mentions)]
        pictures = {m.image_id for m in mentions if m.image_id and corpus.pictures and m.image_id not in missing}
        counts = [len(mentions), len({m.sentence for m in mentions}), len(pictures)]
        counts += [sum(not m.entity_id for m in mentions), sum(names.get(m.entity_id) == m.mention for m in mentions)]
        rows.append((split, *counts, *(["", ""] if split == "train" else seen)))
    head = ["split", "mentions", "different sentences", "pictures", "NIL", "equal to the name"]
    head += ["whose sentence is in train", "whose answer is in train"]
    return _table(head, rows)


def ids_checksum(mentions: Sequence[Mention]) -> str:
    """Computes the sha256 of the ids of mentions, one per line.

    Args:
        mentions: The mentions of a split, in order.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256("".join(f"{mention.id}\n" for mention in mentions).encode()).hexdigest()


def _counted(title: str, reasons: Sequence[str]) -> str:
    if not reasons:
        return f"{title}: none."
    return f"{title}:\n\n" + _table(("reason", "count"), Counter(reasons).most_common())


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [[f"{cell:,}" if isinstance(cell, int) else _plain(str(cell)) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if cells else ""


def _plain(text: str) -> str:
    """Text of a release in one line, with the characters escaped that end a cell of a table or begin HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
