"""Captions of the pictures of a dataset's mentions, by an expert, in batches, each picture once."""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from tqdm.auto import tqdm

from dim.common.pictures import MAX_PIXELS, load_picture
from dim.errors import DIMError, PictureError
from dim.experts.cache import AnswerCache
from dim.experts.expert import Expert, NoAnswer, UnansweredError

_WORKERS = 2  # threads that decode while the expert works
_ROWS = 16  # of a Parquet file in memory at a time


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """What an expert is asked about each picture.

    Args:
        identity: Identity of the expert.
        prompt: The question; `{mention}` in it becomes the mention.
        max_new_tokens: Bound of the caption's length.
        max_pixels: Larger pictures get no caption.

    Example:
        >>> request = CaptionRequest("blip2@1", "Where is {mention}?")
        >>> request.about("the gem"), request.key(b"content of a picture", "the gem")
        ('Where is the gem?', '030ec828a97c8aab5f6479a231c53b29')
    """

    identity: str
    prompt: str
    max_new_tokens: int = 20
    max_pixels: int = MAX_PIXELS

    def about(self, mention: str) -> str:
        """The prompt about a mention."""
        return self.prompt.replace("{mention}", mention)

    def key(self, content: bytes, mention: str) -> str:
        """Key of a cached caption: 32 hexadecimal digits of a hash of all that the caption depends on.

        Args:
            content: Content of the picture's file.
            mention: The mention.
        """
        picture = hashlib.sha256(content).hexdigest()
        parts = json.dumps([picture, self.identity, self.about(mention), self.max_new_tokens])
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


def picture_content(cell: Mapping[str, Any]) -> bytes:
    """Content of an undecoded picture's file.

    Args:
        cell: `{"bytes": ..., "path": ...}`, as `datasets` stores it.

    Returns:
        The bytes of the cell, or of the file at its path.

    Raises:
        PictureError: If there are no bytes and the path does not lead to a file.
    """
    if cell["bytes"] is not None:
        return cell["bytes"]
    path = Path(cell["path"] or "")
    if not path.is_file():
        load_picture(cell)  # raises an error that says why
    return path.read_bytes()


def ask_expert(
    files: Iterable[Path],
    expert: Expert,
    request: CaptionRequest,
    cache: AnswerCache,
    *,
    batch_size: int = 8,
    rank: int = 0,
    processes: int = 1,
    retry_unreadable: bool = False,
    progress: bool = False,
) -> int:
    """Captions each picture that has no caption in the cache; skips pictures that do not load.

    A picture that the expert has no answer about is noted in the cache with the reason. It is asked about again by the
    next run, unless something came that was paid for.

    Args:
        files: Parquet files with the columns `mention` and `image`.
        expert: The expert.
        request: What to ask.
        cache: Where the captions go, batch by batch.
        batch_size: Pictures asked about at once.
        rank: Index of this process; each captions its own share.
        processes: How many processes there are.
        retry_unreadable: Whether to ask again where an answer came that cannot be read.
        progress: Whether to show a progress bar.

    Returns:
        How many pictures this process asked about.

    Raises:
        DIMError: If the expert has no identity, refuses the prompt, or can answer about no other picture either; the
            captions that came are in the cache.
    """
    if not expert.identity:
        raise DIMError("The expert has no identity, which a cached caption needs: load it by from_pretrained.")
    files = list(files)
    own = {key for key, _, _ in _cells(files, request) if int(key[:8], 16) % processes == rank}
    needed = {key for key in own if cache.get(key) is None and _may_ask(cache.unanswered(key), retry_unreadable)}
    count = 0
    with tqdm(total=len(needed), desc=f"asked ({rank})", unit="image", disable=not progress) as bar:
        loaded = _loaded(_once(_cells(files, request), needed), request.max_pixels, batch_size)
        while batch := list(islice(loaded, batch_size)):
            sound = [(key, prompt, picture) for key, prompt, picture in batch if isinstance(picture, Image.Image)]
            if sound:
                keys, prompts, pictures = zip(*sound, strict=True)
                _ask(expert, request, cache, keys, pictures, prompts)
            count += len(sound)
            bar.update(len(batch))
    return count


def _may_ask(before: NoAnswer | None, retry_unreadable: bool) -> bool:
    return before is None or not before.is_paid or (retry_unreadable and before.kind == "unreadable")


def _ask(
    expert: Expert,
    request: CaptionRequest,
    cache: AnswerCache,
    keys: Sequence[str],
    pictures: Sequence[Image.Image],
    prompts: Sequence[str],
) -> None:
    """Asks about pictures and caches what comes, before an error that ends the run."""
    stop: UnansweredError | None = None
    answers: Sequence[str | NoAnswer]
    try:
        answers = expert.answer(pictures, prompts, len(keys), request.max_new_tokens)
    except UnansweredError as error:
        answers, stop = error.answers, error if error.ends_run else None
    pairs = list(zip(keys, answers, strict=True))
    cache.put((key, answer) for key, answer in pairs if isinstance(answer, str))
    cache.put_unanswered((key, answer) for key, answer in pairs if isinstance(answer, NoAnswer))
    if stop is not None:
        raise stop


def _cells(files: Iterable[Path], request: CaptionRequest) -> Iterator[tuple[str, str, bytes]]:
    """Key, prompt and content of every mention's picture."""
    for path in files:
        for rows in pq.ParquetFile(path).iter_batches(batch_size=_ROWS, columns=["mention", "image"]):
            for row in rows.to_pylist():
                if row["image"] is not None:
                    try:
                        content = picture_content(row["image"])
                    except PictureError:
                        continue  # reported when the dataset is written
                    yield request.key(content, row["mention"]), request.about(row["mention"]), content


def _once(cells: Iterable[tuple[str, str, bytes]], needed: set[str]) -> Iterator[tuple[str, str, bytes]]:
    left = set(needed)
    for key, prompt, content in cells:
        if key in left:
            left.remove(key)
            yield key, prompt, content


def _loaded(
    cells: Iterable[tuple[str, str, bytes]], max_pixels: int, ahead: int
) -> Iterator[tuple[str, str, Image.Image | PictureError]]:
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[tuple[str, str, Future[Image.Image | PictureError]]] = deque()
        for key, prompt, content in cells:
            waiting.append((key, prompt, pool.submit(_load, content, max_pixels)))
            if len(waiting) > ahead:
                key, prompt, future = waiting.popleft()
                yield key, prompt, future.result()
        while waiting:
            key, prompt, future = waiting.popleft()
            yield key, prompt, future.result()


def _load(content: bytes, max_pixels: int) -> Image.Image | PictureError:
    try:
        return load_picture(content, max_pixels=max_pixels)
    except PictureError as error:
        return error
