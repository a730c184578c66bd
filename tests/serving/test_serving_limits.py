"""The service with malformed, large and slow requests and closed connections; its metrics and its shutdown."""

import concurrent.futures
import json
import re
import socket
import time

import httpx2 as httpx
import pytest
from serving_server import ENTITIES, WORDS, data_url, error_of, make, png, serving

from dim import DIMLinker

LIMIT = 100_000  # bytes of a body
RED = data_url(png())
HEAD = b"POST /link HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def folders(tiny_dim_dir, tmp_path_factory):
    return make(tmp_path_factory.mktemp("serving"), tiny_dim_dir)


@pytest.fixture(scope="module")
def server(folders):
    """A service with low limits and batches of one mention."""
    limits = ["--max-batch", "1", "--timeout", "3", "--max-body", "0.1", "--max-pixels", "0.01"]
    with serving(*folders, "--device", "cpu", *limits) as found:
        yield found


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made
        assert made.get("/health").status_code == 200  # after every test


def raw(server, content, wait=10.0):
    """Sends bytes, and returns the response until the connection is closed or `wait` seconds are over."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        connection.sendall(content)
        found = b""
        while not found.endswith(b"}}") and (part := connection.recv(65536)):
            found += part
        return found


def test_without_batching_answers_equal_the_linkers_exactly(client, folders):
    linker = DIMLinker.from_pretrained(*folders, device="cpu")
    for sentence, picture in (("We saw [[Amber]] here.", None), ("[[Jade]]", png())):
        images = [] if picture is None else [data_url(picture)]
        answer = client.post("/link", json={"mentions": [{"sentence": sentence, "images": images}], "k": 64})
        expected = linker(sentence, image=picture, k=64).to_dict()
        [result] = answer.json()["results"]
        assert {name: result[name] for name in expected} == expected


@pytest.mark.parametrize("asked, message", [
    ({}, "mentions: Field required"),
    ({"mentions": []}, "mentions: List should have at least 1 item"),
    ({"mentions": [{"sentence": "[[a]]"}] * 65}, "mentions: List should have at most 64 items"),
    ({"mentions": [{"sentence": "[[a]]"}], "k": 65}, "k: Input should be less than or equal to 64"),
    ({"mentions": [{"sentence": "[[a]]", "picture": ""}]}, r"mentions\.0\.picture: Extra inputs"),
    ({"mentions": [{"sentence": 1}]}, r"mentions\.0\.sentence: Input should be a valid string"),
    ({"mentions": [{"sentence": "a" * 20_001}]}, r"mentions\.0\.sentence: String should have at most 20000"),
    ({"mentions": [{"sentence": "[[a]]"}, {"sentence": "a"}]}, r"mentions\.1: Mark the mention by double brackets"),
    ({"mentions": [{"sentence": "[[a]] [[b]]"}]}, r"mentions\.0: The sentence marks several mentions"),
    ({"mentions": [{"sentence": "a", "mention": " "}]}, r"mentions\.0: The mention is empty"),
    ({"mentions": [{"sentence": " ", "mention": "a"}]}, r"mentions\.0: The mention and its sentence must not be blank"),
    ({"mentions": [{"sentence": "a b", "start": 1, "end": 2}]}, r"mentions\.0: The mention and its sentence must not"),
    ({"mentions": [{"sentence": "a", "start": 0}]}, r"mentions\.0: Give both start and end"),
    ({"mentions": [{"sentence": "a", "start": 0, "end": 9}]}, r"mentions\.0: The span \(0, 9\) does not lie"),
    ({"mentions": [{"sentence": "[[a]]", "images": [""] * 9}]}, r"mentions\.0\.images: List should have at most 8"),
    ({"mentions": [{}]}, r"mentions\.0: Mark the mention by double brackets"),
    ({"mentions": [{"images": [RED], "sentence": "a"}]}, r"mentions\.0: Mark the mention by double brackets"),
    ({"mentions": [{"images": [RED], "region": [0, 0, 21, 9]}]}, r"mentions\.0: field 'region': it is \(0, 0, 21, 9\), "
     "outside of the picture, which has 20 x 20 pixels"),
    ({"mentions": [{"images": [RED], "region": [0, 0, -1, 9]}]}, r"mentions\.0: field 'region': it is .*is empty"),
    ({"mentions": [{"images": [RED], "region": [-1, 0, 1, 9]}]}, r"mentions\.0: field 'region': it is .*outside"),
    ({"mentions": [{"images": [RED, RED], "region": [0, 0, 9, 9]}]}, r"mentions\.0: field 'region': it needs one"),
    ({"mentions": [{"sentence": "[[a]]", "region": [0, 0, 9, 9]}]}, r"mentions\.0: field 'region': it needs a"),
    ({"mentions": [{"images": [RED], "region": [0, 0, 9]}]}, r"mentions\.0\.region: List should have at least 4"),
    ({"mentions": [{"images": [RED], "region": [0, 0, 9.5, 9]}]}, r"mentions\.0\.region\.2: Input should be a"),
    ({"mentions": [{"images": ["data:,x"]}]}, r"picture 'mentions\.0\.images\.0': is not a picture"),
])  # fmt: skip
def test_invalid_requests(client, asked, message):
    status, code, told = error_of(client.post("/link", json=asked))
    assert (status, code) == (422, "invalid")
    assert re.search(message, told)


BODIES = [b"", b"{", b"[]", b"null", b'{"mentions": NaN}', b"[" * 50_000]
BODIES += [b'{"mentions": [{"sentence": "\\ud800"}]}', b'{"mentions": [{"sentence": "\xff"}]}']


@pytest.mark.parametrize("method, path", [("POST", "/link"), ("PUT", "/entities/a")])
def test_malformed_bodies(client, method, path):
    for body in BODIES:
        answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
        assert error_of(answer)[:2] in {(422, "invalid"), (400, "bad_request")}, body


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("POST", "/link", b'{"mentions": [{"mention": "a", "mention": "b"}]}'),
        ("PUT", "/entities/a", b'{"name": "a", "name": "b"}'),
        ("PUT", "/entities/a", b'{"name": "a", "extra": {"b": 1, "b": 2}}'),
    ],
)
def test_a_key_that_occurs_twice(client, method, path, body):
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert error_of(answer)[:2] == (422, "invalid")
    assert "occurs twice" in error_of(answer)[2]


def test_nested_and_odd_fields_of_an_entity(client):
    for extra in ('{"a":' * 400 + "1" + "}" * 400, '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}'):
        body = '{"name": "x", "extra": ' + extra + "}"
        answer = client.put("/entities/odd", content=body, headers={"Content-Type": "application/json"})
        if answer.status_code != 201:
            assert error_of(answer)[:2] in {(422, "invalid"), (400, "bad_request")}
        else:
            assert client.get("/entities/odd").status_code == 200
            client.delete("/entities/odd")


@pytest.mark.parametrize("source, message", [
    ("data:image/png;base64,AAAA", r"picture 'mentions\.0\.images\.0': is not a picture"),
    (data_url(png()[:60]), r"'mentions\.0\.images\.0': is truncated or damaged"),
    (data_url(png(width=101, height=100)), r"'mentions\.0\.images\.0': has 101 x 100 pixels: 1 to 10000 are accepted"),
    ("data:image/png;base64,@", r"mentions\.0\.images\.0: the data URL is not valid base64"),
    ("data:image/png,AAAA", r"picture 'mentions\.0\.images\.0': is not a picture"),
    ("data:image/png;base64", r"mentions\.0\.images\.0: the data URL has no comma: it must be data:"),
    ("data:image/png;base64,AAAAA", r"mentions\.0\.images\.0: the data URL is not valid base64: one character is"),
    ("data:,", r"picture 'mentions\.0\.images\.0': is empty"),
    ("/etc/hostname", r"mentions\.0\.images\.0: a picture must be a data URL"),
    ("file:///etc/hostname", r"mentions\.0\.images\.0: a picture must be a data URL"),
    ("http://127.0.0.1/a.png", r"mentions\.0\.images\.0: this service does not fetch URLs"),
    ("upload:a", r"mentions\.0\.images\.0: the body has no file part 'a'"),
])  # fmt: skip
def test_invalid_pictures(client, source, message):
    status, code, told = error_of(client.post("/link", json={"mentions": [{"sentence": "[[a]]", "images": [source]}]}))
    assert (status, code) == (422, "invalid")
    assert re.search(message, told)


def test_invalid_multipart(client):
    twice = [("a", ("a", png())), ("a", ("a", png()))]
    assert error_of(client.post("/link", data={"request": "{}"}, files=twice))[2] == "The part 'a' is sent twice."
    assert "needs the part 'request'" in error_of(client.post("/link", files=twice[:1]))[2]
    assert "The part 'b' is not a file" in error_of(client.post("/link", data={"b": "c"}, files=twice[:1]))[2]
    broken = client.post("/link", content=b"--x", headers={"Content-Type": "multipart/form-data"})
    assert error_of(broken)[:2] == (400, "bad_request")
    assert error_of(client.post("/link", content=b"a"))[:2] == (415, "unsupported_media_type")


def test_paths_methods_and_hosts(client):
    assert error_of(client.get("/nothing"))[:2] == (404, "not_found")
    assert error_of(client.get("/link"))[:2] == (405, "method_not_allowed")
    assert client.post("/entities/a").headers["allow"] == "DELETE, GET, PUT"
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost:80:80", ""):
        assert error_of(client.get("/health", headers={"Host": host}))[:2] == (421, "wrong_host")
    for host in ("localhost", "LOCALHOST:1", "[::1]:80"):
        assert client.get("/health", headers={"Host": host}).status_code == 200


# ------------------------------------------------------------------------------------------------- large, slow, gone


def test_a_body_with_a_too_large_content_length_is_not_read(server, client):
    began = time.monotonic()
    answer = raw(server, HEAD % (LIMIT + 1))  # nothing of the body is sent
    assert time.monotonic() - began < 2
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"too_large"' in answer
    assert b"connection: close" in answer.lower()


def test_a_chunked_body_is_cut_off_at_the_limit(client):
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(40):
            sent += 10_000
            yield b"a" * 10_000

    assert error_of(client.post("/link", content=chunks()))[:2] == (413, "too_large")
    just = b'{"mentions": [{"sentence": "[[Amber]]"}]}'
    just += b" " * (LIMIT - len(just))
    headers = {"Content-Type": "application/json"}
    assert client.post("/link", content=iter([just[:7], just[7:]]), headers=headers).status_code == 200
    assert error_of(client.post("/link", content=iter([just, b" "]), headers=headers))[:2] == (413, "too_large")


def test_a_slow_client_gets_an_error_and_does_not_delay_others(server, client):
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        slow = thread.submit(raw, server, HEAD % 90 + b"{")
        for _ in range(5):
            began = time.monotonic()
            assert client.post("/link", json={"mentions": [{"sentence": "[[Amber]]"}]}).status_code == 200
            assert time.monotonic() - began < 2
        answer = slow.result()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"slow_request"' in answer


def test_closed_connections(server, client):
    body = json.dumps({"mentions": [{"sentence": f"[[{word}]]"} for word in WORDS], "k": 5}).encode()
    head = (
        b"POST /link HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    for content in (head[:30], head, head + body[:50], head + body):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(content)
                # With nothing left to send, closing resets the connection instead of waiting.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    answer = client.post("/link", json={"mentions": [{"sentence": "[[Amber]]"}]})
    assert answer.status_code == 200
    assert 'handler="/link",method="POST",status="499"' in client.get("/metrics").text
    assert 'status="500"' not in client.get("/metrics").text


# ------------------------------------------------------------------------------------------------------- counters, end


def test_metrics(client):
    client.get("/entities/e1")
    client.get("/entities/e2")
    client.request("NONSENSE", "/entities/e2")
    text = client.get("/metrics").text
    route = r"/entities/\{entity_id:path\}"
    assert re.search(rf'dim_http_requests_total\{{handler="{route}",method="GET",status="200"\}} \d', text)
    assert f'handler="{"/entities/{entity_id:path}"}",method="other",status="405"' in text
    assert "NONSENSE" not in text
    assert "e2" not in re.findall(r'handler="([^"]*)"', text)
    for name in ("dim_queue_mentions 0", "dim_batch_mentions_bucket", "process_resident_memory_bytes",
                 'dim_http_request_seconds_bucket{handler="/link",le="0.1"}'):  # fmt: skip
        assert name in text


def test_sigterm_finishes_the_accepted_requests(folders):
    mentions = [{"sentence": f"We saw [[{WORDS[row % 10]} number {row}]] here."} for row in range(64)]
    with serving(*folders, "--device", "cpu") as server:

        def ask(_):
            with httpx.Client(base_url=server.url, timeout=60) as one:
                return one.post("/link", json={"mentions": mentions})

        ask(0)  # the first takes longer
        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            answers = [threads.submit(ask, row) for row in range(12)]
            concurrent.futures.wait(answers, return_when=concurrent.futures.FIRST_COMPLETED)
            waiting = sum(not answer.done() for answer in answers)
            assert server.end() == 0
            assert [answer.result().status_code for answer in answers] == [200] * 12
        assert waiting > 3
        assert all(len(answer.result().json()["results"]) == 64 for answer in answers)
        with pytest.raises(httpx.ConnectError):
            ask(0)
        assert "Traceback" not in server.process.stderr.read()
    assert len(ENTITIES) == 100
