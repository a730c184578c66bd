"""Data URLs, read as the URL and Fetch standards of the WHATWG say, and in the URL-safe alphabet of base64 as well."""

import binascii
import re

import numpy as np

_IS_BASE64 = re.compile(rb"; *base64", re.IGNORECASE)
_SPACES = b"\t\n\f\r "
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_CONTROLS = bytes(range(0x21))
_PART = 1 << 20  # bytes whose escapes are replaced at a time
_DIGITS = np.full(256, 16, np.uint8)  # value of each hexadecimal digit, 16 for other bytes
_DIGITS[list(b"0123456789abcdef")] = range(16)
_DIGITS[list(b"ABCDEF")] = range(10, 16)


def data_of_url(url: str) -> bytes:
    """Returns the content of a data URL.

    Args:
        url: `data:[media type][;base64],content`, percent-encoded or not; base64 may be broken into lines, lack its
            padding, and use either alphabet.

    Returns:
        The content.

    Raises:
        ValueError: If the URL has no comma, or its content is not base64 although it says so.

    Example:

        >>> data_of_url("data:image/png;base64,AP_-"), data_of_url("data:,a%20b")
        (b'\\x00\\xff\\xfe', b'a b')
    """
    raw = url.encode(errors="replace").strip(_CONTROLS).translate(None, b"\t\n\r").partition(b"#")[0]
    head, comma, content = raw.partition(b",")
    if not comma:
        raise ValueError("has no comma: it must be data:...;base64,...")
    content = _unquoted(content)
    media_type = head.partition(b":")[2].strip(_SPACES)
    at = media_type.rfind(b";")
    return _from_base64(content) if at >= 0 and _IS_BASE64.fullmatch(media_type, at) else content


def _unquoted(content: bytes) -> bytes:
    """Replaces percent-encoded bytes; a percent sign without two digits stays."""
    if b"%" not in content:
        return content
    parts, start = [], 0
    while start < len(content):
        end = start + _PART
        cut = content.find(b"%", end - 2, end)  # an escape is not divided
        end = cut if cut > start and end < len(content) else end
        parts.append(_unquoted_part(np.frombuffer(content[start:end], np.uint8)))
        start = end
    return b"".join(parts)


def _unquoted_part(part: np.ndarray) -> bytes:
    """Does it for `(N,)` bytes; `urllib` would make an object of each escape, and takes seconds for millions."""
    digits = _DIGITS[part]
    at = np.flatnonzero((part[:-2] == ord("%")) & (digits[1:-1] < 16) & (digits[2:] < 16))
    replaced, kept = part.copy(), np.ones(len(part), bool)
    replaced[at] = 16 * digits[at + 1] + digits[at + 2]
    kept[at + 1] = kept[at + 2] = False
    return replaced[kept].tobytes()


def _from_base64(content: bytes) -> bytes:
    """Decodes forgivingly: without white space, padding, and the bits that are left over."""
    content = content.translate(bytes.maketrans(b"-_", b"+/"), _SPACES)
    if len(content) % 4 == 0:
        content = content.removesuffix(b"=").removesuffix(b"=")
    if wrong := content.translate(None, _ALPHABET):
        raise ValueError(f"is not valid base64: it contains {wrong[:1].decode('latin-1')!a}")
    if len(content) % 4 == 1:
        raise ValueError("is not valid base64: one character is missing or too many")
    return binascii.a2b_base64(content + b"=" * (-len(content) % 4))
