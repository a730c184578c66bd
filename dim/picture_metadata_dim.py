# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Removal of metadata from picture files: Pillow refuses sound pictures whose metadata is large or damaged, and some
metadata costs it much time or memory.

What decides the pixels of the first picture stays as it is, and so does its orientation.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

Parts = Iterator[bytes]

_LONGEST = 1 << 20  # bytes of a block with an orientation, as in Pillow
_MOST = 100_000  # short blocks; a million of them take seconds

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_PNG_CLEAR = {0: 2, 2: 6, 3: 1}  # colour type -> least length of tRNS; others have an alpha channel
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_PNG_ORIENTING = {b"Raw profile type exif", b"XML:com.adobe.xmp"}  # keywords of texts

_JPEG_TABLES = {*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD}
_JPEG_KEPT = {  # application segments that decide colours or orientation: start, and least length
    0xE0: ((b"JFIF\0", 14),),
    0xE1: ((b"Exif\0\0", 14), (b"http://ns.adobe.com/xap/1.0/\0", 30)),
    0xEE: ((b"Adobe", 12),),
}
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")

_TIFF_TAGS = {254, 255, *range(256, 260), 262, 263, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323,
              324, 325, 332, 334, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533), 700, 50674}  # fmt: skip
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes by type
_TIFF_XMP = 700
_LARGEST_TILE = 2048 * 2048

_WEBP_PIXELS = {b"ALPH", b"VP8 ", b"VP8L", b"ANIM"}
_WEBP_FLAGS = {b"EXIF": 0x08, b"XMP ": 0x04}
_WEBP_ICC = 0x20


def without_metadata(stream: BinaryIO) -> BinaryIO:
    """Removes metadata from a PNG, JPEG, GIF, TIFF or WebP file, except for its orientation.

    Texts, colour profiles, resolutions, lists of further pictures, and all frames or pages but the first go, and so
    does any optional PNG chunk with a wrong checksum.

    Args:
        stream: The file, at its start.

    Returns:
        The file without metadata in memory; `stream` itself, at its start, if it has another format.

    Raises:
        ValueError: If the file consists of too many short blocks.

    Example:
        >>> from PIL import Image, PngImagePlugin
        >>> text = PngImagePlugin.PngInfo()
        >>> text.add_text("Comment", "x" * 2_000_000, zip=True)  # more than Pillow reads
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (3, 2)).save(file, "PNG", pnginfo=text)
        >>> _ = file.seek(0)
        >>> Image.open(without_metadata(file)).size
        (3, 2)
    """
    start = stream.read(12)
    stream.seek(0)
    parts = next((parts for pattern, parts in _READERS.items() if re.match(pattern, start, re.DOTALL)), None)
    if parts is None:
        return stream
    content = io.BytesIO()
    content.writelines(parts(stream))
    content.seek(0)
    return content


def _rest(stream: BinaryIO) -> Parts:
    while block := stream.read(1 << 20):
        yield block


class _Counter:
    """Counts short blocks up to a limit."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        """Counts one; raises a `ValueError` for too many."""
        self.count += 1
        if self.count > _MOST:
            raise ValueError(f"more than {_MOST:,} short blocks")


def _png_parts(stream: BinaryIO) -> Parts:
    """A damaged chunk of pixels is kept for the decoder to refuse."""
    yield stream.read(len(_PNG))
    colour, seen, blocks = -1, set(), _Counter()
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if length < 1024:
            blocks.add()
        if kind in _PNG_PIXELS:
            body = stream.read(length + 4)
            yield head + body
            if kind == b"IHDR" and len(body) >= 13:
                colour = body[9]
            elif kind == b"IEND":
                return
        elif length <= _LONGEST and kind in {b"tRNS", b"eXIf", *_PNG_TEXTS}:
            body = stream.read(length + 4)
            data, checksum = body[:length], body[length:]
            name = data.partition(b"\0")[0] if kind in _PNG_TEXTS else kind
            is_sound = checksum == struct.pack(">I", zlib.crc32(kind + data))
            if is_sound and name not in seen and _is_needed(kind, name, data, colour):
                seen.add(name)
                yield head + body
        else:
            stream.seek(length + 4, io.SEEK_CUR)


def _is_needed(kind: bytes, name: bytes, data: bytes, colour: int) -> bool:
    """Whether a sound optional chunk of a PNG decides pixels or orientation."""
    if kind == b"tRNS":
        return colour in _PNG_CLEAR and len(data) >= _PNG_CLEAR[colour]
    if kind == b"eXIf":
        return True
    rest = data[len(name) + 1 :]
    if name not in _PNG_ORIENTING:
        return False
    if kind == b"zTXt":
        return rest[:1] == b"\0" and _fits(rest[1:])
    if kind == b"iTXt" and rest[:1] == b"\1":
        return rest[1:2] == b"\0" and rest.count(b"\0", 2) >= 2 and _fits(rest[2:].split(b"\0", 2)[2])
    return True


def _fits(compressed: bytes) -> bool:
    """Whether compressed data is sound and short enough, without unpacking more than that."""
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(compressed, _LONGEST)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail


def _jpeg_parts(stream: BinaryIO) -> Parts:
    """Tables, frame and scans, and the application segments that are needed."""
    yield stream.read(2)
    blocks = _Counter()
    while head := _jpeg_marker(stream):
        blocks.add()
        marker = head[1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # markers without a length
            continue
        size = stream.read(2)
        length = int.from_bytes(size, "big") - 2
        if length < 0:  # for the decoder to refuse
            yield head + size
            break
        if marker in _JPEG_TABLES:
            yield head + size + stream.read(length)
            if marker == 0xDA:  # the pixels; all that follows stays
                break
        elif marker in _JPEG_KEPT:
            body = stream.read(length)
            if any(body.startswith(start) and length >= least for start, least in _JPEG_KEPT[marker]):
                yield head + size + body
        else:
            stream.seek(length, io.SEEK_CUR)
    yield from _rest(stream)


def _jpeg_marker(stream: BinaryIO) -> bytes:
    """Reads up to the next marker, over stray bytes, as decoders do; `b""` at the end."""
    while len(block := stream.read(1 << 12)) > 1:
        found = _JPEG_MARKER.search(block)
        stream.seek((found.end() if found else len(block) - 1) - len(block), io.SEEK_CUR)
        if found:
            return found[0]
    return b""


def _gif_parts(stream: BinaryIO) -> Parts:
    """The screen, and the first picture with its control; comments and other extensions go."""
    head = stream.read(13)
    yield head
    if len(head) == 13 and head[10] & 128:
        yield stream.read(3 << ((head[10] & 7) + 1))
    blocks = _Counter()
    while (kind := stream.read(1)) == b"!":
        blocks.add()
        label = stream.read(1)
        content = []
        while size := stream.read(1):
            blocks.add()
            content.append(size + stream.read(size[0]))
            if size == b"\0":
                break
        if label == b"\xf9" and content and len(content[0]) >= 5:
            yield kind + label + b"".join(content)
    yield kind
    yield from _rest(stream)


def _tiff_parts(stream: BinaryIO) -> Parts:
    """The file with a new directory at its end, which has the tags that are needed and names no further page."""
    head = stream.read(8)
    order = "<" if head[:2] == b"II" else ">"
    stream.seek(0, io.SEEK_END)
    end = stream.tell()
    stream.seek(struct.unpack(f"{order}I", head[4:])[0])
    count = stream.read(2)
    listed = stream.read(12 * struct.unpack(f"{order}H", count)[0]) if len(count) == 2 else b""
    place = end + end % 2
    stream.seek(8)
    if not listed or len(listed) % 12 or place >= 1 << 32:  # for the decoder to refuse
        yield head
        yield from _rest(stream)
        return
    entries = [listed[at : at + 12] for at in range(0, len(listed), 12)]
    _check_tiles(dict(_inline_number(entry, order) for entry in entries))
    kept = [entry for entry in entries if _is_tag_needed(struct.unpack(f"{order}HHII", entry), end)]
    yield head[:4] + struct.pack(f"{order}I", place)
    yield from _rest(stream)
    yield b"\0" * (end % 2) + struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)


def _inline_number(entry: bytes, order: str) -> tuple[int, int]:
    """The tag and the one number of a directory entry; -1 for anything else."""
    tag, kind, count = struct.unpack(f"{order}HHI", entry[:8])
    form = {3: "H", 4: "I"}.get(kind)
    return tag, struct.unpack_from(f"{order}{form}", entry, 8)[0] if form and count == 1 else -1


def _check_tiles(numbers: dict[int, int]) -> None:
    """Raises a `ValueError` for tiles that are much larger than the picture, since a tile is decoded as a whole."""
    width, height, tile_width, tile_height = (numbers.get(tag, 0) for tag in (256, 257, 322, 323))
    if tile_width * tile_height > max(_LARGEST_TILE, 4 * width * height):
        raise ValueError(f"its tiles of {tile_width} x {tile_height} pixels are larger than the picture")


def _is_tag_needed(entry: tuple[int, ...], end: int) -> bool:
    tag, kind, count, place = entry
    size = count * _TIFF_SIZES.get(kind, 1)
    if tag not in _TIFF_TAGS or count > _LONGEST or (size > 4 and place + size > end):
        return False
    return tag != _TIFF_XMP or kind in (1, 7)


def _webp_parts(stream: BinaryIO) -> Parts:
    """The first picture, its orientation if it is complete, and a header that names no other chunk."""
    head = stream.read(12)
    chunks: list[tuple[bytes, bytes]] = []  # kind, and length with content
    blocks = _Counter()
    while len(start := stream.read(8)) == 8:
        blocks.add()
        kind, length = struct.unpack("<4sI", start)
        seen = {kind for kind, _ in chunks}
        body = b""
        if kind in _WEBP_PIXELS or (kind not in seen and (kind in (b"VP8X", b"ANMF") or _fits_webp(kind, length))):
            body = stream.read(length + length % 2)
        else:
            stream.seek(length + length % 2, io.SEEK_CUR)
        if body and (kind not in _WEBP_FLAGS or len(body) >= length):
            chunks.append((kind, start[4:] + body))
    flags = sum(_WEBP_FLAGS.get(kind, 0) for kind, _ in chunks)
    known = sum(_WEBP_FLAGS.values()) | _WEBP_ICC
    parts = [
        kind + (body[:4] + bytes([body[4] & ~known | flags]) + body[5:] if kind == b"VP8X" else body)
        for kind, body in chunks
    ]
    yield head[:4] + struct.pack("<I", 4 + sum(map(len, parts))) + head[8:]
    yield from parts


def _fits_webp(kind: bytes, length: int) -> bool:
    return kind in _WEBP_FLAGS and length <= _LONGEST


_READERS: dict[bytes, Callable[[BinaryIO], Parts]] = {
    re.escape(_PNG): _png_parts,
    rb"\xff\xd8\xff": _jpeg_parts,
    rb"GIF8[79]a": _gif_parts,
    rb"II\x2a\0....|MM\0\x2a....": _tiff_parts,
    rb"RIFF....WEBP": _webp_parts,
}
