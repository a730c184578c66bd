"""Atomic files, and Parquet: round trips, and repeated values that are stored once."""

import errno
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dim.common import parquet
from dim.common.files import (
    atomic_file,
    finish_folder,
    naming,
    refusal,
    remove_folder,
    reserve,
    scratch_folder,
    sha256_of,
    write_text,
)
from dim.common.jsonl import read_jsonl, write_jsonl
from dim.common.parquet import write_parquet
from dim.common.pictures import load_picture
from dim.corpora.build import embed as embed_module
from dim.corpora.build.embed import MissingPicture, PictureFile, Row, embed, with_pictures
from dim.corpora.schema import CANDIDATES, ENTITIES, FEATURES, MENTIONS
from dim.errors import PictureError


def mention(**columns) -> dict:
    row = dict.fromkeys(MENTIONS, "") | {"start": -1, "end": -1, "image": None, "region": None}
    return row | columns


def noise(size: int, seed: int) -> bytes:
    """Bytes that cannot be compressed."""
    return random.Random(seed).randbytes(size)


# ------------------------------------------------------------------------------------------------------------- Parquet


def test_rows_come_back(tmp_path):
    picture = {"bytes": b"\x00\xff" * 10, "path": "i1.jpg"}
    rows = [
        mention(id="m1", sentence="Ada met Ö'Brien.\n", mention="Ada", start=0, end=3, image=picture),
        mention(id="m2", sentence=""),
    ]
    written = write_parquet(tmp_path / "a.parquet", rows, MENTIONS)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows
    assert written.rows == 2
    assert written.size == (tmp_path / "a.parquet").stat().st_size
    assert written.sha256 == hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()
    assert written.num_bytes == pytest.approx(pq.read_table(tmp_path / "a.parquet").nbytes, rel=0.1)


def test_lists_and_nulls_come_back(tmp_path):
    pictures = [{"bytes": b"1", "path": "a"}, {"bytes": b"2", "path": "b"}]
    rows = [
        dict.fromkeys(ENTITIES) | {"id": "e1", "aliases": ["x", "y"], "images": pictures},
        dict.fromkeys(ENTITIES) | {"id": "e2", "aliases": [], "images": []},
    ]
    write_parquet(tmp_path / "a.parquet", rows, ENTITIES)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_any_text_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("texts") / "a.parquet"
    rows = [{"mention_id": text, "entity_ids": texts, "source": "x"} for text in texts]
    assert write_parquet(path, rows, CANDIDATES).rows == len(texts)
    assert pq.read_table(path).to_pylist() == rows


@pytest.mark.parametrize("config", FEATURES)
def test_the_schema_has_no_metadata(config, tmp_path):
    """`datasets` 3 cannot read the `List` type of version 5."""
    write_parquet(tmp_path / "a.parquet", [], FEATURES[config])
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.metadata is None
    assert pq.read_schema(tmp_path / "a.parquet").names == list(FEATURES[config])


def test_a_shared_picture_is_stored_once(tmp_path):
    """1,000 pictures of 15 kB, each for two mentions: more than the default dictionaries of Parquet hold."""
    pictures = [{"bytes": noise(15_000, seed), "path": "p.jpg"} for seed in range(1_000)]
    rows = [mention(id=f"m{n}", image=pictures[n // 2]) for n in range(2_000)]
    written = write_parquet(tmp_path / "a.parquet", rows, MENTIONS)
    assert 15_000_000 < written.size < 15_200_000
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows


def test_pictures_are_not_compressed_and_have_no_statistics(tmp_path):
    picture = {"bytes": b"a" * 1000, "path": "p.jpg"}
    write_parquet(tmp_path / "a.parquet", [mention(image=picture)], MENTIONS)
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    assert columns["image.bytes"].compression == "UNCOMPRESSED"
    assert columns["image.bytes"].statistics is None
    assert columns["sentence"].compression == "ZSTD"


def test_a_row_group_holds_a_bounded_number_of_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1_000)
    rows = [mention(id=f"m{n}", image={"bytes": noise(400, n), "path": "p.jpg"}) for n in range(8)]
    write_parquet(tmp_path / "a.parquet", rows, MENTIONS)
    metadata = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)] == [3, 3, 2]
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows


