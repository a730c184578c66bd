"""Parts of the service in this process: limits, timeouts, memory, pictures, settings and the command."""

import asyncio
import concurrent.futures
import socket
import threading

import pytest
from picture_server import LOCAL, Server, picture
from serving_server import Gate, data_url, make, png
from starlette.testclient import TestClient

from dim import DIMLinker
from dim.cli.main import main
from dim.serving.app import create_app
from dim.serving.memory import MemoryBudget
from dim.serving.refusals import BusyError, ServiceError
from dim.serving.request_pictures import PictureReader
from dim.serving.settings import Settings


@pytest.fixture(scope="module")
def parts(tiny_dim_dir, tmp_path_factory):
    folders = make(tmp_path_factory.mktemp("serving"), tiny_dim_dir)
    made = DIMLinker.from_pretrained(*folders, device="cpu")
    return made.model, made.processor, made.kb


@pytest.fixture
def gate(parts):
    made = Gate(*parts)
    yield made
    made.open.set()


# --------------------------------------------------------------------------------------------------- the application


def ask(client, name="a", **more):
    return client.post("/link", json={"mentions": [{"mention": name, **more}]})


def test_busy_and_late_answers(gate):
    settings = Settings(max_queue=2, timeout=1.5, max_wait=0)
    with TestClient(create_app(gate, settings, "m")) as client, concurrent.futures.ThreadPoolExecutor(3) as threads:
        first = threads.submit(ask, client, "a")
        _until(lambda: gate.asked)
        waiting = [threads.submit(ask, client, name) for name in "bc"]
        _until(lambda: "dim_queue_mentions 2.0" in client.get("/metrics").text)
        full = ask(client, "d")
        assert (full.status_code, full.json()["error"]["code"], full.headers["retry-after"]) == (429, "busy", "1")
        for late in (first, *waiting):
            assert late.result().status_code == 504
            assert late.result().json()["error"]["code"] == "timeout"
        gate.open.set()
        assert ask(client, "e").status_code == 200
        assert 'handler="/link",method="POST",status="504"} 3.0' in client.get("/metrics").text
    assert gate.asked == [["a"], ["e"]]  # the two late ones were dropped


def _until(condition):
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise TimeoutError


def test_internal_errors_show_no_details(gate):
    gate.failure = RuntimeError("secret /path")
    gate.open.set()
    with TestClient(create_app(gate, Settings(), "m"), raise_server_exceptions=False) as client:
        answer = ask(client)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal"
        assert "secret" not in answer.text
        gate.failure = None
        assert ask(client).status_code == 200


def test_bodies_and_pictures_count_as_memory(gate):
    gate.open.set()
    picture = data_url(png(width=100, height=100))  # 30,000 bytes in memory
    with TestClient(create_app(gate, Settings(max_memory=31_000), "m")) as client:
        for _ in range(3):  # answered requests release their memory
            assert ask(client, images=[picture]).status_code == 200
        never = ask(client, images=[picture] * 2)
        assert (never.status_code, never.json()["error"]["code"]) == (413, "too_large")
        assert ask(client, sentence="a" * 5000).status_code == 200
        assert client.post("/link", content=b" " * 32_000).status_code == 413


def test_a_lease_is_released():
    budget = MemoryBudget(10)
    with budget.lease() as one, budget.lease() as two:
        one.take(6)
        with pytest.raises(BusyError):
            two.take(5)
        two.take(4)
        assert budget.held == 10
        with pytest.raises(ServiceError, match="needs more memory than the service has") as never:
            one.take(5)
        assert never.value.status == 413
    assert budget.held == 0


# ----------------------------------------------------------------------------------------------------------- pictures


def read(reader, *sources):
    with MemoryBudget(10**9).lease() as lease:
        return asyncio.run(reader.read(sources, "images", {}, lease))


def test_urls_are_fetched_from_public_addresses_only():
    reader = PictureReader.from_settings(Settings(fetch_urls=True))
    for url, reason in (("http://127.0.0.1/a.png", "not an address of the public internet"),
                        ("http://[::ffff:10.0.0.1]/", "not an address of the public internet"),
                        ("http://localhost/a", "not an address of the public internet"),
                        ("http://127.0.0.1:8000/", "asks for port 8000")):  # fmt: skip
        with pytest.raises(ServiceError, match=rf"images\.0: the URL .*{reason}") as refused:
            read(reader, url)
        assert refused.value.status == 422
    with pytest.raises(ServiceError, match="a picture must be a data URL"):
        read(reader, "ftp://127.0.0.1/a")


def test_urls_that_are_allowed():
    server = Server()
    reader = PictureReader(Settings(), LOCAL)
    [(content, found)] = read(reader, server.serve("/a.png", picture()))
    assert content == picture()
    assert (found.size, found.mode) == ((24, 16), "RGB")
    with pytest.raises(ServiceError, match="the URL is 'text/html', not a picture"):
        read(reader, server.serve("/a.html", b"<html>", kind="text/html"))
    server.stop()


# ---------------------------------------------------------------------------------------------- settings, the command


@pytest.mark.parametrize("limits, message", [
    ({"max_queue": 0}, "max_queue is 0: it must be at least 1"),
    ({"max_pixels": 10**9}, "max_pixels is 1000000000: it must be at most 80000000"),
    ({"timeout": 0}, "timeout is 0: it must be above 0"),
    ({"timeout": float("nan")}, "timeout is nan: it must be above 0"),
    ({"max_wait": 31}, "max_wait is 31: it must lie between 0 and the timeout"),
    ({"token": " "}, "The token must be printable ASCII"),
    ({"token": "a\nb"}, "The token must be printable ASCII"),
])  # fmt: skip
def test_settings_that_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Settings(**limits)


def test_the_token_is_not_shown():
    assert "geheim" not in repr(Settings(token="geheim"))


def serve(capsys, *flags):
    """What `dim serve` prints on standard error when it refuses to start."""
    assert main(["serve", "--model", "m", "--kb", "k", *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len([line for line in printed.err.splitlines() if not line.startswith("warning: ")]) == 1
    return printed.err


def test_the_command_reports_errors_before_it_loads_anything(capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"The address 127.0.0.1 port {port} is not available: Address already in use" in serve(
            capsys, "--port", str(port)
        )
    assert "port must lie between 0 and 65535, got 70000" in serve(capsys, "--port", "70000")
    assert "--max-batch must be at least 1, got 0" in serve(capsys, "--max-batch", "0")
    assert "k is not a knowledge base" in serve(capsys, "--port", "0")
    monkeypatch.setenv("DIM_SERVE_TOKEN", "")
    assert "The token must be printable ASCII" in serve(capsys)


def test_an_open_service_without_a_token_warns(capsys, caplog, monkeypatch):
    serve(capsys, "--port", "0")
    assert caplog.text == ""  # this machine alone
    serve(capsys, "--host", "0.0.0.0", "--port", "0")
    assert "Whoever reaches 0.0.0.0 can change entities; set DIM_SERVE_TOKEN" in caplog.text
    caplog.clear()
    monkeypatch.setenv("DIM_SERVE_TOKEN", "secret")
    serve(capsys, "--host", "0.0.0.0", "--port", "0")
    assert caplog.text == ""
