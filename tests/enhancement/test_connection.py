"""Addresses, keys, proxies and time: what cannot work is one line before anything is asked, and no secret is shown."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_stub import KEY

from dim.cli.main import main
from dim.enhancement.answers import Question
from dim.enhancement.clients.address import Mask, read_address
from dim.enhancement.clients.client import EndpointError
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.enhancement.enhance import enhance
from dim.enhancement.entity_text import EntityText
from dim.enhancement.prompts import Prompt, load_prompt
from dim.errors import DIMError
from dim.experts.openai_compatible import OpenAIExpert

QUESTION = Question("m", load_prompt("paper"))


def people(count: int) -> list[EntityText]:
    return [EntityText(f"e{n}", f"Ada {n}", "A person.") for n in range(count)]


@contextmanager
def raw_server(serve):
    """A server that handles each connection by a function of its socket."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    listening.close()


@pytest.mark.parametrize(
    "ending, path",
    [
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/?api-version=2025-01-01", "/v1/chat/completions?api-version=2025-01-01"),
        ("/v1/responses", "/v1/chat/completions"),
        ("/v1?api-version=2025-01-01&x=a%20b", "/v1/chat/completions?api-version=2025-01-01&x=a+b"),
        ("//v1//", "//v1/chat/completions"),
    ],
)
def test_an_address_with_a_slash_a_path_or_a_query(ledger, monkeypatch, ending, path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    seen = []

    def serve(connection):
        seen.append(connection.recv(65536).decode())
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()

    with raw_server(serve) as url, pytest.raises(EndpointError, match="404"):
        enhance(people(1), QUESTION, OpenAIClient(url.removesuffix("/v1") + ending), ledger)
    assert seen[0].split()[1] == path.replace("a+b", "a%20b") or seen[0].split()[1] == path
    assert ("api-key" in seen[0].lower()) == ("api-version" in ending)  # Azure's name of the key


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1", "ftp://a/v1", "http://", "https:///v1", "http://a:99999/v1", "http://a:port/v1",
        "http://a:0/v1", "http://[::1/v1", "http://a b/v1", "http://a\n/v1", "http://a/\x00v1", "http://a/\ud800",
        "http://ada:secret-pass@a:99999/v1", " http://a/v1", "http://" + "a" * 80 + ".de\u00e4/v1",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_one_line_without_the_address(url):
    with pytest.raises(DIMError, match="--base-url") as refused:
        OpenAIClient(url)
    assert "\n" not in str(refused.value)
    assert "secret-pass" not in str(refused.value)


@pytest.mark.parametrize(
    "key", [f"{KEY}\n", f"{KEY}\r", f" {KEY}", f"{KEY} ", "sk-\u201cmadeup-0123456789\u201d", "a\tb"]
)
def test_a_key_that_no_header_can_hold_is_refused_unseen(stub, monkeypatch, tmp_path, capsys, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    (tmp_path / "e.jsonl").write_text('{"id": "e1", "name": "Ada"}\n')
    command = ["enhance", str(tmp_path / "e.jsonl"), "--llm", "m", "--base-url", stub.url, "--out"]
    assert main([*command, str(tmp_path / "new.jsonl")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "OPENAI_API_KEY" in error
    assert "madeup" not in error
    assert stub.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["e.jsonl"]


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks4://u:secret-pass@a:1", "nonsense://a", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_one_line(monkeypatch, proxy):
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(DIMError, match="cannot be used") as refused:
        OpenAIClient("http://127.0.0.1:9/v1")
    assert "secret-pass" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_user_and_a_password_go_to_the_server_alone(stub, ledger, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    url = stub.url.replace("http://", "http://ada:secret-pass@") + "?token=hidden-token-0815"
    assert OpenAIExpert("m", url).identity == f"m at {stub.url}"
    stub.script = {"e1": [lambda body, good: (400, {"error": {"message": "ada:secret-pass, hidden-token-0815"}})]}
    result = enhance(people(2), QUESTION, OpenAIClient(url), ledger)
    assert stub.headers[0]["Authorization"] == "Basic YWRhOnNlY3JldC1wYXNz"
    assert "***" in result.kept[0].reason
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in ("secret-pass", "hidden-token"):
        assert secret not in result.kept[0].reason
        assert secret.encode() not in files


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_key_that_a_server_echoes_is_in_no_message_and_no_file(stub, ledger, tmp_path, status):
    stub.script = {"e0": [lambda body, good: (status, {"error": {"message": f"bad key {KEY}, {KEY[:12]}..."}})] * 9}
    if status == 200:
        stub.script["e0"] = [lambda body, good: (200, f"<html>{KEY}</html>".encode())]
    try:
        result = enhance(people(1), QUESTION, OpenAIClient(stub.url, tries=2, backoff=0), ledger)
        said = result.kept[0].reason
    except EndpointError as error:
        said = str(error)
    assert "***" in said
    assert "madeup" not in said
    assert b"madeup" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@given(
    st.text("abcdefgh", min_size=8, max_size=30), st.text("abcdefgh ", max_size=40), st.text("abcdefgh ", max_size=40)
)
def test_no_eight_characters_of_a_secret_are_shown(secret, before, after):
    shown = Mask([secret])(f"{before}{secret}{after}")
    assert not any(secret[at : at + 8] in shown for at in range(len(secret) - 7))


def test_a_short_key_hides_itself_and_no_words():
    assert Mask(["x"])("exact: x, 'x'") == "exact: ***, '***'"
    assert read_address("http://a/v1").secrets() == []


@pytest.mark.parametrize("model, prompt", [("m\ud800", "Who?"), ("", "Who?"), ("m", "Who is \udc00 it?")])
def test_half_a_character_is_refused_before_anything_is_asked(model, prompt):
    with pytest.raises(DIMError, match="half of a character|is empty"):
        Question(model, Prompt("mine", prompt))


@pytest.mark.parametrize("options", [{"temperature": float("nan")}, {"max_answer_tokens": 10**30}])
def test_numbers_that_no_request_can_hold(options):
    with pytest.raises(DIMError, match="must be"):
        Question("m", load_prompt("paper"), **options)


def test_half_a_character_in_a_models_name_for_captions():
    with pytest.raises(DIMError, match="half of a character"):
        OpenAIExpert("m\udcff", "http://127.0.0.1:9/v1")


class TestTime:
    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

    def ask(self, url, ledger, timeout=0.5, **options):
        begun = time.monotonic()
        client = OpenAIClient(url, timeout=timeout, tries=2, backoff=0)
        result = enhance(people(1), QUESTION, client, ledger, **options)
        assert time.monotonic() - begun < 30  # these servers never end an answer
        return result

    def test_the_timeout_bounds_an_answer_that_drips(self, ledger):
        def drip(connection):
            connection.recv(65536)
            try:
                connection.sendall(self.HEAD)
                while True:
                    connection.sendall(b"1\r\n\n\r\n")
                    time.sleep(0.05)
            except OSError:
                pass

        with raw_server(drip) as url:
            result = self.ask(url, ledger)
            assert result.kept[0].reason.startswith("unreadable: ")
            request = QUESTION.about(people(1)[0])
            assert result.tokens == (request.most_tokens, request.most_answer_tokens)  # it had begun: it is paid for
            assert self.ask(url, ledger).asked == 0

    def test_a_try_that_timed_out_may_be_paid_for(self, ledger):
        def hold(connection):
            connection.recv(65536)
            time.sleep(2)

        request = QUESTION.about(people(1)[0])
        worst = request.most_tokens + request.most_answer_tokens
        with raw_server(hold) as url:
            result = self.ask(url, ledger, max_tokens=int(2.5 * worst))
            assert result.kept[0].reason == "no answer within 0.5 s; given up after 2 tries"
            assert sum(result.tokens) == 2 * worst
            assert self.ask(url, ledger, max_tokens=int(2.5 * worst)).not_asked == 1

    def test_an_answer_that_breaks_off_is_paid_for_once(self, ledger):
        asked = []

        def cut(connection):
            asked.append(connection.recv(65536))
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"choices": [{"mess')
            connection.close()

        with raw_server(cut) as url:
            for _ in range(2):
                result = self.ask(url, ledger, timeout=20)
                assert "choices" in result.kept[0].reason
        assert len(asked) == 1

    def test_an_endless_answer_ends(self, ledger, monkeypatch):
        monkeypatch.setattr("dim.enhancement.clients.openai_client._LARGEST", 1_000_000)

        def flood(connection):
            connection.recv(65536)
            try:
                connection.sendall(self.HEAD)
                while True:
                    connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            except OSError:
                pass

        with raw_server(flood) as url:
            assert self.ask(url, ledger).kept[0].reason.startswith("unreadable: ")

    @pytest.mark.parametrize(
        "options", [{"timeout": float("nan")}, {"timeout": float("inf")}, {"backoff": float("nan")}]
    )
    def test_times_are_numbers(self, options):
        with pytest.raises(DIMError, match="must be above 0"):
            OpenAIClient("http://127.0.0.1:9/v1", **options)


class TestDeath:
    """Whatever fails beside the requests ends the run in one line."""

    @pytest.mark.parametrize("error", [RuntimeError("odd\nlines"), OSError(5, "Input/output error"), KeyError("x")])
    def test_a_ledger_that_raises_anything(self, stub, ledger, monkeypatch, error):
        monkeypatch.setattr(ledger, "record", lambda *given: (_ for _ in ()).throw(error))
        begun = time.monotonic()
        with pytest.raises(DIMError, match="the request about 'e.*' failed") as failed:
            enhance(people(40), QUESTION, OpenAIClient(stub.url), ledger, concurrency=8)
        assert "\n" not in str(failed.value)
        assert time.monotonic() - begun < 10
        assert len(stub.requests) <= 16

    def test_a_client_that_raises_anything(self, ledger):
        class Odd:
            async def ask(self, request):
                raise LookupError("odd")

            async def close(self):
                pass

        with pytest.raises(DIMError, match="LookupError: odd"):
            enhance(people(40), QUESTION, Odd(), ledger, concurrency=8)

    def test_all_requests_failed_is_exit_code_1(self, stub, tmp_path, capsys):
        rows = [{"id": one.id, "name": one.name} for one in people(3)]
        (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = ["enhance", str(tmp_path / "e.jsonl"), "--llm", "m", "--base-url", stub.url, "--out"]
        stub.script = {one.id: [422] for one in people(3)}
        assert main([*command, str(tmp_path / "new.jsonl")]) == 1
        stub.script = {"e1": [422]}
        assert main([*command, str(tmp_path / "new.jsonl")]) == 0
        assert "1 kept: refused" in capsys.readouterr().out
        assert main([*command, str(tmp_path / "new.jsonl")]) == 0  # e1 was asked again, and answered


def test_a_server_that_ignores_the_limit_is_expected_to_do_so(stub, ledger):
    """It answers with ten times as many tokens as it may."""

    def long(body, good):
        return 200, {**good, "usage": {"prompt_tokens": 50, "completion_tokens": 3000, "total_tokens": 3050}}

    stub.script = {one.id: [long] for one in people(30)}
    result = enhance(people(30), QUESTION, OpenAIClient(stub.url), ledger, concurrency=1, max_tokens=10_000)
    assert sum(result.tokens) <= 10_000
    assert result.asked == 3
    assert "max_completion_tokens" in stub.requests[0]
    assert "max_tokens" in stub.requests[1]
