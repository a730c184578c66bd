"""Loading of pictures: any supported file becomes an upright RGB image, or raises one clear error."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from PIL import Image

from dim.errors import DIMError
from dim.inputs_dim import refuse_url
from dim.pictures_dim import DECODE_ERRORS, MAX_PIXELS, open_picture, picture_error, rgb_picture


class _Array(Protocol):
    """A NumPy array or a tensor of torch."""

    def __array__(self) -> Any: ...


PictureSource = str | Path | bytes | Image.Image | Mapping[str, Any] | _Array


def load_picture(
    source: PictureSource,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Load a picture as a new RGB image: upright, opaque, 8 bits, without metadata.

    The picture is converted by the rule of `rgb_picture`, which travels with a published model, so that the processor
    gives the same pixels: the EXIF orientation is applied and then dropped, transparency is laid over `background`, 16
    bits are scaled (not clipped) to 8, CMYK is converted without its colour profile, and an animation gives its first
    frame. Other metadata is not read, so that a picture is shown even if its metadata is damaged or large.

    Args:
        source (`str`, `Path`, `bytes`, `PIL.Image.Image`, `Mapping`, array or tensor): a file, its content, an opened
            image (its current frame; it is not changed), an undecoded image of `datasets`, `{"bytes": ..., "path":
            ...}`, or an array or tensor of pixels as for `rgb_picture`.
        background (`tuple[int, int, int]`): RGB colour in 0..255 under transparent pixels.
        max_pixels (`int`): refuse larger pictures before they are decoded. It replaces Pillow's own limit,
            `MAX_IMAGE_PIXELS`.

    Returns:
        `PIL.Image.Image`: mode RGB, in memory; no file stays open.

    Raises:
        PictureError: for a missing, empty, truncated, unknown or too large file, a directory, a URL, an SVG, a colour
            mode without an agreed conversion (LAB), values in no known range, or a source of another type.
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
    if isinstance(source, Image.Image) or hasattr(source, "__array__"):
        return rgb_picture(source, background=background, max_pixels=max_pixels)
    stream, name = _open_stream(source)
    with stream:
        image = open_picture(stream, name, max_pixels)
        return rgb_picture(image, background=background, max_pixels=max_pixels, name=name)


def _open_stream(source: Any) -> tuple[BinaryIO, str]:
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
        raise picture_error(
            f"<{type(source).__name__}>",
            "not a picture source",
            "is not a path, bytes, PIL image or {'bytes': ..., 'path': ...}: give one of these",
        )
    name = str(path)
    refuse_url(name)
    path = Path(path)
    try:
        if path.is_dir():
            raise picture_error(name, "directory", "is a directory: give a picture file")
        if not path.exists():
            raise picture_error(name, "missing", "there is no such file")
        if not path.is_file():
            raise picture_error(name, "not a regular file", "is not a regular file: give a picture file")
        return path.open("rb"), name
    except OSError as error:
        raise picture_error(name, "unreadable file", f"cannot be read: {error.strerror}") from error


def opens_without_help(content: bytes) -> bool:
    """Whether Pillow alone opens the content of a file that `load_picture` reads, as `datasets` does.

    Example:
        >>> opens_without_help(b"hello")
        False
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            image.getexif()
    except DECODE_ERRORS:  # an UnidentifiedImageError is an OSError
        return False
    return True
