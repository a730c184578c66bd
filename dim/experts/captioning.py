"""The pictures of a dataset's mentions, put to an expert in batches, each once."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from tqdm.auto import tqdm

from dim.common.pictures import MAX_PIXELS, PictureError, load_picture
from dim.errors import DIMError
from dim.experts.cache import AnswerCache, answer_key
from dim.experts.expert import Expert

_WORKERS = 2  # threads that decode while the expert works
_ROWS = 16  # of a Parquet file in memory at a time


@dataclass(frozen=True, slots=True)
class Question:
    """What an expert is asked about a picture.

    Args:
        identity: The expert's.
        prompt: The question; `{mention}` in it becomes the mention.
        max_new_tokens: Bound of the answer's length.
        max_pixels: Larger pictures are not asked about.
    """

    identity: str
    prompt: str
    max_new_tokens: int = 20
    max_pixels: int = MAX_PIXELS

    def about(self, mention: str) -> str:
        """The prompt about a mention."""
        return self.prompt.replace("{mention}", mention)

    def key(self, content: bytes, mention: str) -> str:
        """What the answer is kept under."""
        picture = hashlib.sha256(content).hexdigest()
        return answer_key(picture, self.identity, self.about(mention), self.max_new_tokens)


def picture_content(cell: Mapping[str, Any]) -> bytes:
    """The file of an undecoded picture.

    Args:
        cell: `{"bytes": ..., "path": ...}`, as `datasets` stores it.

    Returns:
        Its content.

    Raises:
        PictureError: If there is neither, or it is no file.
    """
    if cell["bytes"] is not None:
        return cell["bytes"]
    path = Path(cell["path"] or "")
    if not path.is_file():
        load_picture(cell)  # which says why it cannot be read
    return path.read_bytes()


def ask_expert(
    files: Iterable[Path],
    expert: Expert,
    question: Question,
    cache: AnswerCache,
    *,
    batch_size: int = 8,
    rank: int = 0,
    processes: int = 1,
    progress: bool = False,
) -> int:
    """Asks about each picture whose answer is not in the cache; pictures that do not load are passed over.

    Args:
        files: Parquet files with the columns `mention` and `image`.
        expert: Whom to ask.
        question: What to ask.
        cache: Where the answers go, batch by batch.
        batch_size: Pictures asked about at once.
        rank: Number of this process; each asks about its own share.
        processes: How many processes there are.
        progress: Whether to show a progress bar.

    Returns:
        How many pictures this process asked about.

    Raises:
        DIMError: If the expert has no identity, or refuses the prompt.
    """
    if not expert.identity:
        raise DIMError("The expert has no identity to keep its answers under: load it by from_pretrained.")
    files = list(files)
    needed = {key for key, _, _ in _cells(files, question) if int(key[:8], 16) % processes == rank}
    needed = {key for key in needed if cache.get(key) is None}
    count = 0
    with tqdm(total=len(needed), desc=f"asked ({rank})", unit="image", disable=not progress) as bar:
        loaded = _loaded(_once(_cells(files, question), needed), question.max_pixels, batch_size)
        while batch := list(islice(loaded, batch_size)):
            sound = [(key, prompt, picture) for key, prompt, picture in batch if isinstance(picture, Image.Image)]
            if sound:
                keys, prompts, pictures = zip(*sound, strict=True)
                answers = expert.answer(pictures, prompts, len(sound), question.max_new_tokens)
                cache.put(zip(keys, answers, strict=True))
            count += len(sound)
            bar.update(len(batch))
    return count


def _cells(files: Iterable[Path], question: Question) -> Iterator[tuple[str, str, bytes]]:
    """Key, prompt and content of every mention's picture."""
    for path in files:
        for rows in pq.ParquetFile(path).iter_batches(batch_size=_ROWS, columns=["mention", "image"]):
            for row in rows.to_pylist():
                if row["image"] is not None:
                    try:
                        content = picture_content(row["image"])
                    except PictureError:
                        continue  # told when the dataset is written
                    yield question.key(content, row["mention"]), question.about(row["mention"]), content


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


__all__ = ["Question", "ask_expert", "picture_content"]
