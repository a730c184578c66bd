"""Downloads the pictures that a release names by URL, checks them, and names the files by the URLs."""

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

from dim.common.files import atomic_file
from dim.common.jsonl import read_jsonl
from dim.common.pictures import load_picture
from dim.corpora.fetch.download import Downloader, DownloadError, Limits
from dim.corpora.fetch.svg import rasterise
from dim.corpora.fetch.wikimedia import served_urls
from dim.corpora.picture_folder import is_url, url_name
from dim.corpora.release import Release
from dim.errors import DIMError

FETCHED, FAILED = "fetched.jsonl", "failed.jsonl"

_CONTACT = re.compile(r"[^@\s()]+@[^@\s()]+\.[^@\s()]+|https?://[^\s()]+")
# Formats that are not converted: suffix and first bytes.
_UNCHANGED = {
    ".jpg": rb"\xff\xd8\xff",
    ".png": rb"\x89PNG\r\n\x1a\n",
    ".webp": rb"RIFF....WEBP",
}


@dataclass(frozen=True)
class Failure:
    """A picture that was not fetched: key of its mention or entity, URL, reason and number of tries."""

    key: str
    url: str
    reason: str
    tries: int


@dataclass
class FetchReport:
    """Result of a run: number of pictures `kept` from earlier runs and `fetched` by this one, and the failures."""

    kept: int = 0
    fetched: int = 0
    failures: list[Failure] = field(default_factory=list)


def picture_urls(release: Release) -> list[tuple[str, str]]:
    """Lists the pictures that a release names by URL.

    Args:
        release: The release.

    Returns:
        Pairs of the id of a mention or entity and a URL; URLs may repeat.
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
    """Downloads pictures that an earlier run, even a killed one, has not left in `out`.

    A file is named by the md5 of its URL ([`dim.corpora.picture_folder.url_name`]) and the suffix of its format. JPEG,
    PNG and WebP are not changed. Other formats become PNG: the first frame of an animation, a drawing with 1024 pixels
    on its longer side. A thumbnail of Wikimedia is fetched at a width that is served, or as the original
    ([`dim.corpora.fetch.wikimedia`]). `out/fetched.jsonl` gets a line for each picture on the disk (`url`, `file`,
    `sha256`, `bytes`, and `fetched_from` where that is another URL), `out/failed.jsonl` one for each failure of the
    last run (`key`, `url`, `reason`, `tries`).

    Args:
        urls: Pairs of a key, for failures, and a URL. A repeated URL is downloaded once.
        out: Folder for the pictures; created if it does not exist.
        contact: Mail address or URL for the servers' operators; part of the User-Agent, as Wikimedia's policy requires.
        limits: Limits of the downloads, `Limits()` by default.
        progress: Whether to show a progress bar.

    Returns:
        The result. The next run tries failed pictures again.

    Raises:
        DIMError: If the contact is not an address, `out` is a file, or there is no URL.
    """
    if not _CONTACT.fullmatch(contact):
        raise DIMError(f"The contact {contact!r} must be a mail address or a URL, which servers require.")
    if out.exists() and not out.is_dir():
        raise DIMError(f"{out} is a file: give a folder for the pictures.")
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
                    content, tries, source = await _get(downloader, url)
                    suffix, content = await asyncio.to_thread(_as_picture, url, content)
                except DIMError as error:
                    tries = error.tries if isinstance(error, DownloadError) else tries
                    failure = Failure(keys[url], url, str(error), tries)
                    report.failures.append(failure)
                    failed.write(_line(vars(failure)))
                    failed.flush()
                else:
                    name = url_name(url) + suffix
                    with atomic_file(out / name) as temporary:
                        temporary.write_bytes(content)
                    digest = hashlib.sha256(content).hexdigest()
                    record = {"url": url, "file": name, "sha256": digest, "bytes": len(content)}
                    fetched.write(_line(record if source == url else {**record, "fetched_from": source}))
                    fetched.flush()
                    os.fsync(fetched.fileno())
                    report.fetched += 1
                bar.update()
                bar.set_postfix(failed=len(report.failures), refresh=False)

        async with Downloader(f"dim-mel-bot/{version} ({contact}) aiohttp/{aiohttp.__version__}", limits) as downloader:
            urls = iter(keys)
            await asyncio.gather(*(work(urls) for _ in range(limits.concurrency)))


async def _get(downloader: Downloader, url: str) -> tuple[bytes, int, str]:
    """Content of a picture, the number of tries, and the URL that it came from."""
    tries, refusals = 0, []
    for source in served_urls(url):
        try:
            content, tried = await downloader.get(source)
        except DownloadError as error:
            tries += error.tries
            refusals.append(str(error) if source == url else f"{error} ({source})")
            if error.status is None:
                break
        else:
            return content, tries + tried, source
    raise DownloadError("; ".join(refusals), tries)


def _resume(out: Path) -> set[str]:
    """URLs of the pictures that are there. An incomplete last line, left by a killed run, is cut off."""
    path = out / FETCHED
    if not path.exists():
        return set()
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    sizes = {row["url"]: (out / row["file"], row["bytes"]) for _, row in read_jsonl(path)}
    return {url for url, (file, size) in sizes.items() if file.is_file() and file.stat().st_size == size}


def _as_picture(url: str, content: bytes) -> tuple[str, bytes]:
    """Suffix and content of the file to write; raises a `DIMError` if it is not a picture."""
    if content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        content = rasterise(content)
    picture = load_picture({"bytes": content, "path": url})
    for suffix, start in _UNCHANGED.items():
        if re.match(start, content, re.DOTALL):
            return suffix, content
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return ".png", buffer.getvalue()


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"
