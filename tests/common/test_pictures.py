"""Pictures of every kind, and every kind of missing or invalid picture."""

import doctest
import importlib
import io
import os
import re
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from handmade_png import png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile, ImageOps

from dim.common.pictures import load_picture
from dim.common.unreadable_pictures import UnreadablePictures
from dim.errors import PictureError

PHOTOGRAPHS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "images"
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """Return the file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(picture: Image.Image) -> list:
    """Return rows of RGB lists."""
    assert picture.mode == "RGB"
    return np.asarray(picture).tolist()


@pytest.fixture
def stripes() -> Image.Image:
    """Two rows of three pixels, all six different."""
    return Image.fromarray(np.arange(0, 180, 10, dtype=np.uint8).reshape(2, 3, 3))


class TestSources:
    def test_all_sources_give_the_same_picture(self, stripes, tmp_path):
        content = encode(stripes)
        path = tmp_path / "stripes.png"
        path.write_bytes(content)
        sources = [path, str(path), content, stripes, Image.open(path)]
        sources += [{"bytes": content, "path": None}, {"bytes": content, "path": "gone.png"}]
        sources += [{"bytes": None, "path": str(path)}, {"path": str(path)}, {"bytes": content}]
        for source in sources:
            assert pixels(load_picture(source)) == pixels(stripes)

    def test_what_datasets_holds_of_an_undecoded_image(self, stripes, tmp_path):
        import datasets

        path = tmp_path / "stripes.png"
        path.write_bytes(encode(stripes))
        feature = datasets.Features({"image": datasets.Image(decode=False)})
        table = datasets.Dataset.from_dict({"image": [str(path), {"bytes": path.read_bytes(), "path": None}]}, feature)
        for row in table:
            assert pixels(load_picture(row["image"])) == pixels(stripes)

    def test_the_result_is_a_copy_and_the_source_unchanged(self, stripes):
        before = pixels(stripes)
        load_picture(stripes).putpixel((0, 0), RED)
        assert pixels(stripes) == before

    def test_no_file_stays_open(self, stripes, tmp_path):
        path = tmp_path / "stripes.png"
        path.write_bytes(encode(stripes))
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            picture = load_picture(path)
        path.unlink()
        assert pixels(picture) == pixels(stripes)


class TestColours:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    def test_exif_orientation_is_applied_once(self, stripes, kind, orientation):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        content = encode(stripes, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
        upright = load_picture(content)
        expected = {
            1: lambda a: a,
            2: np.fliplr,
            3: lambda a: np.rot90(a, 2),
            4: np.flipud,
            5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a, -1),
            7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
            8: np.rot90,
        }[orientation](np.asarray(stripes))
        assert np.array_equal(np.asarray(upright), expected)
        assert upright.info == {}
        assert pixels(ImageOps.exif_transpose(upright)) == pixels(upright)
        assert pixels(load_picture(upright)) == pixels(upright)

    def test_an_orientation_out_of_range_is_none(self, stripes):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 9
        assert pixels(load_picture(encode(stripes, exif=exif))) == pixels(stripes)

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa"])
    def test_alpha_is_laid_over_the_background(self, mode):
        image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
        image.putpixel((1, 0), (0, 0, 0, 255))
        if mode == "PA":  # Pillow's own conversion to it loses the alpha
            alpha, image = image.getchannel("A"), Image.new("P", (2, 1))
            image.putpalette([0, 0, 0])
            image.putalpha(alpha)
        image = image.convert(mode)
        assert pixels(load_picture(image)) == [[[255, 255, 255], [0, 0, 0]]]
        assert pixels(load_picture(image, background=GREEN)) == [[[0, 128, 0], [0, 0, 0]]]

    def test_half_clear_is_half_background(self):
        assert pixels(load_picture(Image.new("RGBA", (1, 1), (255, 0, 0, 51)), background=BLUE)) == [[[51, 0, 204]]]

    def test_palettes(self):
        image = Image.new("P", (3, 1))
        image.putpalette([*RED, *GREEN, *BLUE])
        image.putdata([0, 1, 2])
        assert pixels(load_picture(encode(image))) == [[[*RED], [*GREEN], [*BLUE]]]
        assert pixels(load_picture(encode(image, transparency=1))) == [[[*RED], [*WHITE], [*BLUE]]]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of a palette with alpha that is converted without it
            assert pixels(load_picture(encode(image, transparency=b"\xff\x00\x33"))) == [
                [[*RED], [*WHITE], [204, 204, 255]]
            ]
        assert pixels(load_picture(encode(image, "GIF", transparency=2))) == [[[*RED], [*GREEN], [*WHITE]]]

    def test_a_transparent_colour_of_grey_and_rgb(self):
        grey, rgb = Image.new("L", (1, 1), 7), Image.new("RGB", (1, 1), RED)
        assert pixels(load_picture(encode(grey, transparency=7), background=BLUE)) == [[[*BLUE]]]
        assert pixels(load_picture(encode(rgb, transparency=RED), background=BLUE)) == [[[*BLUE]]]

    def test_black_and_white_and_grey(self):
        assert pixels(load_picture(Image.new("1", (1, 1), 1))) == [[[255, 255, 255]]]
        assert pixels(load_picture(Image.new("L", (1, 1), 100))) == [[[100, 100, 100]]]

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk(self, kind):
        image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow print red
        assert np.abs(np.asarray(load_picture(encode(image, kind)), dtype=int) - RED).max() <= 2

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "pixels"])
    def test_16_bit_grey_is_scaled_not_cut(self, kind):
        image = Image.fromarray(np.array([[0, 257, 32768, 65535]], dtype=np.uint16))
        source = image if kind == "pixels" else encode(image, kind)
        assert [p[0] for p in pixels(load_picture(source))[0]] == [0, 1, 128, 255]

    def test_16_bit_grey_with_a_transparent_value(self):
        image = Image.fromarray(np.array([[300, 301]], dtype=np.uint16))
        assert pixels(load_picture(encode(image, transparency=300), background=BLUE)) == [[[*BLUE], [1, 1, 1]]]

    def test_16_bit_colour(self):
        rows = b"\0" + struct.pack(">8H", 65535, 0, 0, 65535, 0, 0, 0, 0)
        assert pixels(load_picture(png(6, 16, (2, 1), rows))) == [[[*RED], [*WHITE]]]

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_an_animation_gives_its_first_frame(self, kind):
        frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert Image.open(io.BytesIO(content)).n_frames == 3
        assert load_picture(content).getpixel((4, 4)) == RED

    def test_lab_has_no_agreed_conversion(self):
        with pytest.raises(PictureError, match="'<bytes>': has the colour mode LAB, .*convert it first"):
            load_picture(encode(Image.new("LAB", (1, 1)), "TIFF"))

    @pytest.mark.parametrize("top", [1, 255, 65535])
    def test_floating_point_grey_is_scaled_by_the_range_that_holds_it(self, top):
        image = Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32) * top)
        for source in (image, encode(image, "TIFF")):
            assert [p[0] for p in pixels(load_picture(source))[0]] == [0, 128, 255]

    @pytest.mark.parametrize("value", [-0.5, 65536.0, float("nan"), float("inf")])
    def test_floating_point_grey_out_of_range(self, value):
        with pytest.raises(PictureError, match=r"has values .*: give values in 0\.\.1, 0\.\.255, 0\.\.65535$"):
            load_picture(Image.fromarray(np.full((1, 1), value, dtype=np.float32)))

    @pytest.mark.parametrize("value", [-1, 65536])
    def test_grey_beyond_16_bits(self, value):
        with pytest.raises(PictureError, match=rf"grey values {value}\.\.{value} do not fit 16 bits"):
            load_picture(Image.fromarray(np.full((1, 1), value, dtype=np.int32)))


class TestErrors:
    @pytest.mark.parametrize("as_source", [str, Path, lambda path: {"bytes": None, "path": str(path)}])
    def test_no_file_at_the_path(self, tmp_path, as_source):
        missing, empty, text = tmp_path / "missing.jpg", tmp_path / "empty.jpg", tmp_path / "text.jpg"
        empty.touch()
        text.write_text("not a picture")
        for path, message in [
            (missing, "there is no such file"),
            (tmp_path, "is a directory"),
            (empty, "is empty"),
            (text, "is not a picture"),
            (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        ]:
            with pytest.raises(PictureError) as caught:
                load_picture(as_source(path))
            assert str(caught.value).startswith(f"picture '{path}': {message}")
            assert "\n" not in str(caught.value)

    def test_devices_and_pipes_are_not_opened(self):
        with pytest.raises(PictureError, match="is not a regular file"):
            load_picture(os.devnull)

    @pytest.mark.parametrize(
        "source",
        [
            "https://a.org/b.jpg",
            "HTTP://a.org/b.jpg",
            Path("https://a.org/b.jpg"),
            "hf://datasets/a/b.jpg",
            "data:image/png;base64,iVBORw0KGgo=",
            {"bytes": None, "path": "https://a.org/b.jpg"},
        ],
    )
    def test_urls(self, source):
        with pytest.raises(PictureError, match="is a URL: download it first"):
            load_picture(source)

    @pytest.mark.parametrize("source", [None, 3, ["a.jpg"], {}, {"bytes": None}, {"bytes": "x"}])
    def test_wrong_types(self, source):
        with pytest.raises(PictureError, match=f"'<{type(source).__name__}>': is not a path, bytes, PIL image or"):
            load_picture(source)

    def test_names_of_bytes(self):
        with pytest.raises(PictureError, match="picture '<bytes>': is empty"):
            load_picture(b"")
        with pytest.raises(PictureError, match=r"picture 'a\.png': is empty"):
            load_picture({"bytes": b"", "path": "a.png"})

    @pytest.mark.parametrize(
        "content", [b"hello", b"\0" * 100, b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1"]
    )
    def test_not_a_picture(self, content):
        with pytest.raises(PictureError, match="'<bytes>': is not a picture, or its header is damaged"):
            load_picture(content)

    @pytest.mark.parametrize("content", [b'<svg xmlns="x"/>', b'<?xml version="1.0"?>\n<!-- a -->\n<SVG width="1"/>'])
    def test_svg(self, content):
        with pytest.raises(PictureError, match="is an SVG drawing: convert it to PNG"):
            load_picture(content)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF"])
    def test_truncated(self, kind):
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        content = encode(noise, kind)
        load_picture(content)
        with pytest.raises(PictureError, match="'<bytes>': is "):
            load_picture(content[: len(content) // 2])

    def test_damaged(self):
        content = bytearray(encode(Image.effect_noise((64, 64), 50)))
        content[len(content) // 2] ^= 255
        with pytest.raises(PictureError, match="is truncated or damaged"):
            load_picture(bytes(content))

    def test_a_closed_image(self, stripes, tmp_path):
        stripes.save(tmp_path / "a.png")
        image = Image.open(tmp_path / "a.png")
        image.close()
        with pytest.raises(PictureError, match=r"a\.png': is truncated or damaged"):
            load_picture(image)

    def test_the_message_is_one_line_whatever_the_name_or_pillow_holds(self, stripes, monkeypatch):
        with pytest.raises(PictureError, match="there is no such file") as caught:
            load_picture("a\nb.jpg")
        assert "\n" not in str(caught.value)

        def load(self):
            raise OSError("broken\ndata")

        monkeypatch.setattr(ImageFile.ImageFile, "load", load)
        with pytest.raises(PictureError, match="is truncated or damaged: broken data"):
            load_picture(encode(stripes))


class TestSize:
    def test_too_many_pixels(self, stripes):
        assert load_picture(encode(stripes), max_pixels=6).size == (3, 2)
        with pytest.raises(PictureError, match=r"has 3 x 2 pixels: 1 to 5 are accepted \(max_pixels\)"):
            load_picture(encode(stripes), max_pixels=5)
        with pytest.raises(PictureError, match="has 3 x 2 pixels"):
            load_picture(stripes, max_pixels=5)

    def test_the_size_is_refused_before_anything_is_decoded(self, monkeypatch):
        bomb = png(2, 8, (9000, 9000), b"")  # 81 million pixels in 70 bytes
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
        with pytest.raises(PictureError, match="has 9000 x 9000 pixels: 1 to 80000000"):
            load_picture(bomb)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_beyond_what_pillow_itself_refuses_the_reason_is_ours(self):
        with pytest.raises(PictureError, match=r"has more than 80000000 pixels: 1 to 80000000 are accepted \(max_pix"):
            load_picture(png(2, 8, (20_000, 20_000), b""))
        with pytest.raises(PictureError, match=r"has 20000 x 20000 pixels: 1 to 300000000 are accepted"):
            load_picture(png(2, 8, (20_000, 20_000), b""), max_pixels=300_000_000)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"])
    def test_the_users_limit_is_the_only_one(self, monkeypatch, kind):
        """Pillow's own limit is far below the size of the picture."""
        frames = [Image.effect_noise((30, 20), 50).convert("P" if kind == "GIF" else "RGB") for _ in range(2)]
        animated = {"save_all": True, "append_images": frames[1:], "disposal": 2} if kind == "GIF" else {}
        content = encode(frames[0], kind, **animated)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_picture(content, max_pixels=600).size == (30, 20)
            with pytest.raises(PictureError, match="1 to 599 are accepted"):
                load_picture(content, max_pixels=599)
            with pytest.raises(PictureError, match="1 to 20 are accepted") as caught:
                load_picture(content, max_pixels=20)
        assert caught.value.reason == "too large"
        assert Image.MAX_IMAGE_PIXELS == 20

    def test_limits_of_several_threads_do_not_get_in_each_others_way(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        small, large = encode(Image.effect_noise((30, 20), 50)), encode(Image.effect_noise((300, 200), 50))

        def load(number: int) -> bool:
            picture = load_picture(large, max_pixels=60_000) if number % 2 else load_picture(small, max_pixels=600)
            return picture.size == ((300, 200) if number % 2 else (30, 20))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(load, range(400)))
        assert Image.MAX_IMAGE_PIXELS == 20

    def test_a_part_that_claims_more_than_the_whole_is_refused(self):
        """A GIF of one pixel whose frame claims 65,535 x 65,535 pixels, and would need that memory."""
        content = bytearray(encode(Image.new("P", (1, 1)), "GIF", disposal=2))
        place = content.index(b",\0\0\0\0\1\0\1\0")
        content[place + 5 : place + 9] = b"\xff\xff\xff\xff"
        for limit in (80_000_000, 500_000_000):
            with pytest.raises(PictureError, match="more than|has 65535 x 65535") as caught:
                load_picture(bytes(content), max_pixels=limit)
            assert caught.value.reason == "too large"

    @pytest.mark.slow
    def test_a_real_picture_of_400_million_pixels(self):
        content = encode(Image.new("L", (20_000, 20_000), 7))
        with pytest.raises(PictureError, match="1 to 80000000 are accepted"):
            load_picture(content)
        picture = load_picture(content, max_pixels=400_000_000)
        assert (picture.size, picture.getpixel((19_999, 19_999))) == ((20_000, 20_000), (7, 7, 7))

    def test_an_image_without_pixels(self):
        with pytest.raises(PictureError, match="'<PIL image>': has 0 x 5 pixels"):
            load_picture(Image.new("RGB", (0, 5)))

    def test_pillows_settings_stay_as_they_are(self, stripes):
        before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters[:])
        load_picture(encode(stripes), max_pixels=10**9)
        assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters) == before

    @pytest.mark.parametrize("background", [(1, 2), (0, 0, 256), (0.5, 0, 0), (0, 0, -1)])
    def test_a_wrong_background_is_no_fault_of_the_picture(self, stripes, background):
        with pytest.raises(ValueError, match="background is") as caught:
            load_picture(stripes, background=background)
        assert not isinstance(caught.value, PictureError)

    def test_max_pixels_below_1(self, stripes):
        with pytest.raises(ValueError, match="max_pixels is 0"):
            load_picture(stripes, max_pixels=0)


