"""HTTP helpers: the `Retry-After` header, and connections to public addresses only."""

import errno
import re
import socket
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is public.

    Private, loopback, link-local, shared, multicast and reserved addresses are not, nor are IPv6 addresses that embed
    such an IPv4 address (mapped, 6to4, Teredo, NAT64).

    >>> is_public("93.184.215.14"), is_public("10.0.0.1"), is_public("::ffff:127.0.0.1")
    (True, False, False)
    """
    ip = ip_address(address.partition("%")[0])  # %: the zone of a link-local address
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
    if ip in _NAT64:
        inner = IPv4Address(int(ip) & 0xFFFF_FFFF)
    return is_public(str(inner)) if inner else ip in _GLOBAL_UNICAST and ip.is_global


def public_socket(address: tuple[Any, ...]) -> socket.socket:
    """Opens a socket for a public address, for `aiohttp.TCPConnector(socket_factory=...)`.

    The address is checked just before the connection, after all redirects and DNS lookups.

    Args:
        address: A result of `socket.getaddrinfo`: family, type, protocol, name, (IP address, port, ...).

    Raises:
        PermissionError: If the address is not public.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(host):
        raise PermissionError(errno.EACCES, f"{host} is not an address of the public internet")
    return socket.socket(family, kind, protocol)


def retry_after(header: str | None) -> float | None:
    """Reads a `Retry-After` header (RFC 9110, 10.2.3).

    Args:
        header: Seconds or a date.

    Returns:
        Seconds to wait, 0 for a date in the past; `None` if there is no header or it cannot be read.

    Example:

        >>> retry_after("2.5"), retry_after("Sat, 01 Jan 2000 00:00:00 GMT"), retry_after("soon")
        (2.5, 0.0, None)
    """
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", header or ""):
        return float(header or "")
    try:
        date = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (aware - datetime.now(timezone.utc)).total_seconds())
