"""Loading of pictures: any supported file becomes an upright RGB image, or raises one clear error."""

import io
import re
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from dim.errors import DIMError, PictureError

PictureSource = str | Path | bytes | Image.Image | Mapping[str, Any]

MAX_PIXELS = 80_000_000  # 240 MB as RGB; above the largest cameras, below the size at which Pillow begins to warn
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")  # EPS and others start programs

_PLAIN_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBA", "RGBa"}
_GREY_16_MODES = {"I;16", "I;16B", "I;16L", "I;16N", "I"}
_UPRIGHT = {  # EXIF orientation -> transposition to upright; 1 is upright (EXIF 2.32, tag 0x0112)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+:/|data:)", re.IGNORECASE)  # `Path` turns http://x into http:/x
_DECODE_ERRORS = (  # what Pillow's decoders raise on bad data
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error),
)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # the latter where warnings are errors
_TOO_MANY = "too large"


def load_picture(
    source: PictureSource,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Load a picture as a new RGB image: upright, opaque, 8 bits, without metadata.

    The EXIF orientation is applied and then dropped, transparency is laid over `background`, 16-bit grey is scaled (not
    clipped) to 8 bits, CMYK is converted without its colour profile, and an animation gives its first frame.

    Args:
        source (`str`, `Path`, `bytes`, `PIL.Image.Image` or `Mapping`): a file, its content, an opened image (its
            current frame; it is not changed), or an undecoded image of `datasets`: `{"bytes": ..., "path": ...}`.
        background (`tuple[int, int, int]`): RGB colour in 0..255 under transparent pixels.
        max_pixels (`int`): refuse larger pictures before they are decoded. It replaces Pillow's own limit,
            `MAX_IMAGE_PIXELS`.

    Returns:
        `PIL.Image.Image`: mode RGB, in memory; no file stays open.

    Raises:
        PictureError: for a missing, empty, truncated, unknown or too large file, a directory, a URL, an SVG, a colour
            mode without an agreed conversion (float, 32-bit, LAB), or a source of another type.
        DIMError: for a `background` or `max_pixels` out of range.

    Example:
        >>> half_clear = Image.new("RGBA", (3, 2), (255, 0, 0, 0))
        >>> load_picture(half_clear, background=(0, 0, 255)).getpixel((0, 0))
        (0, 0, 255)
        >>> load_picture("nowhere.jpg")
        Traceback (most recent call last):
            ...
        dim.errors_dim.PictureError: picture 'nowhere.jpg': there is no such file
    """
    if len(background) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in background):
        raise DIMError(f"background is {background!r}: it must be three integers in 0..255")
    if max_pixels < 1:
        raise DIMError(f"max_pixels is {max_pixels}: it must be at least 1")
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "<PIL image>")
        return _to_rgb(source, name, background, max_pixels)
    stream, name = _open_stream(source)
    with stream:
        return _to_rgb(_open_image(stream, name, max_pixels), name, background, max_pixels)


class _PillowBound:
    """Pillow's process-wide limit of pixels, raised only while a picture with a higher limit is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []
        self._bound: int | None = None

    @contextmanager
    def raised_to(self, limit: int) -> Iterator[None]:
        """Lets Pillow read `limit` pixels; with several threads at once, the highest limit holds."""
        with self._lock:
            bound = self._bound if self._limits else Image.MAX_IMAGE_PIXELS
            needed = bound is not None and bound < limit
            if needed:
                self._bound = bound
                self._limits.append(limit)
                Image.MAX_IMAGE_PIXELS = max(self._limits)
        try:
            yield
        finally:
            if needed:
                with self._lock:
                    self._limits.remove(limit)
                    Image.MAX_IMAGE_PIXELS = max(self._limits, default=bound)


_PILLOW_BOUND = _PillowBound()


def _error(name: str, reason: str, what: str) -> PictureError:
    """Make an error with a one-line message; `repr` escapes line breaks in the name."""
    return PictureError(f"picture {name!r}: {' '.join(what.split())}", reason)


def _too_large(name: str, max_pixels: int) -> PictureError:
    """Make the error for a picture that Pillow refused as too large before its size was known here."""
    return _error(name, _TOO_MANY, f"has more than {max_pixels} pixels: 1 to {max_pixels} are accepted (max_pixels)")


def _open_stream(source: PictureSource) -> tuple[BinaryIO, str]:
    """Open `source` for reading and name it for messages."""
    content: Any = None
    path: Any = source
    if isinstance(source, Mapping):
        content, path = source.get("bytes"), source.get("path")
    elif isinstance(source, bytes):
        content, path = source, None
    if isinstance(content, bytes):
        return io.BytesIO(content), str(path or "<bytes>")
    if content is not None or not isinstance(path, str | Path):
        raise _error(
            f"<{type(source).__name__}>",
            "not a picture source",
            "is not a path, bytes, PIL image or {'bytes': ..., 'path': ...}: give one of these",
        )
    name = str(path)
    if _URL.match(name):
        raise _error(name[:200], "URL", "is a URL: download it first and give the file")
    path = Path(path)
    try:
        if path.is_dir():
            raise _error(name, "directory", "is a directory: give a picture file")
        if not path.exists():
            raise _error(name, "missing", "there is no such file")
        if not path.is_file():
            raise _error(name, "not a regular file", "is not a regular file: give a picture file")
        return path.open("rb"), name
    except OSError as error:
        raise _error(name, "unreadable file", f"cannot be read: {error.strerror}") from error


def _open_image(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """Read the header of a picture (format and size) without decoding it."""
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        raise _error(name, "empty", "is empty (0 bytes)")
    try:
        with _PILLOW_BOUND.raised_to(max_pixels):
            return Image.open(stream, formats=FORMATS)
    except _TOO_LARGE as error:
        raise _too_large(name, max_pixels) from error
    except UnidentifiedImageError as error:
        if b"<svg" in head.lower():
            raise _error(name, "SVG", "is an SVG drawing: convert it to PNG first") from error
        what = f"is not a picture, or its header is damaged (formats: {', '.join(FORMATS)})"
        raise _error(name, "not a picture", what) from error
    except _DECODE_ERRORS as error:
        raise _error(name, "damaged", f"is damaged in its header: {error}") from error


def _to_rgb(image: Image.Image, name: str, background: tuple[int, int, int], max_pixels: int) -> Image.Image:
    """Decode `image` to a new image that is upright, opaque and 8-bit RGB."""
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        what = f"has {width} x {height} pixels: 1 to {max_pixels} are accepted (max_pixels)"
        raise _error(name, _TOO_MANY if width * height else "no pixels", what)
    if image.mode not in _PLAIN_MODES | _GREY_16_MODES:
        what = f"has the colour mode {image.mode}, which has no defined conversion to RGB: convert it first"
        raise _error(name, "unknown colour mode", what)
    try:
        with _PILLOW_BOUND.raised_to(max_pixels):
            image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation)  # after load(), which applies that of a TIFF
        if image.mode in _GREY_16_MODES:
            image = _grey_16_to_8(image)
        if image.has_transparency_data:
            opaque = Image.new("RGBA", image.size, (*background, 255))
            image = Image.alpha_composite(opaque, image.convert("RGBA"))
        rgb = image.convert("RGB")
    except _TOO_LARGE as error:  # a frame may claim to be larger than the image
        raise _too_large(name, max_pixels) from error
    except _DECODE_ERRORS as error:
        raise _error(name, "damaged", f"is truncated or damaged: {error}") from error
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    rgb.info.clear()  # so that no caller applies the orientation a second time
    return rgb


def _grey_16_to_8(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255 (Pillow's own conversion clips at 255), as L, or LA if one value is transparent."""
    values = np.asarray(image).astype(np.int64)  # (H, W)
    if values.min() < 0 or values.max() > 65535:
        raise DIMError(f"grey values {values.min()}..{values.max()} do not fit 16 bits")
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey
