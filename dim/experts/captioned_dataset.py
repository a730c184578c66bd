"""A dataset with an expert's answers: the same rows and files, and three columns filled in."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from dim.common.files import sha256_of, sync, write_text
from dim.common.parquet import Written, write_parquet
from dim.common.pictures import PictureError, load_picture
from dim.corpora.build.card import feature_list, read_card
from dim.errors import DIMError
from dim.experts.cache import AnswerCache
from dim.experts.captioning import Question, picture_content

UNANSWERED = "unanswered.jsonl"
_MANIFEST, _MADE_BY = "manifest.json", "dim caption"
_COLUMNS = ("expert_answer", "expert_model", "expert_prompt")
_HEADING = "\n## The expert's answers\n"
_ROWS = 16


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A mention with a picture but without an answer, and why: in a word or two, and in a line. A picture that does not
    load is taken out of the row.

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
        dataset: Folder, or Hub name of a dataset, which is then downloaded as a whole.

    Returns:
        Where they are.

    Raises:
        DIMError: If there is no such dataset, or its config `mentions` is not made of Parquet files with the columns
            `id`, `mention` and `image`.

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
    try:
        found = datasets.load_dataset_builder(str(folder.resolve()), "mentions").config.data_files or {}
    except (ValueError, FileNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
        raise DIMError(f"{dataset} has no config 'mentions': {error}") from error
    files = {str(split): [Path(name) for name in names] for split, names in found.items()}
    for path in (path for paths in files.values() for path in paths):
        if path.suffix != ".parquet":
            raise DIMError(f"{path} is no Parquet file: build the dataset by `dim build` first.")
        missing = {"id", "mention", "image"} - set(pq.read_schema(path).names)
        if missing:
            raise DIMError(f"{path} lacks the column {min(missing)!r}.")
    if not files:
        raise DIMError(f"{dataset} has no files for its config 'mentions'.")
    return Source(folder.resolve(), files)


def check_out(source: Source, out: Path) -> None:
    """Raises a `DIMError` if writing to `out` would remove something else than an earlier run's dataset."""
    if out.resolve() == source.folder or out.resolve().is_relative_to(source.folder):
        raise DIMError(f"{out} lies in the dataset itself: choose another --out.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        made_by = json.loads((out / _MANIFEST).read_text(encoding="utf-8"))["made_by"]
    except (OSError, ValueError, LookupError, TypeError):  # none, or somebody else's
        made_by = None
    if made_by != _MADE_BY:
        raise DIMError(f"{out} is there and was not written by dim caption: choose another --out, or remove it.")


def write_captioned(source: Source, out: Path, question: Question, cache: AnswerCache) -> tuple[int, list[Unanswered]]:
    """Writes the dataset anew with the answers of the cache; `out` gets its name when all is there.

    Args:
        source: The dataset.
        out: The new folder; an earlier one of the same command is replaced.
        question: What was asked.
        cache: The answers.

    Returns:
        How many mentions got an answer, and those with a picture that got none.

    Example:
        A dataset of one mention, and an expert of our own:

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
        >>> question = Question(Sizes.identity, "How large is it?")
        >>> ask_expert(source.files["test"], Sizes(), question, cache)  # pictures asked about
        1
        >>> write_captioned(source, Path("captioned"), question, cache)
        (1, [])
        >>> datasets.load_dataset("captioned", "mentions", split="test")["expert_answer"][:]
        ['40 x 30']
    """
    check_out(source, out)
    out = out.resolve()
    work = out.parent / f".{out.name}.captioning"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    old = {path for paths in source.files.values() for path in paths}
    for path in sorted(source.folder.rglob("*")):
        place = path.relative_to(source.folder)
        hidden = any(part.startswith(".") for part in place.parts)
        if path.is_file() and not hidden and path.absolute() not in old and place.name not in ("README.md", _MANIFEST):
            (work / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, work / place)
    filling = _Filling(question, cache)
    features = _features(source)
    written: dict[str, list[tuple[str, Written]]] = {}
    for split, paths in source.files.items():
        written[split] = []
        for number, path in enumerate(paths):
            unnamed = work / "mentions" / f"{split}-{number:05d}-of-{len(paths):05d}.parquet"
            unnamed.parent.mkdir(exist_ok=True)
            made = write_parquet(unnamed, filling.rows(path), features)
            named = unnamed.with_stem(f"{unnamed.stem}-{made.sha256[:16]}")  # caches look at names
            unnamed.rename(named)
            written[split].append((f"mentions/{named.name}", made))
    lines = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in filling.unanswered)
    write_text(work / UNANSWERED, lines)
    card = (source.folder / "README.md").read_text(encoding="utf-8")
    write_text(work / "README.md", _card(card, written, features, question, filling))
    options = {"expert": question.identity, "prompt": question.prompt, "max_new_tokens": question.max_new_tokens}
    paths = sorted(path for path in work.rglob("*") if path.is_file())
    manifest = {
        "made_by": _MADE_BY,
        "dataset": source.folder.name,
        "options": options,
        "files": {str(path.relative_to(work)): sha256_of(path) for path in paths},
    }
    for path in paths:
        sync(path)
    write_text(work / _MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    if out.exists():
        shutil.rmtree(out)
    work.rename(out)
    sync(out.parent)
    return filling.answered, filling.unanswered


class _Filling:
    """Rows with their answers, and the count of those that got one."""

    def __init__(self, question: Question, cache: AnswerCache) -> None:
        self.question, self.cache = question, cache
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
            answer = self.cache.get(self.question.key(content, row["mention"]))
            if answer is None:  # then it did not load
                load_picture({**cell, "bytes": content}, max_pixels=self.question.max_pixels)
                raise DIMError(f"the picture of mention {row['id']!r} was not asked about")
        except PictureError as error:
            self.unanswered.append(Unanswered(row["id"], str(cell["path"] or ""), error.reason, str(error)))
            return {"image": None}
        image = {"bytes": content, "path": Path(cell["path"] or "").name or None}
        if not answer:
            why = ("no answer", "the expert said nothing")
            self.unanswered.append(Unanswered(row["id"], str(cell["path"] or ""), *why))
            return {"image": image}
        self.answered += 1
        prompt = self.question.about(row["mention"])
        return {"image": image, **dict(zip(_COLUMNS, (answer, self.question.identity, prompt), strict=True))}


def _features(source: Source) -> datasets.Features:
    found = datasets.load_dataset_builder(str(source.folder), "mentions").info.features
    if found is None:
        first = next(path for paths in source.files.values() for path in paths)
        found = datasets.Features.from_arrow_schema(pq.read_schema(first))
    return datasets.Features({**found, **dict.fromkeys(_COLUMNS, datasets.Value("string"))})


def _card(
    card: str,
    written: dict[str, list[tuple[str, Written]]],
    features: datasets.Features,
    question: Question,
    filling: _Filling,
) -> str:
    front, body = read_card(card)
    for config in front["configs"]:
        if config["config_name"] == "mentions":
            config["data_files"] = [{"split": s, "path": [name for name, _ in made]} for s, made in written.items()]
    sizes = {split: sum(one.num_bytes for _, one in made) for split, made in written.items()}
    mentions = {
        "config_name": "mentions",
        "features": feature_list(features),  # the Parquet files carry none
        "splits": [
            {"name": split, "num_bytes": sizes[split], "num_examples": sum(one.rows for _, one in made)}
            for split, made in written.items()
        ],
        "download_size": sum(one.size for made in written.values() for _, one in made),
        "dataset_size": sum(sizes.values()),
    }
    infos = front.get("dataset_info", [])
    others = [one for one in (infos if isinstance(infos, list) else [infos]) if one.get("config_name") != "mentions"]
    front["dataset_info"] = [mentions, *others]
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)
    prompt = json.dumps(question.prompt, ensure_ascii=False)
    told = (
        f"{_HEADING}\n`{question.identity}` was asked {prompt} about each picture "
        f"(at most {question.max_new_tokens} new tokens): {filling.answered:,} mentions have its answer in "
        f"`expert_answer`, {len(filling.unanswered):,} with a picture have none ([{UNANSWERED}]({UNANSWERED})).\n"
    )
    return f"---\n{header}---\n{body.split(_HEADING)[0].rstrip()}\n{told}"


__all__ = ["UNANSWERED", "Source", "Unanswered", "check_out", "find_dataset", "write_captioned"]
