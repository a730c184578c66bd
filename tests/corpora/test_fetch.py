"""Pictures that a release names by URL: what is kept of them, and what a run that follows another does."""

import asyncio
import errno
import hashlib
import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from picture_server import DRAWING, LOCAL, Server, picture
from PIL import Image

from dim.corpora.fetch.images import FAILED, FETCHED, fetch_images, picture_urls
from dim.corpora.picture_folder import PictureFolder
from dim.corpora.release import Entity, Mention, Release

CONTACT = "you@example.org"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


def fetch(out, *urls, limits=LOCAL, contact=CONTACT):
    keyed = [(f"m{row}", url) for row, url in enumerate(urls)]
    return fetch_images(keyed, out, contact=contact, limits=limits, progress=False)


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestWhatIsKept:
    @pytest.mark.parametrize("kind, suffix", [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")])
    def test_as_it_came(self, server, tmp_path, kind, suffix):
        url = server.serve("/a.svg", picture(kind))  # whatever the URL says
        assert fetch(tmp_path, url).fetched == 1
        path = PictureFolder([tmp_path]).find(url)
        assert path.suffix == suffix
        assert path.read_bytes() == picture(kind)

    @pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP"])
    def test_converted(self, server, tmp_path, kind):
        more = {} if kind == "BMP" else {"save_all": True, "append_images": [Image.new("RGB", (24, 16), "red")]}
        url = server.serve(f"/a.{kind}", picture(kind, **more), kind=f"image/{kind}")
        fetch(tmp_path, url)
        with Image.open(PictureFolder([tmp_path]).find(url)) as image:
            assert (image.format, image.size, getattr(image, "n_frames", 1)) == ("PNG", (24, 16), 1)
            assert image.convert("RGB").getpixel((3, 3)) == (0, 128, 128)

    @pytest.mark.parametrize("start", ["", "\ufeff", f"<?xml version='1.0'?>\n<!-- {'x' * 2000} -->", "\r\n "])
    def test_drawings(self, server, tmp_path, start):
        url = server.serve("/a.svg", (start + DRAWING).encode(), kind="image/svg+xml")
        assert fetch(tmp_path, url).failures == []
        with Image.open(PictureFolder([tmp_path]).find(url)) as image:
            assert (image.format, image.size) == ("PNG", (1024, 512))
            assert image.convert("RGB").getpixel((500, 300)) == (255, 0, 0)

    def test_records(self, server, tmp_path):
        urls = [server.serve(f"/{row}/Same.png", picture(colour=row)) for row in ("red", "navy")]
        report = fetch(tmp_path, *urls)
        assert (report.kept, report.fetched, report.failures) == (0, 2, [])
        pictures = PictureFolder([tmp_path])
        found = {record["url"]: record for record in records(tmp_path / FETCHED)}
        for url, colour in zip(urls, ("red", "navy"), strict=True):
            record = found[url]
            content = (tmp_path / record["file"]).read_bytes()
            assert content == picture(colour=colour)
            assert record["sha256"] == hashlib.sha256(content).hexdigest()
            assert record["bytes"] == len(content)
            assert pictures.find(url) == tmp_path / record["file"]

    @pytest.mark.parametrize(
        "body, message",
        [
            (b"", "is empty"),
            (b"hello", "is not a picture"),
            (picture()[:-30], "is truncated or damaged"),
            (b"\n<html><body>sorry</body></html>", "the SVG drawing cannot be rendered"),
        ],
    )
    def test_what_is_no_picture_is_not_kept(self, server, tmp_path, body, message):
        url = server.serve("/a.png", body)
        (failure,) = fetch(tmp_path, url).failures
        assert re.search(message, failure.reason)
        assert "\n" not in failure.reason
        assert records(tmp_path / FAILED) == [{"key": "m0", "url": url, "reason": failure.reason, "tries": 1}]
        assert sorted(path.name for path in tmp_path.iterdir()) == [FAILED, FETCHED]
        assert len(server.seen) == 1


class TestAsking:
    def test_a_url_that_repeats_is_asked_once(self, server, tmp_path):
        url = server.serve("/a", picture())
        lost = server.serve("/b", status=404)
        report = fetch(tmp_path, url, lost, url, lost)
        assert report.fetched == 1
        assert [failure.key for failure in report.failures] == ["m1"]  # the first that named it
        assert sorted(server.seen) == ["/a", "/b"]

    def test_concurrency(self, server, tmp_path):
        async def slow(request):
            await asyncio.sleep(0.03)
            return web.Response(body=picture(), content_type="image/png")

        urls = [server.handle(f"/{row}", slow) for row in range(12)]
        assert fetch(tmp_path, *urls, limits=replace(LOCAL, concurrency=3)).fetched == 12
        assert server.most == 3

    @pytest.mark.parametrize("contact", [CONTACT, "https://example.org/me?x=1"])
    def test_who_asks(self, server, tmp_path, contact):
        fetch(tmp_path, server.serve("/a.png", picture()), contact=contact)
        agent = server.headers[0]["User-Agent"]
        assert re.fullmatch(rf"dim-mel-bot/\d[\w.]* \({re.escape(contact)}\) aiohttp/\d[\w.]*", agent)

    def test_a_contact_is_required(self, tmp_path):
        for contact in ("", "me", "a@b", "x y@a.org", "a@b.org\r\nX: y", "ftp://a.org", "(a@b.org)"):
            with pytest.raises(ValueError, match="must be a mail address or a URL"):
                fetch(tmp_path, "https://a.org/b.png", contact=contact)

    def test_input(self, tmp_path):
        with pytest.raises(ValueError, match="There is no URL"):
            fetch(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="file is a file"):
            fetch(tmp_path / "file", "https://a.org/b.png")

    def test_one_failure_stops_nothing(self, server, tmp_path):
        urls = [server.serve(f"/{row}", picture(), 404 if row % 3 == 0 else 200) for row in range(9)]
        urls.append("http://[broken")
        report = fetch(tmp_path, *urls)
        assert report.fetched == 6
        assert sorted((failure.key, failure.tries) for failure in report.failures) == [
            *(("m0", 1), ("m3", 1), ("m6", 1), ("m9", 1)),
        ]
        assert [record["reason"] for record in records(tmp_path / FAILED)].count("answers 404 Not Found") == 3

    def test_private_addresses_are_refused_unless_allowed(self, server, tmp_path):
        (failure,) = fetch(tmp_path, "http://localhost/a.png", limits=replace(LOCAL, allow_private=False)).failures
        assert "is not an address of the public internet" in failure.reason


class TestResuming:
    def test_what_is_there_is_not_asked_again(self, server, tmp_path):
        urls = [server.serve(f"/{row}", picture(), 404 if row == 3 else 200) for row in range(6)]
        fetch(tmp_path, *urls[:4])
        server.seen.clear()
        report = fetch(tmp_path, *urls)
        assert (report.kept, report.fetched, len(report.failures)) == (3, 2, 1)
        assert sorted(server.seen) == ["/3", "/4", "/5"]
        assert len(records(tmp_path / FAILED)) == 1

    @pytest.mark.parametrize("harm", ["gone", "shorter"])
    def test_a_lost_file_is_asked_again(self, server, tmp_path, harm):
        url = server.serve("/a", picture())
        fetch(tmp_path, url)
        path = PictureFolder([tmp_path]).find(url)
        path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes()[:-1])
        report = fetch(tmp_path, url)
        assert (report.kept, report.fetched) == (0, 1)
        assert path.read_bytes() == picture()
        assert fetch(tmp_path, url).kept == 1

    def test_a_torn_line_is_cut_off(self, server, tmp_path):
        urls = [server.serve(f"/{row}", picture()) for row in range(3)]
        fetch(tmp_path, *urls[:2])
        log = tmp_path / FETCHED
        log.write_bytes(log.read_bytes()[:-5])
        assert fetch(tmp_path, *urls).kept == 1
        assert len(records(log)) == 3
        assert fetch(tmp_path, *urls).kept == 3

    def test_a_half_written_file_is_nothing(self, server, tmp_path, monkeypatch):
        url = server.serve("/a", picture())

        def full(*paths):
            raise OSError(errno.ENOSPC, "disk full")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full)
            with pytest.raises(OSError, match="disk full"):
                fetch(tmp_path, url)
        with pytest.raises(ValueError, match="has no pictures"):
            PictureFolder([tmp_path])
        assert fetch(tmp_path, url).fetched == 1

    def test_killed(self, server, tmp_path):
        """Kill -9 in the midst of a run: the next one asks for what was not safe on disk, and only for that."""

        async def hang(request):
            await asyncio.sleep(60)

        urls = []
        for row in range(40):
            for _ in range(row in (20, 21, 22)):
                server.handle(f"/{row}", hang)
            urls.append(server.serve(f"/{row}", picture(colour=(row, 0, 0))))
        code = f"""
            from pathlib import Path
            from dim.corpora.fetch.download import Limits
            from dim.corpora.fetch.images import fetch_images
            limits = Limits(3, 1e6, 1e12, backoff=0, allow_private=True)
            urls = [("", url) for url in {urls!r}]
            fetch_images(urls, Path({str(tmp_path)!r}), contact={CONTACT!r}, limits=limits, progress=False)
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
        limit = time.monotonic() + 60
        while len(server.seen) < 23 and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        safe = {record["url"] for record in records(tmp_path / FETCHED)}
        assert 15 <= len(safe) <= 20
        server.seen.clear()
        report = fetch(tmp_path, *urls)
        assert (report.kept, report.fetched) == (len(safe), 40 - len(safe))
        assert Counter(map(server.url, server.seen)) == Counter(set(urls) - safe)
        pictures = PictureFolder([tmp_path])
        for row, url in enumerate(urls):
            assert pictures.find(url).read_bytes() == picture(colour=(row, 0, 0))


def test_urls_of_a_release():
    mentions = [
        Mention("m1", "A.", "A", "train", image="https://a.org/1.png"),
        Mention("m2", "A.", "A", "train", image="images/2.png"),
        Mention("m3", "A.", "A", "train"),
    ]
    entities = [Entity("e1", "A", images=["HTTP://a.org/3.png", "3.png"])]
    assert picture_urls(Release("jsonl", mentions, entities)) == [
        ("m1", "https://a.org/1.png"),
        ("e1", "HTTP://a.org/3.png"),
    ]
