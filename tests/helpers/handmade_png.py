"""PNG files that Pillow would not write."""

import struct
import zlib


def png(colour: int, bits: int, size: tuple[int, int], rows: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Return a PNG written by hand, with kinds of pixels or sizes that Pillow would not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    body = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in body)
