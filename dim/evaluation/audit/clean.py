"""A dataset without what its splits share: the later split keeps it, as published, the earlier ones lose it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import yaml

from dim.common.cards import read_card
from dim.common.files import write_text
from dim.common.parquet import write_parquet
from dim.corpora.build.card import feature_list
from dim.corpora.loading import load_candidates, load_entities, load_splits, splits_of
from dim.corpora.schema import CANDIDATES
from dim.errors import DIMError
from dim.evaluation.audit.findings import sentence_key
from dim.evaluation.audit.near_duplicates import Pictures, alike, read_pictures


def write_clean(dataset: str, folder: Path, progress: bool = False) -> dict[str, dict[str, int]]:
    """Writes a copy of a dataset whose splits share no sentence and no picture.

    A mention goes if its sentence (by its words) or its picture (by content, or by its looks) is also in a later split:
    train loses to validation and test, validation to test. What two splits may well share, the entity, stays.

    Args:
        dataset: Folder or Hub name.
        folder: Where to; it must not exist.
        progress: Whether to show bars.

    Returns:
        Number of mentions `kept` and `dropped`, by split.

    Raises:
        DIMError: If there is no such dataset, `folder` exists, or a split would be left without mentions.
    """
    if folder.exists():
        raise DIMError(f"{folder} exists: give a new folder for the clean dataset.")
    entities = load_entities(dataset)
    splits, listed = load_splits(dataset), splits_of(dataset, "candidates")
    kept, counts = _kept(splits, progress)
    for split, rows in kept.items():
        if not rows:
            raise DIMError(f"{dataset}: nothing would be left of {split}.")
    temporary = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    tables: dict[str, Any] = {}
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
    temporary.rename(folder)
    return counts


def _kept(splits: dict[str, Any], progress: bool) -> tuple[dict[str, list[int]], dict[str, dict[str, int]]]:
    """Rows that stay, in the order of the splits, and how many do."""
    later, sentences = Pictures(), set[str]()
    kept: dict[str, list[int]] = {}
    for split in reversed(splits):
        rows = splits[split]
        names, keys = rows["id"][:], [sentence_key(text) for text in rows["sentence"][:]]
        pictures = read_pictures(rows, split, progress)
        held = alike(pictures, later) | set(later.content.values())
        kept[split] = [
            row for row, name in enumerate(names)
            if keys[row] not in sentences and pictures.content.get(name) not in held
        ]  # fmt: skip
        sentences |= {keys[row] for row in kept[split]}
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
    written = write_parquet(folder / name, _plain(rows), features)
    table = tables.setdefault(config, {"features": feature_list(features), "files": [], "splits": []})
    table["files"].append({"split": split, "path": name})
    table["splits"].append({"name": split, "num_bytes": written.num_bytes, "num_examples": written.rows})


def _plain(rows: Any) -> Iterator[Any]:
    """Rows whose pictures carry their bytes, wherever they lay."""

    def whole(image: Any) -> Any:
        if not isinstance(image, dict) or image.get("bytes") is not None:
            return image
        return {"bytes": Path(image["path"]).read_bytes(), "path": Path(image["path"]).name}

    for row in rows:
        made = dict(row)
        if "image" in made:
            made["image"] = whole(made["image"])
        if "images" in made:
            made["images"] = [whole(image) for image in made["images"] or []]
        yield made


def _card(dataset: str, tables: dict[str, Any], counts: dict[str, dict[str, int]]) -> str:
    """The card: that of the dataset where it is a folder with one, with the new files and what was dropped."""
    card = Path(dataset).expanduser() / "README.md"
    front, body = read_card(card.read_text(encoding="utf-8")) if card.is_file() else ({}, f"\n# {dataset}\n")
    front["configs"] = [{"config_name": name, "data_files": table["files"]} for name, table in tables.items()]
    front["dataset_info"] = [
        {"config_name": name, "features": table["features"], "splits": table["splits"]}
        for name, table in tables.items()
    ]
    lines = [f"- {split}: {one['kept']:,} kept, {one['dropped']:,} dropped" for split, one in counts.items()]
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)
    what = (
        "## Cleaned\n\nBy `dim audit --write-clean`: a mention was dropped if its sentence or its picture is also in a "
        "later split. Counts and lists above are those of the dataset before.\n\n"
    )
    return f"---\n{header}---\n{body.rstrip()}\n\n{what}" + "\n".join(lines) + "\n"


__all__ = ["write_clean"]
