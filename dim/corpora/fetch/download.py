"""One picture file from a URL of the data: paced, retried, bounded in size and time, from public addresses only."""

import asyncio
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from http.client import responses

import aiohttp
from yarl import URL

from dim.common.http import public_socket, retry_after
from dim.errors import DIMError

PORTS = (80, 443)
MAX_REDIRECTS = 5
MAX_WAIT = 600.0  # seconds; a host that asks for a longer pause is asked nothing more

_TYPES = re.compile(r"image/.+|(application|binary)/octet-stream")


@dataclass(frozen=True)
class Limits:
    """How hard servers are asked and what is taken from them.

    The defaults keep to Wikimedia's robot policy, which grants 2 downloads at a time and 25 Mbit/s.

    Args:
        concurrency: Downloads at a time.
        requests_per_second: Of each host, redirects included.
        bytes_per_second: Of all downloads together.
        timeout: Seconds of one try, redirects included, pauses not.
        max_bytes: Larger files are refused.
        tries: How often to ask in case of 429, 5xx, timeouts and dropped connections.
        backoff: Seconds before the second try, doubled before each further one, where no `Retry-After` is given.
        allow_private: Also ask hosts that are not on the public internet, at any port.

    Raises:
        DIMError: If a number is out of range.
    """

    concurrency: int = 2
    requests_per_second: float = 1.0
    bytes_per_second: float = 3_000_000
    timeout: float = 120.0
    max_bytes: int = 64_000_000
    tries: int = 5
    backoff: float = 1.0
    allow_private: bool = False

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_bytes", "tries"):
            if getattr(self, name) < 1:
                raise DIMError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        for name in ("requests_per_second", "bytes_per_second", "timeout"):
            if not getattr(self, name) > 0:
                raise DIMError(f"{name} is {getattr(self, name)}: it must be above 0.")
        if not self.backoff >= 0:
            raise DIMError(f"backoff is {self.backoff}: it must be at least 0.")


class DownloadError(DIMError):
    """A file that cannot be had; `tries` is how often it was asked for."""

    def __init__(self, reason: str, tries: int = 1) -> None:
        super().__init__(reason)
        self.tries = tries


class _LaterError(Exception):
    """What another try may mend; `told` if the server said when, and its host is paused until then."""

    def __init__(self, reason: str, told: bool = False) -> None:
        super().__init__(reason)
        self.told = told


