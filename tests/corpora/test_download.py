"""One file from a URL: what is asked how often and how fast, what is refused, and where a URL may not lead."""

import asyncio
import errno
import socket
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import pairwise

import pytest
from aiohttp import web
from picture_server import LOCAL, Server, picture

from dim.common import http as addresses
from dim.common.http import is_public, public_socket, retry_after
from dim.corpora.fetch import download
from dim.corpora.fetch.download import Downloader, DownloadError


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


def get(*urls, limits=LOCAL, workers=1):
    """For each URL its content, or the error; `workers` at a time, each takes the next."""
    found = {}

    async def work(downloader, waiting):
        for url in waiting:
            try:
                found[url], _ = await downloader.get(url)
            except DownloadError as error:
                found[url] = error

    async def run():
        async with Downloader("me", limits) as downloader:
            waiting = iter(urls)
            await asyncio.gather(*(work(downloader, waiting) for _ in range(workers)))

    asyncio.run(run())
    return [found[url] for url in urls]


def reason(url, limits=LOCAL) -> str:
    """Why a URL gives nothing."""
    (error,) = get(url, limits=limits)
    assert isinstance(error, DownloadError), error
    assert "\n" not in str(error)
    return str(error)


def gaps(server) -> list[float]:
    """Seconds between requests."""
    return [later - sooner for sooner, later in pairwise(server.times)]


class TestAsking:
    def test_a_url_as_it_stands(self, server):
        server.serve("/Café_(1)?.png", b"a")
        server.serve("/café 2.png", b"b")
        assert get(server.url("/Caf%C3%A9_%281%29%3F.png"), server.url("/café 2.png")) == [b"a", b"b"]
        assert server.seen == ["/Caf%C3%A9_%281%29%3F.png", "/caf%C3%A9%202.png"]

    def test_headers(self, server):
        for path in ("/a", "/b"):
            server.serve(path, Set_Cookie="a=b")
        get(server.url("/a", "localhost"), server.url("/b", "localhost"))
        for headers in server.headers:
            assert headers["User-Agent"] == "me"
            assert headers["Accept-Encoding"] == "identity"
            assert "Cookie" not in headers

    def test_rate(self, server):
        urls = [server.serve(f"/{row}") for row in range(11)]
        get(*urls, limits=replace(LOCAL, requests_per_second=20), workers=4)
        assert 0.48 <= sum(gaps(server)) < 1.5

    def test_rate_of_bytes(self, server):
        urls = [server.serve(f"/{row}", b"\0" * 150_000) for row in range(2)]
        start = time.monotonic()
        get(*urls, limits=replace(LOCAL, bytes_per_second=1_000_000), workers=2)
        assert 0.2 <= time.monotonic() - start < 1.5

    def test_backoff_doubles(self, server):
        for status in (500, 502, 408, 200):
            server.serve("/a", b"a", status)
        assert get(server.url("/a"), limits=replace(LOCAL, backoff=0.1)) == [b"a"]
        assert [gap >= least for gap, least in zip(gaps(server), (0.1, 0.2, 0.4), strict=True)] == [True] * 3
        assert sum(gaps(server)) < 2

    def test_how_often_it_was_asked(self, server):
        for status in (500, 200):
            server.serve("/a", b"a", status)
        server.serve("/b", status=503)

        async def run():
            async with Downloader("me", LOCAL) as downloader:
                assert await downloader.get(server.url("/a")) == (b"a", 2)
                with pytest.raises(DownloadError, match="answers 503") as caught:
                    await downloader.get(server.url("/b"))
                assert caught.value.tries == 5

        asyncio.run(run())

    def test_limits(self):
        for name, value in (
            *((name, 0) for name in ("concurrency", "max_bytes", "tries", "timeout", "bytes_per_second")),
            *(("requests_per_second", -1.0), ("requests_per_second", float("nan")), ("backoff", -1)),
        ):
            with pytest.raises(ValueError, match=f"{name} is {value}: it must be"):
                replace(LOCAL, **{name: value})


