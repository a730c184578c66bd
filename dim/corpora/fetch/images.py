"""`dim fetch-images`: the pictures that a release names by URL, each checked, kept under a name that finds it again."""

import asyncio
import hashlib
import importlib.metadata
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from tqdm.auto import tqdm

from dim.common.files import sync
from dim.common.pictures import load_picture
from dim.corpora.fetch.download import Downloader, DownloadError, Limits
from dim.corpora.fetch.svg import rasterise
from dim.corpora.picture_folder import is_url, url_name
from dim.corpora.release import Release
from dim.errors import DIMError

FETCHED, FAILED = "fetched.jsonl", "failed.jsonl"

_CONTACT = re.compile(r"[^@\s()]+@[^@\s()]+\.[^@\s()]+|https?://[^\s()]+")
_KEPT = {".jpg": rb"\xff\xd8\xff", ".png": rb"\x89PNG\r\n\x1a\n", ".webp": rb"RIFF....WEBP"}  # how they begin


@dataclass(frozen=True)
class Failure:
    """A picture that was not fetched: the key it came with, its URL, why not, and how often it was asked for."""

    key: str
    url: str
    reason: str
    tries: int


@dataclass
class FetchReport:
    """What a run did: pictures `kept` from earlier runs, `fetched` by this one, and what failed."""

    kept: int = 0
    fetched: int = 0
    failures: list[Failure] = field(default_factory=list)


def picture_urls(release: Release) -> list[tuple[str, str]]:
    """The pictures that a release names by URL.

    Args:
        release: A release whose mentions or entities name pictures.

    Returns:
        Pairs of an id, of the mention or entity, and a URL; URLs may repeat.
    """
    named = [(mention.id, mention.image) for mention in release.mentions]
    named += [(entity.id, image) for entity in release.entities for image in entity.images]
    return [(key, image) for key, image in named if is_url(image)]


def fetch_images(
    urls: Iterable[tuple[str, str]],
    out: Path,
    *,
    contact: str,
    limits: Limits | None = None,
    progress: bool = True,
) -> FetchReport:
    """Downloads pictures; what is in `out` from an earlier run, killed or not, is not asked for again.

    A file is named md5 of its URL ([`dim.corpora.picture_folder.url_name`]) with the suffix of what it is. JPEG, PNG
    and WebP are kept as they came, everything else becomes PNG: an animation's first frame, a drawing with its longer
    side 1024 pixels long. `out/fetched.jsonl` gets a line for each picture (`url`, `file`, `sha256`, `bytes`) when it
    is safe on disk, `out/failed.jsonl` one for each failure of the last run (`key`, `url`, `reason`, `tries`).

    Args:
        urls: Pairs of a key, named in failures, and a URL. A URL that repeats is asked for once.
        out: Folder for the pictures; it is made if it is not there.
        contact: Mail address or URL for the servers' operators; part of the User-Agent, as Wikimedia's policy asks.
        limits: How hard servers are asked, `Limits()` by default.
        progress: Show a progress bar.

    Returns:
        What was done. Pictures that failed are asked for again by the next run.

    Raises:
        DIMError: If the contact is none, `out` is a file, or there is no URL.
    """
    if not _CONTACT.fullmatch(contact):
        raise DIMError(f"The contact {contact!r} must be a mail address or a URL: servers ask for one.")
    if out.exists() and not out.is_dir():
        raise DIMError(f"{out} is a file: the pictures need a folder.")
    keys: dict[str, str] = {}
    for key, url in urls:
        keys.setdefault(url, key)
    if not keys:
        raise DIMError("There is no URL to fetch a picture from.")
    out.mkdir(parents=True, exist_ok=True)
    done = _resume(out)
    missing = {url: key for url, key in keys.items() if url not in done}
    report = FetchReport(kept=len(keys) - len(missing))
    with tqdm(total=len(keys), initial=report.kept, desc="pictures", disable=not progress) as bar:
        asyncio.run(_fetch(missing, out, contact, limits or Limits(), report, bar))
    return report


async def _fetch(
    keys: dict[str, str], out: Path, contact: str, limits: Limits, report: FetchReport, bar: "tqdm[None]"
) -> None:
    version = importlib.metadata.version("dim-mel")
    with (out / FETCHED).open("ab") as fetched, (out / FAILED).open("wb") as failed:

        async def work(urls: Iterator[str]) -> None:
            for url in urls:
                tries = 0
                try:
                    content, tries = await downloader.get(url)
                    suffix, content = await asyncio.to_thread(_as_picture, url, content)
                except ValueError as error:
                    tries = error.tries if isinstance(error, DownloadError) else tries
                    failure = Failure(keys[url], url, str(error), tries)
                    report.failures.append(failure)
                    failed.write(_line(vars(failure)))
                    failed.flush()
                else:
                    name = url_name(url) + suffix
                    _write(out / name, content)
                    digest = hashlib.sha256(content).hexdigest()
                    fetched.write(_line({"url": url, "file": name, "sha256": digest, "bytes": len(content)}))
                    fetched.flush()
                    os.fsync(fetched.fileno())
                    report.fetched += 1
                bar.update()
                bar.set_postfix(failed=len(report.failures), refresh=False)

        async with Downloader(f"dim-mel-bot/{version} ({contact}) aiohttp/{aiohttp.__version__}", limits) as downloader:
            urls = iter(keys)
            await asyncio.gather(*(work(urls) for _ in range(limits.concurrency)))


def _resume(out: Path) -> set[str]:
    """URLs of the pictures that are there; what a kill left of a line is cut off."""
    path = out / FETCHED
    if not path.exists():
        return set()
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    os.truncate(path, whole)
    sizes = {}
    for record in map(json.loads, content[:whole].splitlines()):
        sizes[record["url"]] = (out / record["file"], record["bytes"])
    return {url for url, (file, size) in sizes.items() if file.is_file() and file.stat().st_size == size}


def _as_picture(url: str, content: bytes) -> tuple[str, bytes]:
    """Suffix and content to keep; a `DIMError` if it does not load as a picture."""
    if content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        content = rasterise(content)
    picture = load_picture({"bytes": content, "path": url})
    for suffix, start in _KEPT.items():
        if re.match(start, content, re.DOTALL):
            return suffix, content
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return ".png", buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Writes a file so that a kill or a power cut leaves all of it under its name, or nothing."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"


__all__ = ["FAILED", "FETCHED", "Failure", "FetchReport", "fetch_images", "picture_urls"]
