"""Options that the commands of a server share: `dim serve` and `dim mcp`."""

import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dim.cli.command import Linking
from dim.common.parser import option

if TYPE_CHECKING:
    from dim.serving.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Serving(Linking):
    """A linker that answers requests, and their limits."""

    kb: str = option("a knowledge base (`dim kb create`)")
    host: str = option("address to listen on", "127.0.0.1")
    port: int = option("port; 0 for any free one", 8000, least=0, most=65535)
    allowed_host: list[str] = option("accepted host names; default: localhost if --host is local, else any",
                                     [], metavar="NAME")  # fmt: skip
    max_batch: int = option("mentions in a batch", 32, least=1, metavar="N")
    max_wait: float = option("milliseconds that a batch waits for more mentions", 3.0, least=0, most=60_000,
                             metavar="MS")  # fmt: skip
    max_queue: int = option("waiting mentions; more are refused", 1024, least=1, metavar="N")
    timeout: float = option("seconds for a body to arrive, and again for the response", 30.0, above=0, most=86_400,
                            metavar="S")  # fmt: skip
    max_body: float = option("size of a request", 16.0, above=0, most=100_000, metavar="MB")
    max_pixels: float = option("size of a picture, in millions of pixels", 25.0, above=0, most=1000, metavar="MP")
    max_memory: float = option("all bodies and decoded pictures in memory; more are refused", 1000.0, above=0,
                               most=100_000_000, metavar="MB")  # fmt: skip
    fetch_urls: bool = option("pictures may be http(s) URLs, fetched from public addresses only", False)

    def settings(self) -> "Settings":
        """Makes the limits, with the token of the environment; a `DIMError` if one is out of range."""
        from dim.serving.settings import Settings, token_from_environment

        return Settings(
            max_batch=self.max_batch,
            max_wait=self.max_wait / 1000,
            max_queue=self.max_queue,
            timeout=self.timeout,
            max_body=int(self.max_body * 1e6),
            max_pixels=int(self.max_pixels * 1e6),
            max_memory=int(self.max_memory * 1e6),
            fetch_urls=self.fetch_urls,
            allowed_hosts=tuple(map(str.lower, self.allowed_host or (_LOOPBACK if self._is_local else ()))),
            token=token_from_environment(),
        )

    @property
    def _is_local(self) -> bool:
        return self.host in _LOOPBACK

    def listener(self, settings: "Settings", writable: bool) -> socket.socket:
        """Binds the socket, before the long work; warns if everybody who reaches it can change entities."""
        from dim.serving.process import bind

        listener = bind(self.host, self.port)
        if writable and settings.token is None and not self._is_local:
            logger.warning("Whoever reaches %s can change entities; set DIM_SERVE_TOKEN.", self.host)
        return listener
