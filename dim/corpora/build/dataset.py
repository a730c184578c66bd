"""`dim build`: from a raw release to a folder that `datasets.load_dataset` reads anywhere."""

import importlib.util
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import dim
from dim.common.assets import asset
from dim.common.files import sha256_of, sync, write_text
from dim.corpora.build.builder import MELBuilder
from dim.corpora.build.card import OWN, built_card
from dim.corpora.build.corpus import Corpus
from dim.corpora.build.facts import Tables, missing_pictures, recalls, written
from dim.corpora.build.shards import LEDGER, ShardFolder
from dim.corpora.schema import CONFIGS, FEATURES
from dim.errors import DIMError

NAMES = ("wikimel", "richpediamel", "wikidiverse", "wikimel_plus", "richpediamel_plus", "wikidiverse_plus")
MANIFEST = "manifest.json"
_MADE_BY = "dim build"
PUBLISHED = asset("datasets")


@dataclass(frozen=True, slots=True)
class Built:
    """A dataset that was built: its folder, its content, and its shards.

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
    """Builds a dataset.

    It grows in a hidden folder beside `out`, which takes that name when all is there; after a kill, the same call goes
    on there. The same input gives the same bytes.

    Args:
        name: One of `NAMES`, or any other for a user's own data, whose layout is then `jsonl`.
        raw: Folders that hold the release's files, together.
        out: The dataset's folder; an earlier build of the same dataset is replaced.
        layout: One of `dim.corpora.read.LAYOUTS`, or `auto`.
        images: Folders that hold the release's pictures; without any, no row has a picture.
        descriptions: JSONL of descriptions, see `dim.corpora.build.descriptions`; for plus versions.
        clean: Whether to drop mentions that leak between splits.
        progress: Whether to show progress bars.

    Returns:
        What was built.

    Raises:
        DIMError: If anything given is missing, does not fit, or would be overwritten.

    Example:
        Two files of your own, here of one row each, become a dataset:

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
    given = [*raw, *images, *([descriptions] if descriptions else [])]
    _check_out(out, name, given)
    options = {"layout": layout, "images": images, "clean": clean, "progress": progress}
    corpus = builder.read(raw, descriptions=descriptions, **options)
    building = out.parent / f".{out.name}.building"
    shards = ShardFolder(building, progress)
    tables = {
        config: {
            split: shards.write(config, split, corpus.rows(config, split), FEATURES[config])
            for split in corpus.splits(config)
        }
        for config in CONFIGS
    }
    told = {
        "dataset": name,
        "layout": corpus.release.layout,
        "pictures": "embedded" if images else "none given",
        "leaks between the splits": "dropped (`--clean`)" if clean else "kept as published",
        "built by": f"dim {dim.__version__}",
    }
    texts = {
        "README.md": built_card(card, corpus, tables, told),
        "rejected.jsonl": _json_lines(map(asdict, corpus.release.rejected)),
        "missing_pictures.jsonl": _json_lines(map(asdict, missing_pictures(tables))),
    }
    if script is not None:
        texts[f"script/{script.name}"] = script.read_text(encoding="utf-8")
        (building / "script").mkdir(exist_ok=True)
    for file, text in texts.items():
        write_text(building / file, text)
    checksums = {file: sha256_of(building / file) for file in texts}
    checksums |= {s.file: s.written.sha256 for splits in tables.values() for one in splits.values() for s in one}
    _finish(building, out, {"made_by": _MADE_BY, "dataset": name, "options": told, "files": checksums})
    return Built(out, corpus, tables)


def summary(built: Built) -> str:
    """What a build made of its input, in a few lines whose numbers add up.

    Args:
        built: The build.

    Returns:
        Lines of text.

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
        places in the sentences: verbatim 1
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
    if corpus.descriptions:
        kept = len(release.entities) - len(corpus.descriptions)
        lines.append(f"{len(corpus.descriptions):,} descriptions replaced, {kept:,} kept")
    if release.offsets:
        lines.append("places in the sentences: " + ", ".join(f"{r} {n:,}" for r, n in release.offsets.most_common()))
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
    """Card, script and builder of a dataset."""
    if name not in NAMES:
        if layout == "auto":
            raise DIMError(
                f"There is no dataset {name!r}; the published ones are {', '.join(NAMES)}. For data of your own, add "
                "--layout jsonl."
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise DIMError(f"{name!r} is no name for a dataset: use letters, digits, '_', '.' and '-'.")
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
    """Raises a `DIMError` if a build into `out` would remove what is no build of this dataset."""
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
    except (OSError, ValueError, LookupError, TypeError):  # none, or somebody else's
        built, strange = None, []
    if built is None:
        raise DIMError(f"{out} is there and is no dataset that dim built: choose another --out, or remove it.")
    if built != name:
        raise DIMError(f"{out} holds a build of {built}: choose another --out, or remove it.")
    if strange:
        raise DIMError(f"{out / strange[0]} is not of the build that would be replaced: move it first.")


def _finish(building: Path, out: Path, manifest: dict) -> None:
    """Removes what is left of earlier attempts, writes the manifest, and gives the folder its name."""
    for path in building.rglob("*"):
        if path.is_file() and str(path.relative_to(building)) not in manifest["files"] and path.name != LEDGER:
            path.unlink()
    write_text(building / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    (building / LEDGER).unlink()
    old = out.parent / f".{out.name}.replaced"
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    building.rename(out)
    sync(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _json_lines(rows: Iterable[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


__all__ = ["MANIFEST", "NAMES", "Built", "build", "summary"]
