"""Pictures found on disk by what a release calls them."""

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.corpora.picture_folder import SUFFIXES, PictureFolder, is_url, url_name

PHOTOGRAPHS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "images"
UPLOAD = "https://upload.example/commons/"


def put(folder: Path, *names: str) -> list[Path]:
    """Files whose content is their path."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))
    return paths


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "reference, name",
    [
        ("images/a.jpg", "images/a.jpg"),
        ("a.jpg", "deep/er/a.jpg"),
        ("mention_image/a.jpg", "mention_images/a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        ("a.png", "a.jpg"),
        ("a.svg", "a.png"),
        ("Map.svg", "Map.svg.png"),
        ("a", "a.tiff"),
        ("a.JPG", "a.jpeg"),
        ("a.b.c.jpg", "a.b.c.WebP"),
        ("Z%C3%BCrich%20See.jpg", "Zürich See.jpg"),
        ("Z%C3%BCrich%20See.jpg", "Z%C3%BCrich%20See.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("100%.jpg", "100%.jpg"),
    ],
)
def test_paths_and_names(tmp_path, reference, name):
    (path,) = put(tmp_path, name)
    put(tmp_path, "other.jpg", "a.jpg.txt", "a.json")
    assert PictureFolder([tmp_path]).find(reference) == path


def test_every_suffix(tmp_path):
    for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES)):
        (path,) = put(tmp_path / suffix, f"12{suffix}")
        assert PictureFolder([tmp_path / suffix]).find("12.jpg") == path
        assert PictureFolder([tmp_path / suffix]).find("", ["12"]) == path


def wikidiverse_file(url: str) -> str:
    """The rule that the README of WikiDiverse gives, for the suffixes it knows."""
    last = url.split("/")[-1]
    return md5(last) + ("." + last.split(".")[-1]).replace(".svg", ".png").replace(".SVG", ".png")


@pytest.mark.parametrize(
    "url, name",
    [
        (UPLOAD + "0/06/Lions.jpg", wikidiverse_file(UPLOAD + "0/06/Lions.jpg")),
        (UPLOAD + "0/06/Map.svg", wikidiverse_file(UPLOAD + "0/06/Map.svg")),
        (UPLOAD + "0/06/Map.SVG", wikidiverse_file(UPLOAD + "0/06/Map.SVG")),
        (UPLOAD + "0/06/Wave.gif", md5("Wave.gif") + "Wave.gif"),
        (UPLOAD + "0/06/Caf%C3%A9_%281%29.jpg", md5("Caf%C3%A9_%281%29.jpg") + ".jpg"),
        (UPLOAD + "0/06/Caf%C3%A9_%281%29.jpg", md5("Café_(1).jpg") + ".jpg"),
        (UPLOAD + "0/06/Caf%C3%A9_%281%29.jpg", "Café_(1).jpg"),
        (UPLOAD + "0/06/Caf%C3%A9_%281%29.jpg", "Caf%C3%A9_%281%29.jpg"),
        (UPLOAD + "a/Lions.jpg?width=100#top", "Lions.jpg"),
        (UPLOAD + "a/Lions.jpg", url_name(UPLOAD + "a/Lions.jpg") + ".png"),
        ("HTTP://[broken/Lions.jpg", "Lions.jpg"),
    ],
)
def test_urls(tmp_path, url, name):
    (path,) = put(tmp_path, f"wikinewsImgs/{name}")
    put(tmp_path, "other.jpg")
    assert PictureFolder([tmp_path]).find(url) == path


def test_the_whole_url_goes_before_its_last_part(tmp_path):
    """Four pictures of WikiDiverse have the same last part."""
    first, second = UPLOAD + "8/8f/Warm_up.jpg", UPLOAD + "f/f1/Warm_up.jpg"
    mine, theirs = put(tmp_path, f"{url_name(first)}.jpg", wikidiverse_file(first))
    pictures = PictureFolder([tmp_path])
    assert pictures.find(first) == mine
    assert pictures.find(second) == theirs


def test_keys_come_last_and_in_order(tmp_path):
    named, by_id, by_entity = put(tmp_path, "a.jpg", "17.jpg", "Q5.jpg")
    pictures = PictureFolder([tmp_path])
    assert pictures.find("a.jpg", ["17", "Q5"]) == named
    assert pictures.find("gone.jpg", ["17", "Q5"]) == by_id
    assert pictures.find("", ["18", "Q5"]) == by_entity
    assert pictures.find("gone.jpg", ["18"]) is None


def test_nothing_is_found_by_nothing(tmp_path):
    put(tmp_path, ".jpg", "a.jpg")
    pictures = PictureFolder([tmp_path])
    for reference in ("", "/", "images/", "https://", UPLOAD):
        assert pictures.find(reference, [""]) is None


def test_only_what_was_listed_is_found(tmp_path):
    put(tmp_path, "in/a.jpg", "out/b.jpg")
    assert PictureFolder([tmp_path / "in"]).find("../out/b.jpg") is None
    assert PictureFolder([tmp_path / "in"]).find(str(tmp_path / "out/b.jpg")) is None


class TestSeveralFilesOfAName:
    def test_the_path_tells_them_apart(self, tmp_path):
        train, test, top = put(tmp_path, "img/train/1.jpg", "img/test/1.jpg", "1.jpg")
        pictures = PictureFolder([tmp_path])
        assert pictures.find("img/train/1.jpg") == train
        assert pictures.find("train/1.png") == train
        assert pictures.find("data/test/1.jpg") == test
        assert pictures.find("1.jpg") == top

    def test_the_names_of_the_given_folders_count(self, tmp_path):
        left, right = put(tmp_path, "wikimel/1.jpg", "richpedia/1.jpg")
        pictures = PictureFolder([left.parent, right.parent])
        assert pictures.find("images/richpedia/1.jpg") == right
        with pytest.raises(ValueError, match="There are two pictures '1.jpg'") as caught:
            pictures.find("1.jpg")
        assert str(left) in str(caught.value)
        assert str(right) in str(caught.value)

    def test_a_suffix_tells_them_apart(self, tmp_path):
        put(tmp_path, "1.jpg")
        (png,) = put(tmp_path, "1.PNG")
        assert PictureFolder([tmp_path]).find("1.png") == png

    @pytest.mark.parametrize("reference, keys", [("x/1.jpg", ()), ("", ["1"]), (UPLOAD + "1.jpg", ())])
    def test_no_guess(self, tmp_path, reference, keys):
        put(tmp_path, "1.jpg", "b/1.jpg")
        if reference == "x/1.jpg":
            put(tmp_path, "a/x/1.jpg", "b/x/1.jpg")
        with pytest.raises(ValueError, match="There are two pictures .* with different content"):
            PictureFolder([tmp_path]).find(reference, keys)

    def test_equal_files_are_one(self, tmp_path):
        for folder in ("b", "a"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "1.jpg").write_bytes(b"same")
        assert PictureFolder([tmp_path]).find("1.jpg") == tmp_path / "a/1.jpg"
        (tmp_path / "b/1.jpg").write_bytes(b"sane")  # as long and as old as the other
        for folder in ("a", "b"):
            os.utime(tmp_path / folder / "1.jpg", (0, 0))
        with pytest.raises(ValueError, match="There are two pictures"):
            PictureFolder([tmp_path]).find("1.jpg")

    def test_a_folder_given_twice(self, tmp_path):
        (path,) = put(tmp_path, "a/1.jpg")
        assert PictureFolder([tmp_path, tmp_path / "a"]).find("1.jpg") == path


def test_links_are_followed_once(tmp_path):
    (path,) = put(tmp_path, "elsewhere/1.jpg")
    (tmp_path / "given").mkdir()
    (tmp_path / "given/link").symlink_to(path.parent)
    (path.parent / "back").symlink_to(tmp_path / "given")
    pictures = PictureFolder([tmp_path / "given"])
    assert len(pictures) == 1
    assert pictures.find("1.jpg") == tmp_path / "given/link/1.jpg"


def test_folders_without_pictures(tmp_path):
    put(tmp_path, "a/1.jpg", "b/1.txt")
    with pytest.raises(ValueError, match="There is no folder of pictures .*nowhere"):
        PictureFolder([tmp_path / "a", tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="There is no folder of pictures .*1.jpg"):
        PictureFolder([tmp_path / "a/1.jpg"])
    with pytest.raises(ValueError, match="b has no pictures"):
        PictureFolder([tmp_path / "a", tmp_path / "b"])


def test_urls_are_known_by_their_scheme():
    assert [is_url(text) for text in ("https://a/b", "HTTP://a/b", "a/http://b", "file:///b", "//a/b")] == [
        *(True, True),
        *(False, False, False),
    ]


PIECES = [
    "one",
    "on",
    "e",
    "a",
    "/",
    "\\",
    ".jpg",
    ".",
    "..",
    "%20",
    "%",
    "?",
    "#",
    "[",
    "https://",
    " ",
    "é",
    "\ud800",
]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
@settings(max_examples=200, deadline=None)
def test_whatever_a_release_calls_it(tmp_path_factory, reference):
    """No name from the data breaks the search, or finds what it does not name."""
    folder = tmp_path_factory.getbasetemp() / "whatever"
    put(folder, "one.jpg")
    found = PictureFolder([folder]).find(reference)
    assert found is None or "one" in reference


@pytest.mark.real_data
@pytest.mark.parametrize("folder, count", [("wikimel", 45), ("richpedia", 9)])
def test_every_real_photograph_is_found_by_its_id(folder, count):
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"no photographs at {PHOTOGRAPHS}")
    pictures = PictureFolder([PHOTOGRAPHS])
    paths = sorted((PHOTOGRAPHS / folder).iterdir())
    assert len(paths) == count
    for path in paths:
        assert pictures.find("", [path.stem]) == path
        assert pictures.find(f"{folder}/{path.name}") == path


@pytest.mark.slow
def test_two_hundred_thousand_files(tmp_path):
    for part in range(200):
        (tmp_path / str(part)).mkdir()
        for number in range(1000):
            os.close(os.open(tmp_path / str(part) / f"{part}-{number}.jpg", os.O_CREAT))
    start = time.perf_counter()
    pictures = PictureFolder([tmp_path])
    assert len(pictures) == 200_000
    assert time.perf_counter() - start < 10
    start = time.perf_counter()
    for number in range(10_000):
        assert pictures.find(f"images/{number % 200}-{number % 1000}.png") is not None
    assert time.perf_counter() - start < 5
