"""Builds a dataset folder, which `datasets.load_dataset` reads, from a raw release."""

import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dim
from dim.common.assets import asset
from dim.common.files import finish_folder, sha256_of, write_json, write_text
from dim.common.jsonl import write_jsonl
from dim.corpora.build.builder import MELBuilder
from dim.corpora.build.card import OWN, built_card
from dim.corpora.build.corpus import Corpus
from dim.corpora.build.facts import Tables, missing_pictures, recalls, written
from dim.corpora.build.shards import ShardFolder
from dim.corpora.readers.raw import DATASETS
from dim.corpora.readers.registry import LAYOUTS
from dim.corpora.schema import CONFIGS, FEATURES, MANIFEST
from dim.errors import DIMError

NAMES = (*DATASETS, *(f"{name}_plus" for name in DATASETS))
_MADE_BY = "dim build"
PUBLISHED = asset("datasets")


@dataclass(frozen=True, slots=True)
class Built:
    """A built dataset.

    Args:
        folder: Its folder.
        corpus: Its content.
        tables: Its shards by config and split.

    Example:
        >>> raw = Path("raw_texts")
        >>> raw.mkdir()
        >>> mention = {"id": "m1", "sentence": "Ada wrote it.", "mention": "Ada", "split": "test", "entity_id": "k1"}
        >>> _ = (raw / "mentions.jsonl").write_text(json.dumps(mention))
        >>> _ = (raw / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "Ada Lovelace"}))
        >>> built = build("texts", [raw], Path("texts"), layout="jsonl")
        >>> built.folder.name, len(built.corpus.release.mentions), len(built.tables["entities"]["kb"])  # one shard
        ('texts', 1, 1)
    """

    folder: Path
    corpus: Corpus
    tables: Tables


def build(
    name: str,
    raw: Sequence[Path],
    out: Path,
    *,
    layout: str = "auto",
    images: Sequence[Path] = (),
    descriptions: Path | None = None,
    clean: bool = False,
    progress: bool = False,
) -> Built:
    """Builds a dataset, complete or not at all.

    Files are written to a hidden folder beside `out`, which is renamed at the end; after a kill, the same call
    continues there. The same input gives the same bytes.

    Args:
        name: One of `NAMES`; `melart`; or any other for a user's own data, whose layout is then `jsonl`.
        raw: Folders of the release's files.
        out: The dataset's folder; an earlier build of the same dataset is replaced.
        layout: A name in [`dim.corpora.readers.registry.LAYOUTS`], or `auto`.
        images: Folders of the release's pictures; without any, no row has a picture.
        descriptions: JSON Lines of descriptions for a plus version, see [`dim.corpora.build.descriptions`].
        clean: Whether to drop mentions that leak between splits.
        progress: Whether to show progress bars.

    Returns:
        The dataset.

    Raises:
        DIMError: If an argument names something that is missing, does not fit, or would be overwritten.

    Example:
        A dataset from two files of your own, with one row each:

        >>> from dim.corpora.loading import load_mentions
        >>> raw = Path("raw")
        >>> raw.mkdir()
        >>> mention = {"id": "m1", "sentence": "Ada wrote it.", "mention": "Ada", "split": "test", "entity_id": "k1"}
        >>> _ = (raw / "mentions.jsonl").write_text(json.dumps(mention))
        >>> _ = (raw / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "Ada Lovelace"}))
        >>> built = build("notes", [raw], Path("notes"), layout="jsonl")
        >>> load_mentions("notes", "test")["sentence"][:]
        ['Ada wrote it.']
    """
    out = out.resolve()
    card, script, builder = _published(name, layout)
    _check_out(out, name, [*raw, *images, *([descriptions] if descriptions else [])])
    how = {"layout": layout, "images": images, "clean": clean, "progress": progress}
    corpus = builder.read(raw, descriptions=descriptions, **how)
    building = out.parent / f".{out.name}.building"
    tables = _write_tables(ShardFolder(building, progress), corpus)
    options = {
        "dataset": name,
        "layout": corpus.release.layout,
        "pictures": "embedded" if images else "none given",
        "leaks between the splits": "dropped (`--clean`)" if clean else "kept as published",
        "built by": f"dim {dim.__version__}",
    }
    write_text(building / "README.md", built_card(card, corpus, tables, options))
    write_jsonl(building / "rejected.jsonl", map(asdict, corpus.release.rejected))
    write_jsonl(building / "missing_pictures.jsonl", map(asdict, missing_pictures(tables)))
    others = ["README.md", "rejected.jsonl", "missing_pictures.jsonl"]
    if script is not None:
        (building / "script").mkdir(exist_ok=True)
        write_text(building / "script" / script.name, script.read_text(encoding="utf-8"))
        others.append(f"script/{script.name}")
    checksums = {file: sha256_of(building / file) for file in others}
    checksums |= {s.file: s.written.sha256 for splits in tables.values() for one in splits.values() for s in one}
    _finish(building, out, {"made_by": _MADE_BY, "dataset": name, "options": options, "files": checksums})
    return Built(out, corpus, tables)


def _write_tables(shards: ShardFolder, corpus: Corpus) -> Tables:
    return {
        config: {
            split: shards.write(config, split, corpus.rows(config, split), FEATURES[config])
            for split in corpus.splits(config)
        }
        for config in CONFIGS
    }


