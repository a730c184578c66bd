"""The server process: socket, signals and shutdown."""

import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from dim.errors import DIMError
from dim.serving.connections import BACKLOG, Server, most_connections, protocol
from dim.serving.settings import Settings

_LAST_SECONDS = 5  # of the shutdown beyond the timeout of the last request


def bind(host: str, port: int) -> socket.socket:
    """Binds a socket, so that a wrong address is an error before the model is loaded.

    Args:
        host: Name or address.
        port: Port; 0 for any free one.

    Returns:
        The socket, which does not listen yet.

    Raises:
        DIMError: If the port is out of range, or the address is not available.
    """
    if not 0 <= port <= 65535:  # the system would use it modulo 65536
        raise DIMError(f"The port must lie between 0 and 65535, got {port}.")
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise DIMError(f"The address {host} port {port} is not available: {error.strerror}.") from error
    return listener


def serve(app: ASGIApp, settings: Settings, listener: socket.socket, path: str = "") -> None:
    """Prints its address and serves until SIGTERM or SIGINT, and then finishes the accepted requests.

    Args:
        app: The application.
        settings: Limits.
        listener: A socket from [`bind`].
        path: Where the application is to be asked, for the address.
    """
    config = uvicorn.Config(
        app,
        http=protocol(most_connections(), settings.timeout),
        backlog=BACKLOG,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.timeout) + _LAST_SECONDS,
        log_level="warning",
    )
    for name in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again at the end
        signal.signal(name, lambda *_: None)
    host, port = listener.getsockname()[:2]
    listener.listen(BACKLOG)  # before the address is printed
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}{path}", flush=True)
    Server(config).run(sockets=[listener])
