"""Pictures whose metadata is large, damaged or costly show their pixels, upright."""

import doctest
import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

import dim.picture_metadata_dim as picture_metadata
from dim.common.pictures import load_picture
from dim.errors import PictureError

BASE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize((90, 60))
EXIF = Image.Exif()
EXIF[0x0112] = 6
BOMB = zlib.compress(bytes(2 << 20))

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged EXIF data


def encode(image: Image.Image = BASE, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def riff(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def riff_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at < len(content):
        kind, length = struct.unpack("<4sI", content[at : at + 8])
        found.append((kind, content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


PNG, JPEG, GIF = encode(), encode(kind="JPEG"), encode(BASE.quantize(256), "GIF")
PNG_CHUNKS = {
    "a long compressed text": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "a long plain text": chunk(b"tEXt", b"Comment\0" + bytes(2 << 20)),
    "a long XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "a long EXIF as text": chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    "a long colour profile": chunk(b"iCCP", b"icc\0\0" + BOMB),
    "a hundred texts": chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(1_000_000))) * 100,
    "many XMPs": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1_000_000))) * 100,
    "an unknown compression": chunk(b"iCCP", b"icc\0\5" + BOMB),
    "an empty colour profile": chunk(b"iCCP", b""),
    "a text with a wrong checksum": chunk(b"tEXt", b"Comment\0hello", 1),
    "a transparency with a wrong checksum": chunk(b"tRNS", bytes(6), 1),
    "a short transparency": chunk(b"tRNS", b"\0"),
    "a short resolution": chunk(b"pHYs", b"\0"),
    "a short gamma": chunk(b"gAMA", b"\0"),
    "short chromaticities": chunk(b"cHRM", b"\0"),
    "an empty sRGB": chunk(b"sRGB", b""),
    "garbage as EXIF": chunk(b"eXIf", b"garbage"),
    "a cut EXIF": chunk(b"eXIf", EXIF.tobytes()[6:20]),
    "garbage as an EXIF text": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"garbage")),
    "a short animation": chunk(b"acTL", b"\0"),
    "an animation without frames": chunk(b"acTL", struct.pack(">II", 5, 0)),
    "a short frame": chunk(b"fcTL", b"\0"),
}
JPEG_SEGMENTS = {
    "garbage as EXIF": segment(0xE1, b"Exif\0\0garbage"),
    "a cut EXIF": segment(0xE1, EXIF.tobytes()[:20]),
    "garbage as MPF": segment(0xE2, b"MPF\0garbage"),
    "a short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "one of five parts of a profile": segment(0xE2, b"ICC_PROFILE\0\1\5garbage"),
    "a short JFIF": segment(0xE0, b"JFIF\0"),
    "a short Adobe": segment(0xEE, b"Adobe"),
    "a short Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x04"),
    "an odd XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='zz'/>"),
    "a reset between segments": b"\xff\x01",
    "stray bytes between segments": segment(0xFE, b"") + b"\0\0\0",
    "10 MB of comments": segment(0xFE, bytes(50_000)) * 200,
}


def same(content: bytes, expected: bytes) -> bool:
    return load_picture(content).tobytes() == load_picture(expected).tobytes()