class _Pace:
    """Spreads what is taken evenly over time."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free = 0.0  # when the next may go, by the monotonic clock
        self._paused = 0.0  # until when nobody may
        self._refusal = ""

    async def take(self, amount: float = 1.0) -> None:
        """Waits for its turn."""
        start = max(self._free, time.monotonic())
        self._free = start + amount / self.rate
        await asyncio.sleep(start - time.monotonic())
        while (left := self._paused - time.monotonic()) > 0:
            await asyncio.sleep(left)
        if self._refusal:
            raise DownloadError(self._refusal)

    def pause(self, seconds: float) -> None:
        """Lets nobody go for a while, or never again if that is too long."""
        if seconds > MAX_WAIT:
            self._refusal = f"the server asks for a pause of {seconds:.0f} s: run this again after it"
        else:
            self._paused = max(self._paused, time.monotonic() + seconds)


class Downloader:
    """Asks servers within limits: `async with Downloader(...) as downloader: await downloader.get(url)`.

    Args:
        user_agent: What servers are told of who asks.
        limits: The limits.
    """

    def __init__(self, user_agent: str, limits: Limits) -> None:
        self._limits = limits
        self._hosts: defaultdict[str | None, _Pace] = defaultdict(lambda: _Pace(limits.requests_per_second))
        self._bytes = _Pace(limits.bytes_per_second)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=None if limits.allow_private else public_socket),
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what is small on the way may be huge
            timeout=aiohttp.ClientTimeout(total=None),  # each try has its own
        )

    async def __aenter__(self) -> "Downloader":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def get(self, url: str) -> tuple[bytes, int]:
        """Downloads a file.

        Args:
            url: Where it is, `http` or `https`.

        Returns:
            Its content, which need not be a picture, and the number of tries.

        Raises:
            DownloadError: With what the last try met, in one line.
        """
        tried = 0
        while True:
            tried += 1
            try:
                return await self._try(_parse(url)), tried
            except DownloadError as error:
                error.tries = tried
                raise
            except _LaterError as error:
                if tried == self._limits.tries:
                    raise DownloadError(str(error), tried) from error
                pause = 0 if error.told else self._limits.backoff * 2 ** (tried - 1)
            await asyncio.sleep(pause)

    async def _try(self, url: URL) -> bytes:
        """Asks once and follows redirects."""
        seen: set[URL] = set()
        left = self._limits.timeout
        while True:
            self._check(url)
            if url in seen:
                raise DownloadError("redirects in a loop")
            if len(seen) > MAX_REDIRECTS:
                raise DownloadError(f"redirects more than {MAX_REDIRECTS} times")
            seen.add(url)
            await self._hosts[url.host].take()
            start = time.monotonic()
            try:
                answer = await asyncio.wait_for(self._request(url), left)
            except asyncio.TimeoutError as error:
                raise _LaterError(f"does not arrive within {self._limits.timeout:g} s") from error
            except (aiohttp.InvalidURL, UnicodeError) as error:
                raise DownloadError(f"is no valid URL: {error}") from error
            except aiohttp.ClientConnectorError as error:
                if isinstance(error.os_error, PermissionError):
                    raise DownloadError(f"{url.host}: {error.os_error.strerror}") from error
                raise _LaterError(f"cannot be reached: {error}") from error
            except aiohttp.ClientError as error:
                raise _LaterError(f"breaks off: {type(error).__name__} {error}") from error
            if isinstance(answer, bytes):
                return answer
            left -= time.monotonic() - start
            url = answer

    def _check(self, url: URL) -> None:
        if url.port not in PORTS and not self._limits.allow_private:
            raise DownloadError(f"asks for port {url.port}: only {PORTS} are allowed")

    async def _request(self, url: URL) -> bytes | URL:
        """One request: the file, or where it is instead."""
        async with self._session.get(url, allow_redirects=False) as response:
            status = f"answers {response.status} {responses.get(response.status, '')}".strip()
            if response.status in (301, 302, 303, 307, 308):
                if "Location" not in response.headers:
                    raise DownloadError(f"{status} without saying where to")
                return _parse(response.headers["Location"], url)
            if response.status in (408, 425, 429) or response.status >= 500:
                wait = retry_after(response.headers.get("Retry-After"))
                if wait is not None:
                    self._hosts[url.host].pause(wait)
                raise _LaterError(status, told=wait is not None)
            if response.status != 200:
                raise DownloadError(status)
            if not _TYPES.fullmatch(response.content_type):
                raise DownloadError(f"is {response.content_type[:80]!a}, not a picture")
            content = bytearray()
            if (response.content_length or 0) <= self._limits.max_bytes:
                async for chunk in response.content.iter_chunked(2**16):
                    content += chunk
                    if len(content) > self._limits.max_bytes:
                        break
                    await self._bytes.take(len(chunk))
                else:
                    return bytes(content)
            raise DownloadError(f"has more than {self._limits.max_bytes} bytes")


def _parse(text: str, base: URL | None = None) -> URL:
    """A URL as it stands; only what URLs cannot hold, such as spaces and letters beyond ASCII, is quoted."""
    try:
        url = URL(text, encoded=re.fullmatch("[!-~]+", text) is not None)
        url = base.join(url) if base else url
        is_web = url.scheme in ("http", "https") and bool(url.host) and bool(url.port)
    except ValueError as error:
        raise DownloadError(f"{text[:200]!r} is no valid URL") from error
    if not is_web:
        raise DownloadError(f"{text[:200]!r} is no http or https URL")
    return url


__all__ = ["MAX_REDIRECTS", "MAX_WAIT", "PORTS", "DownloadError", "Downloader", "Limits"]
