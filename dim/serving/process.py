"""The process around the application: its socket, its signals, its end."""

import signal
import socket

import uvicorn

from dim.errors import DIMError
from dim.linking.linker import DIMLinker
from dim.serving.app import create_app
from dim.serving.settings import Settings

_BACKLOG = 2048
_LAST_SECONDS = 5  # beyond the timeout, for requests that are still answered when the service is told to end


def bind(host: str, port: int) -> socket.socket:
    """Takes an address, before anything takes long.

    Args:
        host: Name or address.
        port: 0 for any that is free.

    Returns:
        The socket, on which nobody is answered yet.

    Raises:
        DIMError: If there is no such port, or the address cannot be had.
    """
    if not 0 <= port <= 65535:  # the system would take it modulo 65536
        raise DIMError(f"The port must lie between 0 and 65535, got {port}.")
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise DIMError(f"The address {host} port {port} cannot be had: {error.strerror}.") from error
    return found


def serve(linker: DIMLinker, settings: Settings, model: str, listener: socket.socket) -> None:
    """Answers until SIGTERM or SIGINT, then finishes what was taken.

    Args:
        linker: The linker.
        settings: Limits.
        model: What `/health` calls the model.
        listener: A socket of [`bind`].
    """
    config = uvicorn.Config(
        create_app(linker, settings, model),
        http="h11",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.timeout) + _LAST_SECONDS,
        log_level="warning",
    )
    for name in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them once more when all is done
        signal.signal(name, lambda *_: None)
    host, port = listener.getsockname()[:2]
    listener.listen(_BACKLOG)  # whoever reads the address below can connect
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


__all__ = ["bind", "serve"]