def summary(built: Built) -> str:
    """Summarises a build in a few lines.

    Args:
        built: The dataset.

    Returns:
        Lines of text, whose counts add up.

    Example:
        >>> raw = Path("raw_letters")
        >>> raw.mkdir()
        >>> mention = {"id": "m1", "sentence": "Ada wrote it.", "mention": "Ada", "split": "test", "entity_id": "k1"}
        >>> _ = (raw / "mentions.jsonl").write_text(json.dumps(mention))
        >>> _ = (raw / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "Ada Lovelace"}))
        >>> print(summary(build("letters", [raw], Path("letters"), layout="jsonl")))
        1 rows in = 1 mentions + 0 rejected (rejected.jsonl)
        1 mentions (test 1), 0 of them NIL
        1 entities, 0 rejected
        offsets by rule: verbatim 1
        candidates, test: recall@1 100.00 %, recall@10 100.00 %, recall@100 100.00 %
        no pictures: give their folders by --images
        ... bytes of Parquet in ...letters
    """
    corpus, release = built.corpus, built.corpus.release
    left_out = sum(row.kind == "mention" for row in release.rejected)
    splits = ", ".join(f"{split} {len(mentions):,}" for split, mentions in corpus.mentions.items())
    lines = [
        f"{release.rows_in:,} rows in = {len(release.mentions):,} mentions + {left_out:,} rejected (rejected.jsonl)",
        f"{len(release.mentions):,} mentions ({splits or 'none'}), "
        f"{sum(not mention.entity_id for mention in release.mentions):,} of them NIL",
        f"{len(release.entities):,} entities, {sum(row.kind == 'entity' for row in release.rejected):,} rejected",
    ]
    lines += release.made_nil
    if corpus.descriptions:
        kept = len(release.entities) - len(corpus.descriptions)
        lines.append(f"{len(corpus.descriptions):,} descriptions replaced, {kept:,} kept")
    if release.offsets:
        lines.append("offsets by rule: " + ", ".join(f"{r} {n:,}" for r, n in release.offsets.most_common()))
    for split, found in recalls(corpus).items():
        lines.append(f"candidates, {split}: " + ", ".join(f"recall@{n} {share:.2f} %" for n, share in found.items()))
    if corpus.pictures is None:
        lines.append("no pictures: give their folders by --images")
    else:
        named = len({m.image_id for m in release.mentions if m.image_id}) + sum(len(e.images) for e in release.entities)
        missing = len(missing_pictures(built.tables))
        lines.append(
            f"{named:,} pictures = {named - missing:,} embedded + {missing:,} missing (missing_pictures.jsonl)"
        )
    lines.append(f"{sum(s.size for s in written(built.tables)):,} bytes of Parquet in {built.folder}")
    return "\n".join(lines)


def _published(name: str, layout: str) -> tuple[str, Path | None, type[MELBuilder]]:
    """Card, script and builder of a dataset; a user's own has no script, and neither has MELArt."""
    if name not in NAMES:
        if layout == "auto" and not any(name in one.datasets for one in LAYOUTS.values()):
            raise DIMError(
                f"There is no dataset {name!r}; the published ones are {', '.join(NAMES)}. For data of your own, add "
                "--layout jsonl."
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise DIMError(f"{name!r} cannot be the name of a dataset: use letters, digits, '_', '.' and '-'.")
        return OWN.format(name=name), None, type("OwnBuilder", (MELBuilder,), {"release": name})
    script = PUBLISHED / name / "script" / f"{name}.py"
    if not script.is_file():
        raise DIMError(f"The script and the card of {name} are not installed: run this from a clone of the repository.")
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (builder,) = (thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == name)
    return (PUBLISHED / name / "README.md").read_text(encoding="utf-8"), script, builder


def _check_out(out: Path, name: str, given: Sequence[Path]) -> None:
    """Raises a `DIMError` if a build into `out` would remove anything but an earlier build of this dataset."""
    for path in given:
        if path.resolve().is_relative_to(out):
            raise DIMError(f"{path} lies in {out}, which the build replaces: choose another --out.")
        if out.is_relative_to(path.resolve()):
            raise DIMError(f"{out} lies in {path}, which is searched for raw files: choose another --out.")
    if out.exists() and not out.is_dir():
        raise DIMError(f"{out} is a file: choose another --out.")
    files = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    if not files:
        return
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        built = manifest["dataset"] if manifest["made_by"] == _MADE_BY else None
        strange = sorted(files - {MANIFEST, *manifest["files"]})
    except (OSError, ValueError, LookupError, TypeError):  # none, or one of another program
        built, strange = None, []
    if built is None:
        raise DIMError(f"{out} exists and was not built by dim: choose another --out, or remove it.")
    if built != name:
        raise DIMError(f"{out} holds a build of {built}: choose another --out, or remove it.")
    if strange:
        raise DIMError(f"{out / strange[0]} does not belong to the build that would be replaced: move it first.")


def _finish(building: Path, out: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest, removes what is left of earlier attempts, and gives the folder its name."""
    write_json(building / MANIFEST, manifest)
    for path in building.rglob("*"):
        if path.is_file() and str(path.relative_to(building)) not in {MANIFEST, *manifest["files"]}:
            path.unlink()
    finish_folder(building, out)
