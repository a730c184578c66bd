"""Downloads pictures from URLs: rate-limited, with retries, bounded in size and time, from public addresses only."""

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
MAX_WAIT = 600.0  # seconds; a host that asks for a longer pause gets no more requests

_TYPES = re.compile(r"image/.+|(application|binary)/octet-stream")


@dataclass(frozen=True)
class Limits:
    """Limits of downloads.

    The defaults comply with Wikimedia's robot policy, which allows 2 downloads at a time and 25 Mbit/s.

    Args:
        concurrency: Downloads at a time.
        requests_per_second: Requests per second to each host, redirects included.
        bytes_per_second: Bytes per second of all downloads together.
        timeout: Seconds of one try, including redirects but not pauses.
        max_bytes: Largest size of a file.
        tries: Number of tries after 429, 5xx, timeouts and dropped connections.
        backoff: Seconds before the second try, doubled before each further one, if there is no `Retry-After`.
        allow_private: Whether to allow hosts that are not on the public internet, and any port.

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
    """A failed download; `tries` is the number of requests for it, `status` that of the last answer, if any."""

    def __init__(self, reason: str, tries: int = 1, status: int | None = None) -> None:
        super().__init__(reason)
        self.tries, self.status = tries, status


class _LaterError(Exception):
    """An error that another try may cure; `paused` if the server said when, and its host is paused until then."""

    def __init__(self, reason: str, paused: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.paused, self.status = paused, status


class _Pace:
    """A rate limit, which spreads amounts evenly over time."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free = 0.0  # time of the next turn, by the monotonic clock
        self._paused = 0.0  # end of the pause
        self._refusal = ""

    async def take(self, amount: float = 1.0) -> None:
        """Waits for the turn of an amount."""
        start = max(self._free, time.monotonic())
        self._free = start + amount / self.rate
        await asyncio.sleep(start - time.monotonic())
        while (left := self._paused - time.monotonic()) > 0:
            await asyncio.sleep(left)
        if self._refusal:
            raise DownloadError(self._refusal)

    def pause(self, seconds: float) -> None:
        """Pauses all turns for a while, or forever if that is longer than `MAX_WAIT`."""
        if seconds > MAX_WAIT:
            self._refusal = f"the server asks for a pause of {seconds:.0f} s: run this again after it"
        else:
            self._paused = max(self._paused, time.monotonic() + seconds)


class Downloader:
    """Downloads files within limits: `async with Downloader(...) as downloader: await downloader.get(url)`.

    Args:
        user_agent: The `User-Agent` header.
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
            auto_decompress=False,  # a small body may decompress to a huge one
            timeout=aiohttp.ClientTimeout(total=None),  # each try has its own
        )

    async def __aenter__(self) -> "Downloader":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def get(self, url: str) -> tuple[bytes, int]:
        """Downloads a file.

        Args:
            url: Its URL, `http` or `https`.

        Returns:
            Its content, which may be no picture, and the number of tries.

        Raises:
            DownloadError: With the reason of the last failure, in one line.
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
                    raise DownloadError(str(error), tried, error.status) from error
                pause = 0 if error.paused else self._limits.backoff * 2 ** (tried - 1)
            await asyncio.sleep(pause)

    async def _try(self, url: URL) -> bytes:
        """One try, with its redirects."""
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
                raise DownloadError(f"is not a valid URL: {error}") from error
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
        """One request: the file, or the URL of a redirect."""
        async with self._session.get(url, allow_redirects=False) as response:
            status = f"answers {response.status} {responses.get(response.status, '')}".strip()
            if response.status in (301, 302, 303, 307, 308):
                if "Location" not in response.headers:
                    raise DownloadError(f"{status} without a Location")
                return _parse(response.headers["Location"], url)
            if response.status in (408, 425, 429) or response.status >= 500:
                wait = retry_after(response.headers.get("Retry-After"))
                if wait is not None:
                    self._hosts[url.host].pause(wait)
                raise _LaterError(status, paused=wait is not None, status=response.status)
            if response.status != 200:
                raise DownloadError(status, status=response.status)
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
    """Parses a URL without changing it, except that characters beyond ASCII and spaces are quoted."""
    try:
        url = URL(text, encoded=re.fullmatch("[!-~]+", text) is not None)
        url = base.join(url) if base else url
        is_web = url.scheme in ("http", "https") and bool(url.host) and bool(url.port)
    except ValueError as error:
        raise DownloadError(f"{text[:200]!r} is not a valid URL") from error
    if not is_web:
        raise DownloadError(f"{text[:200]!r} is not an http or https URL")
    return url