class TestRetryAfter:
    """A backoff of a minute in these shows that it does not apply."""

    PATIENT = replace(LOCAL, backoff=60)

    @pytest.mark.parametrize("status", [429, 503])
    def test_seconds(self, server, status):
        server.serve("/a", status=status, Retry_After="1")
        server.serve("/a", b"a")
        assert get(server.url("/a"), server.serve("/b", b"b"), limits=self.PATIENT) == [b"a", b"b"]
        assert server.seen == ["/a", "/a", "/b"]
        assert 1 <= gaps(server)[0] < 3

    def test_nobody_asks_the_host_meanwhile(self, server):
        server.serve("/0", status=429, Retry_After="1")
        urls = [server.serve(f"/{row}", b"a") for row in range(9)]
        limits = replace(self.PATIENT, requests_per_second=20)
        assert get(*urls, limits=limits, workers=3) == [b"a"] * 9
        assert 0.8 < max(gaps(server)) < 3
        assert gaps(server).index(max(gaps(server))) < 3  # what was under way came through

    def test_date(self, server):
        date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
        server.serve("/a", status=429, Retry_After=date)
        server.serve("/a", b"a")
        assert get(server.url("/a"), limits=self.PATIENT) == [b"a"]
        assert 0.9 <= gaps(server)[0] < 4

    @pytest.mark.parametrize("value", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
    def test_at_once(self, server, value):
        server.serve("/a", status=429, Retry_After=value)
        server.serve("/a", b"a")
        assert get(server.url("/a"), limits=self.PATIENT) == [b"a"]

    def test_nonsense_is_none(self):
        for value in ("soon", "-1", "", "Wed, 99 Oct", "\u0661", None):
            assert retry_after(value) is None, value

    def test_a_pause_that_is_too_long(self, server):
        urls = [server.serve(f"/{row}", status=429, Retry_After="3600") for row in range(9)]
        assert {str(error) for error in get(*urls)} == {
            "the server asks for a pause of 3600 s: run this again after it"
        }
        assert len(server.seen) == 1


class TestFailures:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 304])
    def test_at_once(self, server, status):
        assert reason(server.serve("/a", status=status)).startswith(f"answers {status}")
        assert len(server.seen) == 1

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
    def test_after_some_tries(self, server, status):
        assert reason(server.serve("/a", status=status)).startswith(f"answers {status}")
        assert len(server.seen) == 5

    def test_wrong_type(self, server):
        url = server.serve("/a.png", b"<html>no</html>", kind="text/html; charset=utf-8")
        assert reason(url) == "is 'text/html', not a picture"
        assert len(server.seen) == 1

    @pytest.mark.parametrize("kind", ["image/x-any", "application/octet-stream", "binary/octet-stream"])
    def test_types(self, server, kind):
        assert get(server.serve("/a", b"a", kind=kind)) == [b"a"]

    def test_truncated_body(self, server):
        async def answer(request):
            response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": "5000"})
            await response.prepare(request)
            await response.write(picture())
            request.transport.close()
            return response

        assert reason(server.handle("/a", answer), replace(LOCAL, tries=2)).startswith("breaks off: ")
        assert len(server.seen) == 2

    def test_endless_body(self, server):
        async def answer(request):
            response = web.StreamResponse(headers={"Content-Type": "image/png"})
            await response.prepare(request)
            while True:
                await response.write(b"\0" * 10_000)

        url = server.handle("/a", answer)
        assert reason(url, replace(LOCAL, max_bytes=200_000)) == "has more than 200000 bytes"
        assert len(server.seen) == 1

    def test_a_body_that_is_announced_too_large_is_not_read(self, server):
        async def answer(request):
            response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": "3000"})
            await response.prepare(request)
            await asyncio.sleep(60)

        assert reason(server.handle("/a", answer), replace(LOCAL, max_bytes=2999)) == "has more than 2999 bytes"
        assert get(server.serve("/b", b"\0" * 2999), limits=replace(LOCAL, max_bytes=2999)) == [b"\0" * 2999]

    def test_a_packed_body_stays_packed(self, server):
        """What is small on the way is never unpacked to something huge."""
        url = server.serve("/a", b"\x1f\x8b packed", Content_Encoding="gzip")
        assert get(url) == [b"\x1f\x8b packed"]

    @pytest.mark.parametrize("where", ["head", "body", "redirects"])
    def test_a_server_that_dawdles(self, server, where):
        async def answer(request):
            if where == "redirects":
                await asyncio.sleep(0.1)
                return web.Response(status=302, headers={"Location": f"/{len(server.seen)}"})
            if where == "head":
                await asyncio.sleep(60)
            response = web.StreamResponse(headers={"Content-Type": "image/png"})
            await response.prepare(request)
            while True:
                await response.write(b"\0")
                await asyncio.sleep(0.05)

        for row in range(9):
            server.handle(f"/{row}", answer)
        start = time.monotonic()
        assert reason(server.url("/0"), replace(LOCAL, timeout=0.3, tries=2)) == "does not arrive within 0.3 s"
        assert 0.6 <= time.monotonic() - start < 2

    def test_dropped_connections(self, server):
        async def drop(request):
            request.transport.abort()
            return web.Response()

        server.handle("/a", drop)
        server.serve("/a", b"a")
        assert get(server.url("/a")) == [b"a"]
        assert len(server.seen) == 2

    def test_nobody_listens(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/a"
            assert reason(url, replace(LOCAL, tries=2)).startswith("cannot be reached: ")

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "",
                "b.png",
                "http://",
                "http:///b.png",
                "ftp://a.org/b.png",
                "file:///etc/passwd",
                "data:image/png;base64,",
            ),
            *(
                "https://[::1/b.png",
                "http://a.org:x/",
                "http://a.org:99999/",
                "http://\ud800/",
                f"http://{'a' * 70}.org/",
            ),
        ],
    )
    def test_no_url(self, url):
        assert "is not a" in reason(url)