@pytest.mark.parametrize("name", PNG_CHUNKS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_png_with_any_metadata_shows_its_picture(name, place):
    at = 33 if place == "before" else len(PNG) - 12
    assert same(PNG[:at] + PNG_CHUNKS[name] + PNG[at:], PNG)


@pytest.mark.parametrize("name", JPEG_SEGMENTS)
def test_jpeg_with_any_metadata_shows_its_picture(name):
    assert same(JPEG[:2] + JPEG_SEGMENTS[name] + JPEG[2:], JPEG)


def test_jpeg_with_a_damaged_list_of_further_pictures():
    content = encode(kind="MPO", save_all=True, append_images=[BASE.rotate(90)])
    count, entries = content.find(b"\x01\xb0\x04\x00\x01\x00\x00\x00"), content.find(b"\x02\xb0\x07\x00")
    assert count > 0
    assert entries > 0
    assert same(content, JPEG)
    for number in (0, 1, 3, 2**31):
        assert same(content[: count + 8] + struct.pack("<I", number) + content[count + 12 :], JPEG)
    for size in (0, 16, 2**31):
        assert same(content[: entries + 4] + struct.pack("<I", size) + content[entries + 8 :], JPEG)
    assert same(content[: len(content) * 2 // 3], JPEG)  # the second picture is cut


def test_colours_of_jpegs_stay_the_same():
    """Colour spaces depend on the segments that stay: JFIF, Adobe, component names."""
    cmyk, noise = BASE.convert("CMYK"), Image.effect_noise((33, 17), 90)
    for image, options in [
        (BASE, {"progressive": True}), (BASE, {"subsampling": 0, "keep_rgb": True}), (cmyk, {}), (noise, {}),
        (BASE, {"restart_marker_blocks": 1}), (BASE, {"icc_profile": bytes(200_000), "comment": b"x" * 60_000}),
    ]:  # fmt: skip
        content = encode(image, "JPEG", **options)
        assert load_picture(content).tobytes() == Image.open(io.BytesIO(content)).convert("RGB").tobytes()


GIF_EXTENSIONS = {
    "a long comment": b"!\xfe" + (b"\xff" + bytes(255)) * 20_000 + b"\0",
    "a loop without a count": b"!\xff\x0bNETSCAPE2.0\0",
    "an empty application": b"!\xff\0",
    "a short control": b"!\xf9\x01\0\0",
    "a text": b"!\x01\0",
}


@pytest.mark.parametrize("name", GIF_EXTENSIONS)
def test_gif_with_any_extension_shows_its_picture(name):
    at = 13 + (3 << ((GIF[10] & 7) + 1))
    assert GIF[at : at + 1] in (b"!", b",")
    assert same(GIF[:at] + GIF_EXTENSIONS[name] + GIF[at:], GIF)


def test_webp_with_any_metadata_shows_its_picture():
    plain = encode(kind="WEBP", lossless=True)
    full = encode(kind="WEBP", lossless=True, icc_profile=bytes(100), exif=EXIF, xmp=b"<x/>")
    chunks = riff_chunks(full)
    assert [kind for kind, _ in chunks] == [b"VP8X", b"ICCP", b"VP8L", b"EXIF", b"XMP "]
    upright = load_picture(plain).transpose(Image.Transpose.ROTATE_270)
    assert load_picture(full).tobytes() == upright.tobytes()
    for kind in (b"ICCP", b"XMP "):
        assert load_picture(riff([one for one in chunks if one[0] != kind])).tobytes() == upright.tobytes()
    for content in (
        riff([one for one in chunks if one[0] != b"EXIF"]),
        riff([(kind, b"garbage" if kind == b"EXIF" else data) for kind, data in chunks]),
        riff([(kind, bytes(5 << 20) if kind == b"EXIF" else data) for kind, data in chunks]),
        riff([one for one in chunks if one[0] != b"XMP "])[:-20],
        full.replace(b"EXIF" + struct.pack("<I", len(dict(chunks)[b"EXIF"])), b"EXIF\xff\xff\xff\x7f"),
    ):
        assert same(content, plain)
    animated = encode(kind="WEBP", lossless=True, save_all=True, append_images=[BASE.rotate(90)])
    assert same(animated[:-100], plain)  # the second frame is cut


@pytest.mark.parametrize("kind", [None, "tiff_lzw", "jpeg", "big-endian"])
def test_tiff_with_any_damaged_tag_shows_its_picture(kind):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[305], tags[700], tags[34675] = "description", "software", b"<xmp/>", bytes(50)
    if kind == "big-endian":
        content = encode(Image.new("I;16B", (90, 60), 40_000), "TIFF", tiffinfo=tags, exif=EXIF)
    else:
        content = encode(kind="TIFF", tiffinfo=tags, exif=EXIF, compression=kind)
    mark = content[:2]
    assert mark == (b"MM" if kind == "big-endian" else b"II")
    order = "<" if mark == b"II" else ">"
    expected = load_picture(content).tobytes()
    start = struct.unpack(f"{order}I", content[4:8])[0]
    count = struct.unpack(f"{order}H", content[start : start + 2])[0]
    damaged = 0
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, form, number, place = struct.unpack(f"{order}HHII", content[at : at + 12])
        if tag not in (270, 305, 700, 34665, 34675, 282, 283, 296):
            continue
        for entry in ((99, number, place), (form, 2**32 - 1, place), (form, 100, 2**31), (form, 0, 0), (12, 1, place)):
            other = content[:at] + struct.pack(f"{order}HHII", tag, *entry) + content[at + 12 :]
            assert load_picture(other).tobytes() == expected
            damaged += 1
    assert damaged >= 10


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
@pytest.mark.parametrize(("side", "message"), [(16, None), (16_384, "tiles of 16384 x 16384 pixels are larger than")])
def test_tiles_much_larger_than_a_tiff_are_refused(compression, side, message):
    tags = {256: 1, 257: 1, 258: 8, 259: compression, 262: 1, 277: 1, 322: side, 323: side, 324: 200, 325: 256}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(200, b"\0") + bytes(256)
    if compression == 1 and message is None:
        assert load_picture(content).size == (1, 1)
    else:
        with pytest.raises(PictureError, match=message or "is truncated or damaged"):
            load_picture(content)


def test_orientation_is_found_wherever_pillow_finds_it():
    turned = load_picture(PNG).transpose(Image.Transpose.ROTATE_270).tobytes()
    raw = EXIF.tobytes()
    for one in (
        chunk(b"eXIf", raw[6:]),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n      %d\n" % len(raw) + raw.hex().encode() + b"\n"),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b'<x tiff:Orientation="6"/>')),
    ):
        assert load_picture(PNG[:33] + one + PNG[33:]).tobytes() == turned
        assert load_picture(PNG[:-12] + one + PNG[-12:]).tobytes() == turned
    for data in (raw, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'):
        picture = load_picture(JPEG[:2] + segment(0xE1, data) + JPEG[2:])
        assert picture.tobytes() == load_picture(JPEG).transpose(Image.Transpose.ROTATE_270).tobytes()


def test_transparency_stays():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    assert load_picture(encode(image, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "content",
    [
        JPEG[:2] + segment(0xFE, b"") * 1_000_000 + JPEG[2:],
        PNG[:33] + chunk(b"prVt", b"") * 1_000_000 + PNG[33:],
        GIF[: 13 + 768] + b"!\xfe" + b"\1x" * 4_000_000 + b"\0" + GIF[13 + 768 :],
    ],
    ids=["JPEG", "PNG", "GIF"],
)
def test_a_million_blocks_are_refused_at_once(content):
    start = time.perf_counter()
    with pytest.raises(PictureError, match="is damaged in its header: more than 100,000 short blocks"):
        load_picture(content)
    assert time.perf_counter() - start < 2


def test_metadata_takes_no_memory():
    content = PNG[:33] + chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(50_000_000))) * 20 + PNG[33:]
    load_picture(content)
    tracemalloc.start()
    load_picture(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_docstring_examples():
    results = doctest.testmod(picture_metadata)
    assert results.attempted >= 4
    assert results.failed == 0