def test_rows_that_fail_leave_no_file_and_keep_the_old_one(tmp_path):
    def rows():
        yield mention(id="m1")
        raise KeyError("picture")

    with pytest.raises(KeyError):
        write_parquet(tmp_path / "a.parquet", rows(), MENTIONS)
    assert not (tmp_path / "a.parquet").exists()
    before = write_parquet(tmp_path / "a.parquet", [mention(id="old")], MENTIONS)
    with pytest.raises(KeyError):
        write_parquet(tmp_path / "a.parquet", rows(), MENTIONS)
    assert sha256_of(tmp_path / "a.parquet") == before.sha256


def test_text_is_utf8_with_plain_line_ends(tmp_path):
    write_text(tmp_path / "a.txt", "é\nß\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\nß\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_json_lines_come_back_whatever_they_hold(tmp_path):
    rows = [{"id": "e1", "text": "one\u2028two\nthree\x85"}, {"id": "e2", "text": "Ö"}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert [line.row for line in read_jsonl(tmp_path / "a.jsonl")] == rows
    assert "Ö".encode() in (tmp_path / "a.jsonl").read_bytes()


def test_a_finished_folder_replaces_the_earlier_one(tmp_path):
    for text in ("old", "new"):
        (tmp_path / "work" / "deep").mkdir(parents=True)
        (tmp_path / "work" / "deep" / text).write_text(text)
        finish_folder(tmp_path / "work", tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert [path.name for path in (tmp_path / "final" / "deep").iterdir()] == ["new"]


_KILLED = """
import os, signal, sys
from pathlib import Path
import dim.common.files as files

count = 0

def counted(call, last):
    def wrapper(*given, **options):
        global count
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return call(*given, **options)
    return wrapper

for point, here in enumerate(map(Path, sys.argv[1:])):
    for name in ("final", "work"):
        (here / name).mkdir(parents=True)
        for file in ("a", "b"):
            (here / name / file).write_text(name)
    child = os.fork()
    if child == 0:
        for owner, name in ((Path, "rename"), (os, "fsync"), (os, "unlink"), (os, "rmdir")):
            setattr(owner, name, counted(getattr(owner, name), point))
        {call}
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def killed(call: str, folder: Path) -> list[Path]:
    """Runs a call in processes that are killed, each at a later rename, sync or removal; their folders."""
    folders = [folder / f"{point:02d}" for point in range(16)]
    words = [sys.executable, "-c", _KILLED.replace("{call}", call), *map(str, folders)]
    codes = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert codes.index("0") == codes.count(str(int(signal.SIGKILL))) > 4  # the later ones end before that
    return folders


def folder_of(path: Path, text: str) -> Path:
    path.mkdir()
    for name in ("a", "b"):
        (path / name).write_text(text)
    return path


def content(path: Path) -> list[str]:
    return [one.read_text() for one in path.iterdir()]


def test_a_kill_at_any_point_loses_neither_folder(tmp_path):
    for here in killed("files.finish_folder(here / 'work', here / 'final')", tmp_path):
        final, work = here / "final", here / "work"
        if final.exists():
            assert content(final) in (["final"] * 2, ["work"] * 2)
        else:
            assert content(work) == ["work"] * 2
            assert content(here / ".final.replaced") == ["final"] * 2
        if not work.exists():
            folder_of(work, "work")
        finish_folder(work, final)  # as the same command does
        assert content(final) == ["work"] * 2
        assert [path.name for path in here.iterdir()] == ["final"]


def test_a_kill_leaves_a_removed_folder_complete_or_gone(tmp_path):
    for here in killed("files.remove_folder(here / 'final')", tmp_path):
        assert not (here / "final").exists() or content(here / "final") == ["final"] * 2
        remove_folder(here / "final")
        assert [path.name for path in here.iterdir() if not path.name.startswith(".")] == ["work"]


@pytest.mark.parametrize("has_call", [True, False])
def test_reserved_space_is_on_the_disk(has_call, tmp_path, monkeypatch):
    if not has_call:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    (tmp_path / "map").write_bytes(b"of an earlier run")
    reserve(tmp_path / "map", 3_000_001)
    found = (tmp_path / "map").stat()
    assert found.st_size == 3_000_001
    assert found.st_blocks * 512 >= 3_000_001
    assert (tmp_path / "map").read_bytes() == bytes(3_000_001)


@pytest.mark.parametrize("has_call", [True, False])
def test_no_space_is_an_error_before_anything_is_mapped(has_call, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    if not has_call:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    try:
        reserve(disk / "map", 100_000)
        with pytest.raises(OSError, match=r"No space left on device: '.*/large'"):
            reserve(disk / "large", 10_000_000)
        assert [path.name for path in disk.iterdir()] == ["map"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_error_at_the_last_rename_puts_the_earlier_folder_back(tmp_path, monkeypatch):
    final, work, rename = folder_of(tmp_path / "final", "old"), folder_of(tmp_path / "work", "new"), Path.rename

    def failing(self, target):
        if self == work:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        finish_folder(work, final)
    assert content(final) == ["old"] * 2


# ------------------------------------------------------------------------------------------------------------ pictures


def picture(folder, name="p.png", size=(4, 3), colour="red", **options) -> PictureFile:
    Image.new("RGB", size, colour).save(folder / name, **options)
    return PictureFile("i1", name, folder / name)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif"])
def test_common_formats_keep_their_bytes(suffix, tmp_path):
    given = picture(tmp_path, f"a.{suffix}")
    assert embed(given) == {"bytes": given.path.read_bytes(), "path": f"i1.{suffix}"}


def test_the_suffix_is_that_of_the_content(tmp_path):
    given = picture(tmp_path, "a.jpg", format="PNG")
    assert embed(given)["path"] == "i1.png"


@pytest.mark.parametrize("suffix", ["tiff", "bmp", "ppm", "avif"])
def test_other_formats_become_png_of_the_same_pixels(suffix, tmp_path):
    given = picture(tmp_path, f"a.{suffix}", colour=(200, 10, 60))
    cell = embed(given)
    assert cell["path"] == "i1.png"
    with Image.open(io.BytesIO(cell["bytes"])) as image:
        assert image.format == "PNG"
        assert image.tobytes() == load_picture(given.path).tobytes()


def test_a_picture_that_does_not_load_is_named_as_the_release_does(tmp_path):
    given = picture(tmp_path, "a.jpg", size=(640, 640))
    given.path.write_bytes(given.path.read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"^picture 'a.jpg': .*truncated"):
        embed(given)
    (tmp_path / "b.svg").write_text("<svg/>")
    with pytest.raises(PictureError, match="picture 'x/b.svg': is an SVG"):
        embed(PictureFile("i1", "x/b.svg", tmp_path / "b.svg"))
    with pytest.raises(PictureError, match="picture 'c': is in none of the folders"):
        embed(PictureFile("i1", "c", None))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    given = picture(tmp_path)
    monkeypatch.setattr("dim.corpora.build.embed.MAX_BYTES", 10)
    with pytest.raises(PictureError, match=r"has \d+ bytes, more than 10"):
        embed(given)


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "jpg"), ("a.png", "other"), ("a.bmp", "other")])
def test_a_picture_of_too_many_pixels_is_refused(name, kind, tmp_path, monkeypatch):
    given = picture(tmp_path, name, size=(40, 30))
    monkeypatch.setitem(embed_module.MAX_PIXELS, kind, 1_199)
    with pytest.raises(PictureError, match=r"has 40 x 30 pixels: 1 to 1199 are accepted"):
        embed(given)
    monkeypatch.setitem(embed_module.MAX_PIXELS, kind, 1_200)
    assert embed(given)["path"].startswith("i1.")


def test_rows_get_their_pictures_in_order(tmp_path):
    colours = ["red", "green", "blue", "white"]
    files = [picture(tmp_path, f"{n}.png", colour=colour, size=(n + 1, 9)) for n, colour in enumerate(colours)]
    files = [PictureFile(f"i{n}", file.reference, file.path) for n, file in enumerate(files)]
    broken = PictureFile("i9", "gone", None)
    order = [0, 0, 1, None, 2, "broken", "broken", 3, 0]
    rows = [
        Row({"id": n, "image": None}, () if one is None else (broken if one == "broken" else files[one],))
        for n, one in enumerate(order)
    ]
    missing: list[MissingPicture] = []
    filled = list(with_pictures(rows, missing))
    assert [row["id"] for row in filled] == list(range(9))
    paths = [row["image"] and row["image"]["path"] for row in filled]
    assert paths == ["i0.png", "i0.png", "i1.png", None, "i2.png", None, None, "i3.png", "i0.png"]
    assert missing == [MissingPicture("i9", "gone", "is in none of the folders of pictures")]
    assert filled[0]["image"] is filled[1]["image"], "loaded twice"


def test_an_entity_keeps_the_pictures_that_load(tmp_path):
    good = picture(tmp_path)
    row = Row({"id": "e1", "images": []}, (good, PictureFile("i2", "gone", None), good))
    (filled,) = with_pictures([row], [])
    assert [cell["path"] for cell in filled["images"]] == ["i1.png", "i1.png"]


def test_rows_are_loaded_only_a_few_ahead(tmp_path):
    """Memory is constant: pictures of later rows are not loaded yet."""
    file = picture(tmp_path)
    asked = []

    def rows():
        for n in range(100):
            asked.append(n)
            yield Row({"image": None}, (PictureFile(f"i{n}", file.reference, file.path),))

    filled = with_pictures(rows(), [])
    next(filled)
    assert len(asked) <= 6
    assert len(list(filled)) == 99


def test_written_pictures_decode(tmp_path):
    row = Row(mention(id="m1"), (picture(tmp_path, "a.jpg"),))
    write_parquet(tmp_path / "a.parquet", with_pictures([row], []), MENTIONS)
    rows = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"), features=MENTIONS, cache_dir=str(tmp_path))
    assert rows[0]["image"].size == (4, 3)


@pytest.mark.parametrize("make", ["folder in the way", "no folder", "file above", "full"])
def test_an_error_names_the_file_and_leaves_nothing(tmp_path, make):
    path = tmp_path / "out" / "a.txt"
    if make != "no folder":
        path.parent.mkdir()
    if make == "folder in the way":
        path.mkdir()
    if make == "file above":
        path = tmp_path / "plain" / "a.txt"
        path.parent.write_text("")

    def write() -> None:
        with atomic_file(path) as temporary:
            if make == "full":
                temporary.write_text("half")
                raise OSError(errno.ENOSPC, "No space left on device")
            temporary.write_text("whole")

    with pytest.raises(OSError) as caught:  # noqa: PT011
        write()
    assert caught.value.filename == str(path)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("LanceError(IO): Generic error: Permission denied (os error 13), /x/y.rs:3", ("Permission denied", 2)),
        ("I/O error: No space left on device (os error 28)", ("No space left on device", 1)),
        ("database or disk is full", ("database or disk is full", 1)),
        ("a bug", None),
    ],
)
def test_what_the_system_refuses_is_found_in_errors_of_libraries(text, found):
    assert refusal(RuntimeError(text)) == found


def test_space_that_is_not_there_is_refused_when_it_is_reserved(tmp_path):
    """Else a write to the map of the file would end the process without a word."""
    reserve(tmp_path / "small", 5000)
    assert (tmp_path / "small").stat().st_size == 5000
    with pytest.raises(OSError, match="large'") as raised:
        reserve(tmp_path / "large", 1 << 60)
    assert raised.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert not (tmp_path / "large").exists()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError("IOError: [Errno 28] No space left on device"),  # of Arrow, without a number
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_an_error_of_a_library_names_the_folder_and_leaves_no_temporary_one(error, tmp_path):
    temporary, final = tmp_path / ".final", tmp_path / "final"
    message = "No space left on device: .*/final'"
    with pytest.raises(OSError, match=message) as raised, scratch_folder(temporary, final):
        raise error
    assert raised.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("free, number", [(0, errno.ENOSPC), (1 << 30, errno.EIO)])
def test_a_file_that_pytorch_could_not_complete(free, number, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="/run'") as raised, naming(tmp_path / "run", tmp_path / "run"):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 9664 vs 9556")
    assert (raised.value.errno, raised.value.filename) == (number, str(tmp_path / "run"))


def test_another_error_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path / ".a", tmp_path / "a"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
