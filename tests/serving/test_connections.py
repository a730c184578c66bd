"""More connections than file descriptors: the service goes on, and says so in one line."""

import http.client
import select
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("uvicorn")

_SERVER = """
import logging, resource, socket, sys
import uvicorn
from dim.serving import connections
logging.basicConfig(format="%(message)s")
limit = 320 if sys.argv[1] == "bound" else 64  # few, so that they run out at once
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

most = connections.most_connections() if sys.argv[1] == "bound" else 10**6
listener = socket.create_server(("127.0.0.1", 0), backlog=connections.BACKLOG)
config = uvicorn.Config(app, http=connections.protocol(most, 2.0), lifespan="off", log_level="warning",
                        access_log=False, backlog=connections.BACKLOG)
print(listener.getsockname()[1], flush=True)
connections.Server(config).run(sockets=[listener])
"""


@pytest.fixture(params=["bound", "no bound"])
def server(request):
    process = subprocess.Popen([sys.executable, "-c", _SERVER, request.param], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    process.kill()
    process.communicate()


def asked(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    except (ConnectionError, TimeoutError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def test_idle_connections_leave_room_and_one_line(server):
    process, port = server
    assert asked(port) == b"ok"
    idle, begun = [], time.monotonic()
    for _ in range(500):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        idle.append(one)
    ends = time.monotonic() + 60
    while asked(port) != b"ok":  # after the seconds that a connection may be idle
        assert time.monotonic() < ends
    assert all(select.select([one], [], [], 20)[0] for one in idle[:5])  # closed by the server
    for one in idle:
        one.close()
    process.terminate()
    lines = process.communicate(timeout=30)[1].splitlines()
    assert len(lines) <= 3 + (time.monotonic() - begun) / 10, lines  # one in ten seconds
    assert any("connections are open" in line or "No file descriptor" in line for line in lines)


def test_a_connection_in_use_stays(server):
    _, port = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(8):  # longer than an idle one may be open
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        sock = connection.sock
        select.select([], [], [], 0.3)
        assert connection.sock is sock
    connection.close()
