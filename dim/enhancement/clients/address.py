"""The address and the key of a server, checked before anything is asked, and kept out of every message."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from dim.errors import DIMError

_PATHS = ("/chat/completions", "/responses", "/completions")
_VERSION = "api-version"  # the query of Azure, which is no secret
_WINDOW = 8  # characters of a secret that a message may not show


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Args:
        url: Address up to `/v1`, without credentials, query and trailing slash.
        query: What follows the path of each request.
        credentials: User and password, if the address holds them.

    Example:

        >>> address = read_address("https://ada:secret@example.org/v1/chat/completions?api-version=2025-01-01")
        >>> address.url, address.query
        ('https://example.org/v1', {'api-version': '2025-01-01'})
    """

    url: str
    query: dict[str, str]
    credentials: tuple[str, str] | None

    def secrets(self) -> list[str]:
        """The parts that no message may show."""
        values = [value for name, value in self.query.items() if name != _VERSION]
        return [secret for secret in (*(self.credentials or ()), *values) if secret]


def read_address(url: str) -> Address:
    """Reads the address of a server: up to `/v1`, or with the path of an API, a query, a user and a password.

    Args:
        url: The address.

    Returns:
        Its parts.

    Raises:
        DIMError: If it is not an HTTP address; the message does not show it, since it may hold a password.
    """
    if not re.match(r"https?://", url, re.IGNORECASE):
        raise DIMError("--base-url must start with http:// or https://.")
    if not url.isprintable() or " " in url or not _is_utf8(url):
        raise DIMError("--base-url must have no spaces, line breaks or other control characters in it.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host and ":" not in host:
            host = host.encode("idna").decode() if not host.isascii() else host
    except ValueError as error:  # UnicodeError, too
        what = "its port must be a number up to 65535" if "ort" in str(error) else "its host cannot be read"
        raise DIMError(f"--base-url is not a valid address: {what}.") from error
    if not host or port == 0:
        raise DIMError(f"--base-url is not a valid address: it has {'port 0' if host else 'no host'}.")
    path = parts.path.rstrip("/")
    for ending in _PATHS:
        path = path.removesuffix(ending)
    place = f"[{host}]" if ":" in host else host
    shown = (
        f"{parts.scheme.lower()}://{place}{'' if port is None else f':{port}'}{quote(path.rstrip('/'), safe='/%:@')}"
    )
    user = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return Address(shown, dict(parse_qsl(parts.query, keep_blank_values=True)), user)


def check_key(key: str) -> None:
    """Raises a `DIMError` for a key that a header cannot hold; the message does not show it."""
    if not re.fullmatch(r"[!-~]+", key):
        raise DIMError(
            "OPENAI_API_KEY holds a space, a line break or a letter beyond ASCII, which a key never has: set it again."
        )


class Mask:
    """Replaces secrets in texts from outside.

    Args:
        secrets: Keys and passwords.

    Example:

        >>> mask = Mask(["sk-0123456789abcdef"])
        >>> mask("wrong key sk-0123456789abcdef"), mask("wrong key sk-012345..."), mask("sk- is no key")
        ('wrong key ***', 'wrong key ***...', 'sk- is no key')
    """

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = sorted({form for one in secrets for form in (one, quote(one, safe=""))}, key=len, reverse=True)

    def whole(self, text: str) -> str:
        """Replaces whole secrets of eight characters or more, in an answer that is kept."""
        for secret in self._secrets:
            if len(secret) >= _WINDOW:
                text = text.replace(secret, "***")
        return text

    def __call__(self, text: str) -> str:
        """Replaces secrets, and parts of them of eight characters or more, in a text that is shown."""
        hidden = bytearray(len(text))
        for secret in self._secrets:
            if len(secret) < _WINDOW:
                pattern = rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])"
                spans = [found.span() for found in re.finditer(pattern, text)]
            else:
                parts = {secret[at : at + _WINDOW] for at in range(len(secret) - _WINDOW + 1)}
                spans = [found.span(1) for part in parts for found in re.finditer(f"(?=({re.escape(part)}))", text)]
            for start, end in spans:
                hidden[start:end] = b"\1" * (end - start)
        found = (("***" if hides else text[a:b]) for a, b, hides in _runs(hidden))
        return "".join(found)


def _runs(hidden: bytearray) -> list[tuple[int, int, bool]]:
    matches = re.finditer(rb"\x00+|\x01+", bytes(hidden))
    return [(*found.span(), found[0][:1] == b"\1") for found in matches]


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)
