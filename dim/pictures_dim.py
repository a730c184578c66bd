# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Pictures for DIM: the one rule that turns images, arrays and tensors into RGB, and a bound on what a shape costs."""

import io
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .errors_dim import PictureError
from .picture_metadata_dim import without_metadata

MAX_PIXELS = 80_000_000  # 240 MB as RGB; above the largest cameras, below the size at which Pillow begins to warn
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")  # EPS and others start programs
DECODE_ERRORS = (  # what Pillow's decoders raise on bad data
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error),
)
TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # the latter where warnings are errors

_WHITE = (255, 255, 255)
_PLAIN_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "La", "PA", "RGBA", "RGBa"}
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
_SCALED_GREY = {"L;2": (2, 85), "L;4": (4, 17)}  # how a PNG stores grey: bits, and Pillow's factor to 8 bits
_KEPT = 4  # sides of a picture up to 4:1 reach the image processor as they are
_LONGEST = 100  # sides of any picture that reaches an image processor which does not crop


def rgb_picture(
    picture: Any,
    *,
    background: tuple[int, int, int] = _WHITE,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> Image.Image:
    """Converts a picture to a new RGB image: upright, opaque, 8 bits, without metadata.

    The EXIF orientation is applied and then dropped, transparency is laid over `background`, and CMYK is converted
    without its colour profile. Values are scaled to 8 bits, never clipped: booleans are black and white, images of
    modes `I` and `I;16` and arrays of unsigned 16-bit integers have 16 bits, and floating-point numbers and other
    integers go up to 1 (floating-point numbers only), 255 or 65535, whichever is the first that holds all of them.
    Floating-point numbers up to twice 1 or 255 are refused: they overshoot a range, as sharpening does.

    Args:
        picture: A PIL image of any mode except `LAB` (its current frame; it is not changed), or an array or tensor of
            shape `(H, W)`, `(H, W, C)` or `(C, H, W)` with grey, grey and alpha, RGB or RGBA as its 1 to 4 channels.
            Where both could be meant, an array has its channels last, and a tensor first. Or the content of a file, as
            `bytes` or as `{"bytes": ...}`, which `datasets` has for an undecoded image.
        background: RGB colour under transparent pixels.
        max_pixels: Refuse larger pictures before they are decoded.
        name: Name of the picture in messages.

    Returns:
        The image.

    Raises:
        PictureError: If the picture is of another type, shape or colour mode, has no pixels or too many, is damaged, or
            its values are in no such range.

    Example:

        >>> rgb_picture(Image.new("RGBA", (1, 1), (255, 0, 0, 51))).getpixel((0, 0))
        (255, 204, 204)
        >>> rgb_picture(np.array([[0.0, 1.0]])).getpixel((1, 0))
        (255, 255, 255)
    """
    content = picture.get("bytes") if isinstance(picture, Mapping) else picture
    if isinstance(content, bytes):
        name = name or "<bytes>"
        picture = open_picture(io.BytesIO(content), name, max_pixels)
    elif not isinstance(picture, Image.Image):
        picture = _from_array(picture, name or f"<{type(picture).__name__}>", max_pixels)
    name = name or str(getattr(picture, "filename", "") or "<PIL image>")
    _check_size(name, picture.width, picture.height, max_pixels)
    if picture.mode not in _PLAIN_MODES | _GREY_16_MODES | {"F"}:
        what = f"has the colour mode {picture.mode}, which has no defined conversion to RGB: convert it first"
        raise picture_error(name, "unknown colour mode", what)
    try:
        clear = _clear_value(picture)  # before load(), which forgets how many bits the file has
        with pillow_limit(max_pixels):
            picture.load()
        orientation = _orientation(picture)  # after load(), which applies that of a TIFF
        rgb = _opaque(picture, clear, background, name).convert("RGB")
    except PictureError:
        raise
    except TOO_LARGE as error:  # a frame may claim to be larger than the image
        raise too_large(name, max_pixels) from error
    except DECODE_ERRORS as error:
        raise picture_error(name, "damaged", f"is truncated or damaged: {error}") from error
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    rgb.info.clear()  # so that no caller applies the orientation a second time
    return rgb


def prepare_picture(picture: Any, image_processor: Any, name: str | None = None) -> Image.Image:
    """Converts a picture by [`rgb_picture`], and bounds its shape for an image processor.

    An image processor that enlarges the short side to its size makes gigabytes of a picture of one by a million pixels.
    A picture up to 4:1 stays as it is. A longer one is cut to its middle if the image processor scales by the shorter
    side, since it crops to the middle anyway; for others, it is squeezed to 100:1.

    Args:
        picture: As for [`rgb_picture`].
        image_processor: The image processor that will read the picture.
        name: Name of the picture in messages.

    Returns:
        The image.

    Raises:
        PictureError: As for [`rgb_picture`].

    Example:

        >>> from transformers import CLIPImageProcessorPil
        >>> prepare_picture(Image.new("L", (1, 1_000_000)), CLIPImageProcessorPil()).size
        (1, 4)
    """
    rgb = rgb_picture(picture, name=name)
    short, long = sorted(rgb.size)
    if long <= _KEPT * short:
        return rgb
    size = dict(getattr(image_processor, "size", None) or {})
    if not size.get("shortest_edge") or size.get("longest_edge"):
        long = min(long, _LONGEST * short)
        return rgb.resize((short, long) if rgb.width == short else (long, short))
    crop = dict(getattr(image_processor, "crop_size", None) or {})
    sides = max(_KEPT, 1 + -(-max(crop.values(), default=0) // size["shortest_edge"]))
    start = max(0, (long - sides * short) // 2)  # as much is cut at both ends, so that the middle stays the middle
    box = (0, start, short, long - start) if rgb.width == short else (start, 0, long - start, short)
    return rgb.crop(box)


def open_picture(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """Opens a picture without decoding it, and without metadata that Pillow could refuse it for.

    Args:
        stream: A file, at its start.
        name: Its name in messages.
        max_pixels: Replaces Pillow's own limit.

    Returns:
        The image, for [`rgb_picture`].

    Raises:
        PictureError: If the file is empty, no picture, or damaged in its header.
    """
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        raise picture_error(name, "empty", "is empty (0 bytes)")
    try:
        with pillow_limit(max_pixels):
            return Image.open(without_metadata(stream), formats=FORMATS)
    except TOO_LARGE as error:
        raise too_large(name, max_pixels) from error
    except UnidentifiedImageError as error:
        if b"<svg" in head.lower():
            raise picture_error(name, "SVG", "is an SVG drawing: convert it to PNG first") from error
        what = f"is not a picture, or its header is damaged (formats: {', '.join(FORMATS)})"
        raise picture_error(name, "not a picture", what) from error
    except DECODE_ERRORS as error:
        raise picture_error(name, "damaged", f"is damaged in its header: {error}") from error


class _PillowLimit:
    """Pillow's process-wide limit of pixels, raised only while a picture with a higher limit is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []
        self._bound: int | None = None

    @contextmanager
    def __call__(self, limit: int) -> Iterator[None]:
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


pillow_limit = _PillowLimit()


def picture_error(name: str, reason: str, what: str) -> PictureError:
    """Makes an error with a one-line message; `repr` escapes line breaks in the name."""
    return PictureError(f"picture {name!r}: {' '.join(what.split())}", reason)


def too_large(name: str, max_pixels: int) -> PictureError:
    """Makes the error for a picture that Pillow refused as too large before its size was known here."""
    what = f"has more than {max_pixels} pixels: 1 to {max_pixels} are accepted (max_pixels)"
    return picture_error(name, "too large", what)


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if not 0 < width * height <= max_pixels:
        what = f"has {width} x {height} pixels: 1 to {max_pixels} are accepted (max_pixels)"
        raise picture_error(name, "too large" if width * height else "no pixels", what)


def _orientation(image: Image.Image) -> int | None:
    """Reads the EXIF orientation; `None` if the metadata is damaged, which does not concern the pixels."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except DECODE_ERRORS:
        return None


def _clear_value(image: Image.Image) -> Any:
    """Reads the transparent value of an image, in the values of its pixels.

    Pillow scales the pixels of a PNG of 2, 4 or 3 x 16 bits to 8 bits, but leaves the transparent value as in the file.
    Pixels that differ from it in the lower 8 of 16 bits only are transparent, too.
    """
    clear = image.info.get("transparency")
    stored = next((tile[3] for tile in getattr(image, "tile", ())), None)
    if stored in _SCALED_GREY and isinstance(clear, int):
        bits, factor = _SCALED_GREY[stored]
        return factor * (clear & (1 << bits) - 1)
    if stored == "RGB;16B" and isinstance(clear, tuple):
        return tuple(value >> 8 for value in clear)
    return clear


def _opaque(image: Image.Image, clear: Any, background: tuple[int, int, int], name: str) -> Image.Image:
    """Scales an image to 8 bits, and lays transparency (with `clear` as the transparent value) over the background."""
    if clear != image.info.get("transparency"):
        image = image.copy()
        image.info["transparency"] = clear
    if image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), name))
    elif image.mode in _GREY_16_MODES:
        image = _grey_16_to_8(image, name)
    elif image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    return image


def _grey_16_to_8(image: Image.Image, name: str) -> Image.Image:
    """Scales 0..65535 to 0..255 (Pillow's own conversion clips at 255), as L, or LA if one value is transparent."""
    values = np.asarray(image)  # (H, W)
    if values.min() < 0 or values.max() > 65535:
        what = f"its grey values {values.min()}..{values.max()} do not fit 16 bits"
        raise picture_error(name, "values out of range", what)
    grey = Image.fromarray(_scaled(values, 65535))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _from_array(picture: Any, name: str, max_pixels: int) -> Image.Image:
    """Makes an 8-bit image of an array or tensor."""
    if not hasattr(picture, "__array__"):
        what = "is not a PIL image, an array, a tensor or the bytes of a file: open a file by PIL.Image.open first"
        raise picture_error(name, "not a picture source", what)
    is_tensor = hasattr(picture, "detach")  # of torch, which is not imported: pictures load without it
    if is_tensor:
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
    values = np.asarray(picture)
    shape, front, back = values.shape, *(values.ndim == 3 and values.shape[at] in (1, 2, 3, 4) for at in (0, -1))
    if values.dtype.kind not in "biuf" or not (values.ndim == 2 or front or back):
        what = f"has the shape {shape} and type {values.dtype}: give numbers as (H, W), (H, W, C) or (C, H, W), C <= 4"
        raise picture_error(name, "not a picture source", what)
    if front and (is_tensor or not back):
        values = np.moveaxis(values, 0, -1)  # (H, W, C)
    _check_size(name, values.shape[1], values.shape[0], max_pixels)
    if values.shape[2:] == (1,):
        values = values[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(_eight_bits(values, name)))


def _eight_bits(values: np.ndarray, name: str) -> np.ndarray:
    """Scales values to `uint8`, by their type or the range that holds them."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * 255
    if values.dtype.kind == "u" and values.itemsize <= 2:
        return _scaled(values, 255 if values.itemsize == 1 else 65535)
    tops = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    least, most = values.min(), values.max()
    top = next((top for top in tops if least >= 0 and most <= top), None)  # none for NaN
    overshoots = values.dtype.kind == "f" and any(one < most < 2 * one for one in tops[:2])
    if top is None or overshoots:  # as the next range, an overshoot of 0..1 or 0..255 would be black
        hint = ", and clip what overshoots the range" if overshoots else ""
        what = f"has values {least}..{most}: give values in {', '.join(f'0..{one}' for one in tops)}{hint}"
        raise picture_error(name, "values out of range", what)
    return _scaled(values, top)


def _scaled(values: np.ndarray, top: int) -> np.ndarray:
    """Scales 0..top to 0..255, rounded."""
    if values.dtype.kind == "f":
        return np.rint(values.astype(np.float32) * np.float32(255 / top)).astype(np.uint8)
    return (values if top == 255 else (values.astype(np.uint32) + 128) // 257).astype(np.uint8)


__all__ = ["MAX_PIXELS", "prepare_picture", "rgb_picture"]
