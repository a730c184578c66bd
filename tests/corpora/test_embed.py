"""Pictures in a built dataset: whatever `load_picture` shows, `datasets` shows, too."""

import io
import struct
import zlib

import datasets
import pytest
from PIL import Image

from dim.common.pictures import load_picture, opens_without_help
from dim.corpora.build.embed import PictureFile, embed

BASE = Image.effect_noise((40, 30), 60).convert("RGB")


def encode(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    BASE.save(buffer, kind, **options)
    return buffer.getvalue()


def with_chunk(kind: bytes, data: bytes) -> bytes:
    png = encode("PNG")
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def with_damaged_list() -> bytes:
    content = encode("MPO", save_all=True, append_images=[BASE.rotate(90)])
    count = content.index(b"\x01\xb0\x04\x00\x01\x00\x00\x00") + 8
    return content[:count] + struct.pack("<I", 3) + content[count + 4 :]


@pytest.mark.parametrize(
    "content",
    [
        with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20))),
        with_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2 << 20))),
        with_chunk(b"eXIf", b"garbage"),
        with_damaged_list(),
    ],
)
def test_metadata_that_datasets_cannot_read_is_left_out(tmp_path, content):
    assert not opens_without_help(content)
    path = tmp_path / "picture"
    path.write_bytes(content)
    cell = embed(PictureFile("p1", "picture", path))
    assert cell["path"] == "p1.png"
    rows = datasets.Dataset.from_dict({"image": [cell]}, datasets.Features({"image": datasets.Image()}))
    assert rows[0]["image"].tobytes() == load_picture(content).tobytes()


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif")])
def test_sound_files_stay_as_they_are(tmp_path, kind, suffix):
    path = tmp_path / "picture"
    path.write_bytes(encode(kind))
    assert embed(PictureFile("p1", "picture", path)) == {"bytes": encode(kind), "path": f"p1.{suffix}"}