class TestRedirects:
    def test_followed(self, server):
        server.serve("/a", status=301, Location="b/c")
        server.serve("/b/c", status=308, Location=server.url("/d%281%29"))
        server.serve("/d(1)", b"d")
        assert get(server.url("/a")) == [b"d"]
        assert server.seen == ["/a", "/b/c", "/d%281%29"]

    def test_loop(self, server):
        server.serve("/a", status=302, Location="/b")
        server.serve("/b", status=302, Location="/a")
        assert reason(server.url("/a")) == "redirects in a loop"
        assert server.seen == ["/a", "/b"]

    def test_too_many(self, server):
        for row in range(9):
            server.serve(f"/{row}", status=302, Location=f"/{row + 1}")
        assert reason(server.url("/0")) == "redirects more than 5 times"
        assert len(server.seen) == 6

    @pytest.mark.parametrize(
        "location, message",
        [
            ("file:///etc/passwd", "is not an http or https URL"),
            ("ftp://a.org/a.png", "is not an http or https URL"),
            ("http://[broken", "is not a valid URL"),
            (None, "without a Location"),
        ],
    )
    def test_to_nothing(self, server, location, message):
        assert message in reason(server.serve("/a", status=302, **({"Location": location} if location else {})))


class TestPrivateAddresses:
    PUBLIC = replace(LOCAL, allow_private=False)

    @pytest.fixture(autouse=True)
    def port(self, server, monkeypatch):
        """Lets requests through to the address, so that it is the address that stops them."""
        monkeypatch.setattr(download, "PORTS", (80, 443, server.port))

    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "127.0.0.2", "0.0.0.0", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1"),
            *("127.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
            *("[2002:7f00:1::]", "１２７.0.0.1", "127。0。0。1"),
        ],
    )
    def test_refused(self, server, host):
        server.serve("/a.png", picture())
        (error,) = get(server.url("/a.png", host), limits=self.PUBLIC)
        assert "is not an address of the public internet" in str(error) or "not a canonical IPv4 address" in str(error)
        assert error.tries == 1
        assert server.seen == []

    def test_a_name_that_leads_there(self, server, monkeypatch):
        """One lookup, whose very answer is checked: a name server that answers otherwise later gains nothing."""
        asked = []

        def resolve(host, port, *rest, **options):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert reason(server.url("/a", "good.example"), self.PUBLIC) == (
            "good.example: 127.0.0.1 is not an address of the public internet"
        )
        assert asked == ["good.example"]
        assert server.seen == []

    def test_a_redirect_that_leads_there(self, server, monkeypatch):
        monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
        server.serve("/secret.png", picture())
        url = server.serve("/a", status=302, Location=server.url("/secret.png", "127.0.0.2"))
        assert "127.0.0.2 is not an address of the public internet" in reason(url, self.PUBLIC)
        assert server.seen == ["/a"]

    def test_ports(self, server, monkeypatch):
        monkeypatch.setattr(download, "PORTS", (80, 443))
        monkeypatch.setattr(addresses, "is_public", lambda address: True)
        assert reason(server.url("/a"), self.PUBLIC).startswith(f"asks for port {server.port}")
        assert server.seen == []

    def test_proxies_of_the_environment_are_not_asked(self, server, monkeypatch):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, server.url(""))
        assert "not an address of the public internet" in reason("http://127.0.0.1/a", self.PUBLIC)
        assert server.seen == []

    def test_addresses_that_are_not_public(self):
        for address in (
            *("10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "127.0.0.1"),
            *("192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.0.1", "240.0.0.1", "255.255.255.255"),
            *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1", "fec0::1", "ff02::1", "ff0e::1"),
            *("2001:db8::1", "::10.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1"),
            *("64:ff9b:1::1", "2002:a00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
        ):
            assert not is_public(address), address
            with pytest.raises(PermissionError) as caught:
                public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))
            assert caught.value.errno == errno.EACCES, address

    def test_addresses_that_are_public(self):
        for address in ("8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"):
            assert is_public(address), address
            public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))).close()
