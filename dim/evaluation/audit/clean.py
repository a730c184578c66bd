"""Copy of a dataset without leaks between its splits; later splits stay as published, earlier ones lose mentions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from dim.common.cards import card_text, read_card
from dim.common.files import finish_folder, scratch_folder, write_text
from dim.common.parquet import write_parquet
from dim.common.text import sentence_key
from dim.corpora.build.card import feature_list
from dim.corpora.loading import load_candidates, load_entities, load_splits, splits_of
from dim.corpora.schema import CANDIDATES
from dim.errors import DIMError
from dim.evaluation.audit.near_duplicates import Pictures, near_duplicates, read_pictures


def write_clean(dataset: str, folder: Path, progress: bool = False) -> dict[str, dict[str, int]]:
    """Writes a copy of a dataset whose splits share no sentence and no picture.

    A mention is dropped if its sentence (compared by words) or its picture (or a near-duplicate) also occurs in a later
    split, in the order train, validation, test. Splits may share entities.

    Args:
        dataset: Folder or Hub name.
        folder: The new folder; must not exist.
        progress: Whether to show progress bars.

    Returns:
        Number of mentions `kept` and `dropped`, by split.

    Raises:
        DIMError: If there is no such dataset, `folder` exists, or no mention of a split would remain.
    """
    if folder.exists():
        raise DIMError(f"{folder} exists: give a new folder for the clean dataset.")
    entities = load_entities(dataset)
    splits, listed = load_splits(dataset), splits_of(dataset, "candidates")
    kept, counts = _kept(splits, progress)
    for split, rows in kept.items():
        if not rows:
            raise DIMError(f"{dataset}: no mention of the split {split!r} would remain.")
    temporary = folder.with_name(f".{folder.name}.building")
    tables: dict[str, Any] = {}
    with scratch_folder(temporary, folder):
        for split, rows in kept.items():
            mentions = splits[split].select(rows)
            _write(temporary, tables, "mentions", split, mentions, mentions.features)
            if split not in listed:
                continue
            candidates = load_candidates(dataset, split)
            names = mentions["id"][:]
            columns = datasets.Features({name: CANDIDATES[name] for name in ("mention_id", "entity_ids")})
            lists = [{"mention_id": name, "entity_ids": candidates[name]} for name in names if name in candidates]
            _write(temporary, tables, "candidates", split, lists, columns)
        _write(temporary, tables, "entities", "kb", entities, entities.features)
        write_text(temporary / "README.md", _card(dataset, tables, counts))
        finish_folder(temporary, folder)
    return counts


def _kept(splits: dict[str, Any], progress: bool) -> tuple[dict[str, list[int]], dict[str, dict[str, int]]]:
    """Indices of the mentions to keep, and the counts, by split."""
    later, sentences = Pictures(), set[str]()
    kept: dict[str, list[int]] = {}
    for split in reversed(splits):
        rows = splits[split]
        names, keys = rows["id"][:], [sentence_key(text) for text in rows["sentence"][:]]
        pictures = read_pictures(rows, split, progress)
        shared = near_duplicates(pictures, later) | set(later.content.values())
        kept[split] = [
            row for row, name in enumerate(names)
            if keys[row] not in sentences and pictures.content.get(name) not in shared
        ]  # fmt: skip
        sentences |= {keys[row] for row in kept[split]} - {""}  # a picture alone has no sentence
        content = {names[row]: pictures.content[names[row]] for row in kept[split] if names[row] in pictures.content}
        later.content |= content
        later.thumbnails |= {one: pictures.thumbnails[one] for one in content.values() if one in pictures.thumbnails}
    ordered = {split: kept[split] for split in splits}
    return ordered, {
        split: {"kept": len(rows), "dropped": len(splits[split]) - len(rows)} for split, rows in ordered.items()
    }


def _write(folder: Path, tables: dict[str, Any], config: str, split: str, rows: Any, features: Any) -> None:
    name = f"{config}/{split}.parquet"
    (folder / config).mkdir(parents=True, exist_ok=True)
    written = write_parquet(folder / name, _embedded(rows), features)
    table = tables.setdefault(config, {"features": feature_list(features), "files": [], "splits": []})
    table["files"].append({"split": split, "path": name})
    table["splits"].append({"name": split, "num_bytes": written.num_bytes, "num_examples": written.rows})


def _embedded(rows: Any) -> Iterator[dict[str, Any]]:
    """Rows with the bytes of their pictures."""

    def embed(image: dict[str, Any] | None) -> dict[str, Any] | None:
        if image is None or image["bytes"] is not None:
            return image
        path = Path(image["path"])
        return {"bytes": path.read_bytes(), "path": path.name}

    for row in rows:
        if "image" in row:
            row["image"] = embed(row["image"])
        if "images" in row:
            row["images"] = [embed(image) for image in row["images"] or []]
        yield row


def _card(dataset: str, tables: dict[str, Any], counts: dict[str, dict[str, int]]) -> str:
    """The card of the dataset, if it is a folder with one, with the new files and the number of dropped mentions."""
    card = Path(dataset).expanduser() / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else f"---\n{{}}\n---\n\n# {dataset}\n"
    metadata, text = read_card(text, str(card))
    metadata["configs"] = [{"config_name": name, "data_files": table["files"]} for name, table in tables.items()]
    metadata["dataset_info"] = [
        {"config_name": name, "features": table["features"], "splits": table["splits"]}
        for name, table in tables.items()
    ]
    lines = [f"- {split}: {one['kept']:,} kept, {one['dropped']:,} dropped" for split, one in counts.items()]
    note = (
        "## Cleaned\n\nBy `dim audit --write-clean`: a mention was dropped if its sentence or its picture is also in a "
        "later split. The numbers and lists above are those of the original dataset.\n\n"
    )
    return card_text(metadata, f"{text.rstrip()}\n\n{note}" + "\n".join(lines) + "\n")
