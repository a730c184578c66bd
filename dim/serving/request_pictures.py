"""Pictures of a request: data URLs, uploaded files and, if enabled, public URLs."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from dim.common.pictures import load_picture
from dim.corpora.fetch.download import Downloader, DownloadError, Limits
from dim.errors import PictureError
from dim.serving.data_urls import data_of_url
from dim.serving.memory import Lease
from dim.serving.refusals import ServiceError
from dim.serving.settings import Settings

_AT_A_TIME = 2  # pictures that are decoded before their memory is counted
_AGENT = "dim-serve"
_UPLOAD, _DATA = "upload:", "data:"


class PictureReader:
    """Reads the pictures of requests; never opens a path.

    Args:
        settings: Limits.
        limits: Limits of downloads; `None` disables URLs.
    """

    def __init__(self, settings: Settings, limits: Limits | None):
        self._settings, self._limits = settings, limits
        self._threads = ThreadPoolExecutor(_AT_A_TIME, "pictures")

    @classmethod
    def from_settings(cls, settings: Settings) -> "PictureReader":
        """Creates a reader; `settings.fetch_urls` enables URLs of public addresses, with one try each."""
        limits = Limits(requests_per_second=10, bytes_per_second=settings.max_body, timeout=settings.timeout / 2,
                        max_bytes=settings.max_body, tries=1)  # fmt: skip
        return cls(settings, limits if settings.fetch_urls else None)

    def close(self) -> None:
        """Stops its threads."""
        self._threads.shutdown()

    async def read(
        self, sources: Sequence[str], where: str, uploads: Mapping[str, bytes], lease: Lease
    ) -> list[tuple[bytes, Image.Image]]:
        """Reads pictures.

        Args:
            sources: Data URLs, names of uploads (`upload:NAME`), or URLs.
            where: The request's field, for messages.
            uploads: Uploaded files by name.
            lease: Lease that counts their memory.

        Returns:
            For each picture the content of its file and the decoded image in RGB.

        Raises:
            ServiceError: If a picture is missing or cannot be read, with the reason.
            BusyError: If the memory for pictures is full.
        """
        loop = asyncio.get_running_loop()
        found = []
        for index, source in enumerate(sources):
            name = f"{where}.{index}"
            content = await self._content(source, name, uploads, lease)
            try:
                picture = await loop.run_in_executor(self._threads, self._decoded, content, name)
            except PictureError as error:
                raise ServiceError(422, str(error)) from error
            lease.take(3 * picture.width * picture.height)
            found.append((content, picture))
        return found

    async def _content(self, source: str, name: str, uploads: Mapping[str, bytes], lease: Lease) -> bytes:
        kind = source[:8].lower()
        if kind.startswith(_UPLOAD):
            part = source[len(_UPLOAD) :]
            if part not in uploads:
                raise ServiceError(422, f"{name}: the body has no file part {part[:80]!r}.")
            return uploads[part]
        if source.lstrip()[: len(_DATA)].lower() == _DATA:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _data, source, name)
        if kind.startswith(("http://", "https://")):
            if self._limits is None:
                raise ServiceError(422, f"{name}: this service does not fetch URLs; send the picture itself.")
            try:
                async with Downloader(_AGENT, self._limits) as downloader:
                    content, _ = await downloader.get(source)
            except DownloadError as error:
                raise ServiceError(422, f"{name}: the URL {error}.") from error
            lease.take(len(content))
            return content
        raise ServiceError(422, f"{name}: a picture must be a data URL (data:...;base64,...) or upload:NAME.")

    def _decoded(self, content: bytes, name: str) -> Image.Image:
        return load_picture({"bytes": content, "path": name}, max_pixels=self._settings.max_pixels)


def _data(source: str, name: str) -> bytes:
    """Decodes a data URL."""
    try:
        return data_of_url(source)
    except ValueError as error:
        raise ServiceError(422, f"{name}: the data URL {error}.") from error
