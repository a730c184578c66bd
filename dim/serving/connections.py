"""Connections of the service: their number and their idle time are bounded, so that file descriptors do not run out."""

import asyncio
import logging
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ImportError:  # Windows, whose sockets are no file descriptors
    resource = None  # type: ignore[assignment]

BACKLOG = 128  # connections that the system accepts before the service sees them
_OTHERS = 128  # descriptors for files, the model and the knowledge base
_FEWEST, _MOST = 8, 4096
_QUIET = 10.0  # seconds between two lines about the same lack

logger = logging.getLogger(__name__)


def most_connections() -> int:
    """Returns how many connections may be open at once, so that the process keeps file descriptors for its own files.

    Example:

        >>> 8 <= most_connections() <= 4096
        True
    """
    if resource is None:
        return _MOST
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return _MOST
    return max(_FEWEST, min(_MOST, descriptors - BACKLOG - _OTHERS))


def protocol(most: int, timeout: float) -> type[H11Protocol]:
    """Makes uvicorn's protocol refuse connections beyond a number, and end those that send no request.

    Args:
        most: Connections at once; later ones are closed at once.
        timeout: Seconds that a connection may be open without a request, from its beginning or its last request.

    Returns:
        The protocol.
    """
    said = [-_QUIET]

    class Bounded(H11Protocol):
        _last: Any = None  # the request that the last look found

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                _say(said, f"{most} connections are open: further ones are refused (ulimit -n bounds their number).")
                transport.abort()
                return
            self.loop.call_later(timeout, self._look)

        def _look(self) -> None:
            if self.transport.is_closing():
                return
            done = self.cycle is None or self.cycle.response_complete
            if done and self.cycle is self._last:
                self.transport.close()
                return
            self._last = self.cycle
            self.loop.call_later(timeout, self._look)

    return Bounded


class Server(uvicorn.Server):
    """uvicorn's server, which reports a lack of file descriptors in one line, not in a traceback for each attempt."""

    async def startup(self, sockets: Any = None) -> None:
        """Starts to accept connections."""
        said = [-_QUIET]

        def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            """Logs a lack of descriptors once in a while, and anything else as asyncio does."""
            if "out of system resource" in context["message"]:
                _say(said, "No file descriptor is left for a connection: raise the limit (ulimit -n).")
            else:
                loop.default_exception_handler(context)

        asyncio.get_running_loop().set_exception_handler(report)
        await super().startup(sockets=sockets)


def _say(said: list[float], line: str) -> None:
    """Logs a line, unless it was logged a moment ago; `said` holds that time."""
    if time.monotonic() - said[0] >= _QUIET:
        said[0] = time.monotonic()
        logger.warning("%s", line)