class TestUnreadablePictures:
    def test_every_fault_has_its_reason(self, tmp_path):
        noise = encode(Image.effect_noise((64, 64), 50))
        sources = {
            "missing": tmp_path / "gone.png",
            "directory": tmp_path,
            "URL": "https://a.org/b.png",
            "not a regular file": os.devnull,
            "unreadable file": tmp_path / ("x" * 300),
            "empty": b"",
            "SVG": b"<svg/>",
            "not a picture": b"hello",
            "damaged": noise[: len(noise) // 2],
            "too large": png(2, 8, (9000, 9000), b""),
            "no pixels": Image.new("RGB", (0, 5)),
            "unknown colour mode": Image.new("LAB", (1, 1)),
            "not a picture source": 3,
        }
        unreadable = UnreadablePictures()
        assert [unreadable.load(source, reason) for reason, source in sources.items()] == [None] * len(sources)
        assert unreadable.found == {reason: [reason] for reason in sources}
        assert unreadable.load(noise, "sound").size == (64, 64)
        assert len(unreadable) == len(sources)

    def test_one_warning_counts_all_and_names_the_first(self, caplog):
        unreadable, other = UnreadablePictures(), UnreadablePictures()
        for number in range(2000):
            other.load(b"", f"m{number}")
        unreadable.load("nowhere.png", None)
        unreadable.update(other)
        expected = (
            r"^2,001 pictures cannot be read and are left out: 2,000 empty \(m0, m1, m2, \.\.\.\), "
            r"1 missing \(picture 'nowhere.png'\)$"
        )
        unreadable.warn()
        UnreadablePictures().warn()
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert re.fullmatch(expected, record.getMessage())


def _files() -> list[bytes]:
    """Small files of all supported formats, and of two unsupported ones."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    kinds = ["PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"]
    files = [
        encode(noise, "JPEG", exif=exif),
        encode(noise.convert("CMYK"), "JPEG"),
        *(encode(noise, k) for k in kinds),
    ]
    files += [
        encode(noise.convert("P"), "PNG"),
        encode(noise.convert("RGBA"), "PNG"),
        b"<svg/>",
        b"%!PS-Adobe-3.0 EPSF",
    ]
    files.append(encode(Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7))))
    return [*files, encode(noise, "GIF", save_all=True, append_images=[noise.rotate(90)])]


FILES = _files()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged TIFF and EXIF data
@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_give_a_picture_or_one_line(data):
    """Files with changed, removed, inserted or joined bytes raise only a `PictureError`."""
    content = bytearray(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content)))
        change = data.draw(st.sampled_from(["set", "cut", "insert", "drop", "join"]))
        if change == "set" and place < len(content):
            content[place] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del content[place:]
        elif change == "insert":
            content[place:place] = data.draw(st.binary(max_size=8))
        elif change == "drop":
            del content[place : place + data.draw(st.integers(1, 8))]
        elif change == "join":
            content += data.draw(st.sampled_from(FILES))[place:]
    try:
        found = load_picture(bytes(content), max_pixels=1_000_000)
    except PictureError as error:
        found = str(error)
    if isinstance(found, str):
        assert found.startswith("picture '<bytes>': ")
        assert "\n" not in found
    else:
        assert found.mode == "RGB"
        assert 1 <= found.width * found.height <= 1_000_000


@pytest.mark.real_data
def test_every_real_photograph():
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"no photographs at {PHOTOGRAPHS}")
    paths = sorted(PHOTOGRAPHS.rglob("*.jpg"))
    assert paths
    for path in paths:
        with Image.open(path) as image:
            size = ImageOps.exif_transpose(image).size
        picture = load_picture(path)
        assert (picture.mode, picture.size) == ("RGB", size), path


def test_docstring_examples():
    results = doctest.testmod(importlib.import_module("dim.common.pictures"))
    assert results.attempted >= 3
    assert results.failed == 0
