"""A captioned dataset: the same rows and files, with the three columns of the expert filled in."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from dim.common.files import finish_folder, scratch_folder, sha256_of, write_json, write_text
from dim.common.jsonl import write_jsonl
from dim.common.parquet import Written, write_parquet
from dim.common.pictures import load_picture
from dim.corpora.loading import verify_dataset
from dim.corpora.schema import MANIFEST
from dim.errors import DIMError, PictureError
from dim.experts.cache import AnswerCache
from dim.experts.captioned_card import captioned_card
from dim.experts.captioning import CaptionRequest, picture_content

UNANSWERED = "unanswered.jsonl"
_MADE_BY = "dim caption"
_COLUMNS = ("expert_answer", "expert_model", "expert_prompt")
_ROWS = 16


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A mention whose picture has no caption; `kind` says why in a word or two, `reason` in a line.

    A picture that does not load is removed from the row.

    Example:
        >>> one = Unanswered("m1", "cat.jpg", "missing", "picture 'cat.jpg': there is no such file")
        >>> one.mention, one.kind
        ('m1', 'missing')
    """

    mention: str
    image: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset on disk: its folder, and the Parquet files of its mentions by split.

    Example:
        >>> source = find_dataset("datasets/namesakes")
        >>> [path.relative_to(source.folder).as_posix() for path in source.files["test"]]
        ['mentions/test-00000-of-00001.parquet']
    """

    folder: Path
    files: dict[str, list[Path]]


def find_dataset(dataset: str) -> Source:
    """Finds the files of a dataset's mentions.

    Args:
        dataset: Folder, or Hub name of a dataset, all of which is then downloaded.

    Returns:
        The folder, and the files by split.

    Raises:
        DIMError: If there is no such dataset, a file differs from the manifest of the command that wrote it, or its
            config `mentions` is not in Parquet files with the columns `id`, `mention` and `image`.

    Example:
        >>> list(find_dataset("datasets/namesakes").files)
        ['train', 'validation', 'test']
    """
    folder = Path(dataset).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(dataset, repo_type="dataset"))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise DIMError(f"There is no dataset {dataset!r}, neither as a folder nor on the Hub.") from error
    verify_dataset(folder)
    try:
        found = datasets.load_dataset_builder(str(folder.resolve()), "mentions").config.data_files or {}
    except (ValueError, FileNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
        raise DIMError(f"{dataset} has no config 'mentions': {error}") from error
    files = {str(split): [Path(name) for name in names] for split, names in found.items()}
    for path in (path for paths in files.values() for path in paths):
        if path.suffix != ".parquet":
            raise DIMError(f"{path} is not a Parquet file: build the dataset by `dim build` first.")
        missing = {"id", "mention", "image"} - set(pq.read_schema(path).names)
        if missing:
            raise DIMError(f"{path} lacks the column {min(missing)!r}.")
    if not files:
        raise DIMError(f"{dataset} has no files for its config 'mentions'.")
    return Source(folder.resolve(), files)


def check_out(source: Source, out: Path) -> None:
    """Raises a `DIMError` if writing to `out` would remove anything but the dataset of an earlier run."""
    if out.resolve() == source.folder or out.resolve().is_relative_to(source.folder):
        raise DIMError(f"{out} lies in the dataset itself: choose another --out.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        made_by = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["made_by"]
    except (OSError, ValueError, LookupError, TypeError):  # none, or one of another program
        made_by = None
    if made_by != _MADE_BY:
        raise DIMError(f"{out} exists and was not written by dim caption: choose another --out, or remove it.")


def write_captioned(
    source: Source, out: Path, request: CaptionRequest, cache: AnswerCache
) -> tuple[int, list[Unanswered]]:
    """Writes a copy of the dataset with the captions of the cache; the folder `out` is complete or absent.

    Args:
        source: The dataset.
        out: The new folder; an earlier one of the same command is replaced.
        request: What was asked.
        cache: The captions.

    Returns:
        How many mentions got a caption, and those with a picture that got none.

    Example:
        A dataset of one mention, and an expert of your own:

        >>> from PIL import Image
        >>> from dim.corpora.build.dataset import build
        >>> from dim.experts.captioning import ask_expert
        >>> raw = Path("raw")
        >>> raw.mkdir()
        >>> Image.new("RGB", (40, 30), "red").save(raw / "wall.png")
        >>> mention = {"id": "m1", "sentence": "A red wall.", "mention": "wall", "split": "test", "entity_id": "k1"}
        >>> _ = (raw / "mentions.jsonl").write_text(json.dumps({**mention, "image": "wall.png"}))
        >>> _ = (raw / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "wall"}))
        >>> built = build("walls", [raw], Path("walls"), layout="jsonl", images=[raw])
        >>> class Sizes:
        ...     identity = "sizes@1"
        ...
        ...     def answer(self, images, prompts, batch_size=8, max_new_tokens=20):
        ...         return [f"{image.width} x {image.height}" for image in images]
        >>> source, cache = find_dataset("walls"), AnswerCache(Path("answers.sqlite"))
        >>> request = CaptionRequest(Sizes.identity, "How large is it?")
        >>> ask_expert(source.files["test"], Sizes(), request, cache)  # number of pictures
        1
        >>> write_captioned(source, Path("captioned"), request, cache)
        (1, [])
        >>> datasets.load_dataset("captioned", "mentions", split="test")["expert_answer"][:]
        ['40 x 30']
    """
    check_out(source, out)
    out = out.resolve()
    work = out.parent / f".{out.name}.captioning"
    filling = _Filling(request, cache)
    features = _features(source)
    with scratch_folder(work, out):
        _copy_others(source, work)
        written = {split: _write_split(work, split, paths, filling, features) for split, paths in source.files.items()}
        write_jsonl(work / UNANSWERED, map(asdict, filling.unanswered))
        card = (source.folder / "README.md").read_text(encoding="utf-8")
        write_text(work / "README.md", captioned_card(card, written, features, _facts(request, filling)))
        _write_manifest(work, source, request)
        finish_folder(work, out)
    return filling.answered, filling.unanswered


def _copy_others(source: Source, work: Path) -> None:
    """Copies every file but the mentions, the card, the manifest and hidden ones."""
    old = {path for paths in source.files.values() for path in paths}
    for path in sorted(source.folder.rglob("*")):
        name = path.relative_to(source.folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and path.absolute() not in old and name.name not in ("README.md", MANIFEST):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, work / name)


def _write_split(
    work: Path, split: str, paths: list[Path], filling: "_Filling", features: datasets.Features
) -> list[tuple[str, Written]]:
    """Writes a file of captioned mentions for each given one; returns their names and sizes."""
    (work / "mentions").mkdir(exist_ok=True)
    written = []
    for index, path in enumerate(paths):
        unnamed = work / "mentions" / f"{split}-{index:05d}-of-{len(paths):05d}.parquet"
        made = write_parquet(unnamed, filling.rows(path), features)
        # `datasets` caches files by name, so the name must follow the content.
        named = unnamed.rename(unnamed.with_stem(f"{unnamed.stem}-{made.sha256[:16]}"))
        written.append((f"mentions/{named.name}", made))
    return written


def _features(source: Source) -> datasets.Features:
    found = datasets.load_dataset_builder(str(source.folder), "mentions").info.features
    if found is None:
        first = next(path for paths in source.files.values() for path in paths)
        found = datasets.Features.from_arrow_schema(pq.read_schema(first))
    return datasets.Features({**found, **dict.fromkeys(_COLUMNS, datasets.Value("string"))})


def _facts(request: CaptionRequest, filling: "_Filling") -> str:
    prompt = json.dumps(request.prompt, ensure_ascii=False)
    return (
        f"`{request.identity}` was asked {prompt} about each picture (at most {request.max_new_tokens} new tokens): "
        f"{filling.answered:,} mentions have its answer in `expert_answer`, {len(filling.unanswered):,} with a picture "
        f"have none ([{UNANSWERED}]({UNANSWERED}))."
    )


def _write_manifest(work: Path, source: Source, request: CaptionRequest) -> None:
    paths = sorted(path for path in work.rglob("*") if path.is_file())
    manifest = {
        "made_by": _MADE_BY,
        "dataset": source.folder.name,
        "options": {"expert": request.identity, "prompt": request.prompt, "max_new_tokens": request.max_new_tokens},
        "files": {str(path.relative_to(work)): sha256_of(path) for path in paths},
    }
    write_json(work / MANIFEST, manifest)


class _Filling:
    """Rows with their captions, and the count of those that got one."""

    def __init__(self, request: CaptionRequest, cache: AnswerCache) -> None:
        self.request, self.cache = request, cache
        self.answered = 0
        self.unanswered: list[Unanswered] = []

    def rows(self, path: Path) -> Iterator[dict[str, Any]]:
        for part in pq.ParquetFile(path).iter_batches(batch_size=_ROWS):
            for row in part.to_pylist():
                yield {**row, **dict.fromkeys(_COLUMNS, ""), **self._filled(row)}

    def _filled(self, row: dict[str, Any]) -> dict[str, Any]:
        cell = row["image"]
        if cell is None:
            return {}
        try:
            content = picture_content(cell)
            key = self.request.key(content, row["mention"])
            caption = self.cache.get(key)
            why = self.cache.unanswered(key) if caption is None else None
            if caption is None and why is None:  # then the picture did not load
                load_picture({**cell, "bytes": content}, max_pixels=self.request.max_pixels)
                raise DIMError(f"the picture of mention {row['id']!r} has no caption yet")
        except PictureError as error:
            self.unanswered.append(Unanswered(row["id"], str(cell["path"] or ""), error.reason, str(error)))
            return {"image": None}
        image = {"bytes": content, "path": Path(cell["path"] or "").name or None}
        if not caption:
            kind, reason = (why.kind, why.reason) if why else ("no answer", "the expert said nothing")
            self.unanswered.append(Unanswered(row["id"], str(cell["path"] or ""), kind, reason))
            return {"image": image}
        self.answered += 1
        prompt = self.request.about(row["mention"])
        return {"image": image, **dict(zip(_COLUMNS, (caption, self.request.identity, prompt), strict=True))}
