"""Thumbnails of Wikimedia, at widths that are served and at others."""

import re

import pytest
from aiohttp import web
from picture_server import LOCAL, Server, picture

from dim.corpora.fetch.images import FETCHED, fetch_images
from dim.corpora.fetch.wikimedia import WIDTHS, served_urls
from dim.corpora.picture_folder import PictureFolder

SITE = "https://upload.wikimedia.org/wikipedia/commons"


def test_a_width_that_is_not_served_is_replaced():
    for wanted in range(1, 4_000):
        first = served_urls(f"{SITE}/thumb/f/f1/X.jpg/{wanted}px-X.jpg")[0]
        found = re.search(r"/(\d+)px-X.jpg$", first)
        if wanted > WIDTHS[-1]:
            assert first == f"{SITE}/f/f1/X.jpg"
        else:
            assert int(found[1]) == min(width for width in WIDTHS if width >= wanted)


@pytest.mark.parametrize(
    ("thumbnail", "original"),
    [
        ("{0}/thumb/f/f1/X.jpg/350px-X.jpg", "{0}/f/f1/X.jpg"),
        ("{0}/thumb/c/c2/Y.gif/160px-Y.gif", "{0}/c/c2/Y.gif"),
        ("{0}/thumb/a/a1/Z.svg/220px-Z.svg.png", "{0}/a/a1/Z.svg"),
        ("{0}/thumb/a/a1/Z.svg/langde-220px-Z.svg.png", "{0}/a/a1/Z.svg"),
        ("{0}/thumb/a/a1/T.tif/lossy-page1-220px-T.tif.jpg", "{0}/a/a1/T.tif"),
        ("{0}/thumb/b/b0/A-b_%281%29,_2px-c.JPG/800px-A-b_%281%29,_2px-c.JPG", "{0}/b/b0/A-b_%281%29,_2px-c.JPG"),
        ("{0}/thumb/b/b0/Long.png/450px-thumbnail.png?utm_source=x", "{0}/b/b0/Long.png"),
        ("{0}/thumb/archive/b/b0/20110101000000%21X.jpg/90px-X.jpg", "{0}/archive/b/b0/20110101000000%21X.jpg"),
        ("https://upload.wikimedia.org/wikipedia/en/thumb/1/1f/X.jpg/200px-X.jpg",
         "https://upload.wikimedia.org/wikipedia/en/1/1f/X.jpg"),
        ("http://upload.wikimedia.org/wikinews/en/thumb/1/1f/X.jpg/200px-X.jpg",
         "http://upload.wikimedia.org/wikinews/en/1/1f/X.jpg"),
        ("https://thumb.wikimedia.org/wikipedia/commons/thumb/1/1f/X.jpg/200px-X.jpg",
         "https://upload.wikimedia.org/wikipedia/commons/1/1f/X.jpg"),
        ("https://commons.wikimedia.org/wiki/Special:FilePath/X.jpg?width=350",
         "https://commons.wikimedia.org/wiki/Special:FilePath/X.jpg"),
        ("https://commons.wikimedia.org/wiki/Special%3ARedirect/file/X%20Y.jpg?width=350",
         "https://commons.wikimedia.org/wiki/Special%3ARedirect/file/X%20Y.jpg"),
    ],
)  # fmt: skip
def test_a_thumbnail_is_tried_at_a_served_width_and_as_the_original(thumbnail, original):
    first, last = served_urls(thumbnail.format(SITE))
    assert last == original.format(SITE)
    width = int(re.search(r"(?:/(?:[^/]*-)?|width=)(\d+)(?:px-[^/]*)?$", first)[1])
    assert width in WIDTHS
    assert re.sub(r"\d+(?=px-[^/]*$)|\d+$", "", first) == re.sub(
        r"\d+(?=px-[^/]*$)|\d+$", "", thumbnail.format(SITE).partition("?utm")[0]
    )


@pytest.mark.parametrize(
    "name", ["P.pdf/page3-420px-P.pdf.jpg", "D.djvu/page1-420px-D.djvu.jpg", "T.tif/lossy-page2-420px-T.tif.jpg",
             "V.webm/420px--V.webm.jpg", "V.ogv/420px-seek%3D3-V.ogv.jpg"],
)  # fmt: skip
def test_what_is_no_picture_itself_is_tried_at_narrower_widths(name):
    found = [re.search(r"(\d+)px-[^/]*$", url)[1] for url in served_urls(f"{SITE}/thumb/a/ab/{name}")]
    assert found == ["500", "330", "250"]


@pytest.mark.parametrize(
    "url",
    [
        f"{SITE}/f/f1/X.jpg",
        f"{SITE}/f/f1/350px-X.jpg",
        "https://example.org/thumb/350px-X.jpg",
        "https://static.example.net/images/thumb/f/f1/X.jpg/350px-X.jpg/revision/latest",
        "https://commons.wikimedia.org/wiki/Special:FilePath/X.jpg",
    ],
)
def test_other_urls_stay(url):
    assert served_urls(url) == [url]


class Commons:
    """Plays Wikimedia: some widths are served, none above that of the original."""

    def __init__(self, server, name, original, thumbnail=""):
        path = f"/wikipedia/commons/a/a1/{name}"
        self.folder = server.url(f"/wikipedia/commons/thumb/a/a1/{name}")
        server.serve(path, picture(colour="red"))
        for width in range(1, 1_000):
            served = width in WIDTHS and width <= original
            server.handle(f"/wikipedia/commons/thumb/a/a1/{name}/{width}px-{name}{thumbnail}",
                          self.picture if served else self.refusal)  # fmt: skip

    async def picture(self, request):
        return web.Response(body=picture(), content_type="image/png")

    async def refusal(self, request):
        return web.Response(status=400, text="Use thumbnail sizes listed")


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


@pytest.mark.parametrize(("original", "tries"), [(2_000, 1), (400, 2)])
def test_thumbnails_are_fetched(server, tmp_path, original, tries):
    commons = Commons(server, "X.png", original)
    url = f"{commons.folder}/350px-X.png"
    report = fetch_images([("m1", url)], tmp_path, contact="you@example.org", limits=LOCAL, progress=False)
    assert (report.fetched, report.failures) == (1, [])
    assert len(server.seen) == tries
    assert PictureFolder([tmp_path]).find(url).read_bytes() == (picture() if tries == 1 else picture(colour="red"))
    record = (tmp_path / FETCHED).read_text()
    assert ("500px-X.png" in record) == (tries == 1)
    again = fetch_images([("m1", url)], tmp_path, contact="you@example.org", limits=LOCAL, progress=False)
    assert (again.kept, again.fetched) == (1, 0)


def test_a_file_that_is_gone_fails_with_what_was_tried(server, tmp_path):
    for path in ("thumb/a/a1/Gone.jpg/500px-Gone.jpg", "a/a1/Gone.jpg"):
        server.serve(f"/wikipedia/commons/{path}", status=404)
    url = server.url("/wikipedia/commons/thumb/a/a1/Gone.jpg/350px-Gone.jpg")
    report = fetch_images([("m1", url)], tmp_path, contact="you@example.org", limits=LOCAL, progress=False)
    (failure,) = report.failures
    assert (failure.url, failure.tries) == (url, 2)
    assert "500px-Gone.jpg); answers 404" in failure.reason
