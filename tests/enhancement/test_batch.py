"""The Batch API: each request is submitted once, and every answer and failure is collected."""

import json

import pytest

from dim.enhancement.answers import Question
from dim.enhancement.clients import openai_batch
from dim.enhancement.clients.client import EndpointError
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.enhancement.enhance import enhance
from dim.enhancement.entity_text import EntityText
from dim.enhancement.ledger import Ledger
from dim.enhancement.prompts import load_prompt


def people(count: int) -> list[EntityText]:
    return [EntityText(f"e{n}", "Taylor", f"person number {n}") for n in range(count)]


@pytest.fixture
def ask(stub, ledger):
    def run(entities, api="chat", **options):
        question = Question("gpt-x", load_prompt("paper"), api)
        client = OpenAIClient(stub.url, backoff=0)
        return enhance(entities, question, client, ledger, batch=True, poll_seconds=0.01, **options)

    return run


class Died(BaseException):
    """Stands for the death of the process."""


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_one_batch_is_submitted_polled_and_collected(stub, ask, ledger, api):
    stub.polls_to_end = 4
    result = ask(people(7), api)
    assert [row["id"] for row in result.descriptions] == [f"e{n}" for n in range(7)]
    assert result.descriptions[3]["description_model"] == "gpt-x-2026-11"
    (one,) = stub.batches.values()
    assert one["polls"] == 4
    assert one["body"]["completion_window"] == "24h"
    assert one["body"]["metadata"] == {"dim_run": f"{ledger.run_id}/1"}
    assert one["body"]["endpoint"] == {"chat": "/v1/chat/completions", "responses": "/v1/responses"}[api]
    assert stub.requests == []
    assert ask(people(7), api).asked == 0
    assert len(stub.batches) == 1


def test_batch_and_single_requests_share_their_answers(stub, ask, ledger):
    ask(people(3))
    question = Question("gpt-x", load_prompt("paper"))
    result = enhance(people(4), question, OpenAIClient(stub.url), ledger)
    assert (result.asked, len(result.descriptions), stub.entities) == (1, 4, ["e3"])


def test_many_requests_become_several_batches(stub, ask, monkeypatch):
    monkeypatch.setattr(openai_batch, "MAX_REQUESTS", 3)
    assert len(ask(people(7)).descriptions) == 7
    sizes = [len(stub.files[one["body"]["input_file_id"]].splitlines()) for one in stub.batches.values()]
    assert sizes == [3, 3, 1]


def test_batches_are_bounded_in_bytes(stub, ask, monkeypatch):
    monkeypatch.setattr(openai_batch, "MAX_BYTES", 1000)
    assert len(ask(people(7)).descriptions) == 7
    contents = [stub.files[one["body"]["input_file_id"]] for one in stub.batches.values()]
    assert all(len(content) <= 1000 for content in contents)
    assert 1 < len(contents) < 7


@pytest.mark.parametrize("step", ["drop", "lost", 500, 429])
def test_a_submission_without_an_answer_is_looked_up_and_not_doubled(stub, ask, step):
    stub.batch_script = [step]
    assert len(ask(people(3)).descriptions) == 3
    assert len(stub.batches) == 1


@pytest.mark.parametrize("place", ["submitted", "intend", "record"])
def test_a_process_that_dies_submits_nothing_twice(stub, ask, ledger, monkeypatch, place):
    """It dies after the server took the batch, before it was sent, and before the answers are recorded."""
    ask(people(2))  # an earlier batch, which is not the lost one
    noted = getattr(Ledger, place)

    def die(self, *arguments):
        if place == "intend":
            noted(self, *arguments)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, place, die)
        with pytest.raises(Died):
            ask(people(6))
    result = ask(people(6))
    assert len(result.descriptions) == 6
    assert len(stub.batches) == 2
    assert ledger.open_batches() == []


def test_an_entity_that_changed_while_its_batch_ran(stub, ask, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", lambda self, *given: (_ for _ in ()).throw(Died()))
        with pytest.raises(Died):
            ask(people(3))
    changed = [*people(2), EntityText("e2", "Taylor", "another text")]
    assert len(ask(changed).descriptions) == 3
    assert len(stub.batches) == 2


def test_a_batch_that_the_server_refuses_is_told_in_its_words_and_asked_again(stub, ask):
    stub.batch_script = ["failed"]
    with pytest.raises(EndpointError, match="refused the batch batch-2: line 1 is bad"):
        ask(people(3))
    assert len(ask(people(3)).descriptions) == 3


def test_an_expired_batch_keeps_what_it_has(stub, ask):
    stub.batch_script = ["expired"]
    result = ask(people(3))
    assert [row["id"] for row in result.descriptions] == ["e0"]
    assert result.kept[0].reason == "the batch is expired and has no answer"
    assert len(ask(people(3)).descriptions) == 3
    second = list(stub.batches.values())[1]
    assert len(stub.files[second["body"]["input_file_id"]].splitlines()) == 2


def test_single_failures_within_a_batch(stub, ask):
    stub.script = {"e1": [500], "e2": ["empty"]}
    result = ask(people(4))
    assert {one.id: one.reason for one in result.kept} == {"e1": "the server says: scripted 500", "e2": "empty"}
    assert len(ask(people(4)).descriptions) == 3
    assert len(stub.batches) == 2


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_submission_ends_the_run(stub, ask, status):
    stub.batch_script = [status]
    with pytest.raises(EndpointError, match=f"the server says {status}: scripted {status}"):
        ask(people(3))
    assert stub.batches == {}
    assert len(ask(people(3)).descriptions) == 3


@pytest.mark.parametrize(
    "name, spoil, lost",
    [
        ("a blank line", lambda lines: b"\n\n \n".join(lines) + b"\n\n", 0),
        ("a byte-order mark", lambda lines: b"\xef\xbb\xbf" + b"\n".join(lines), 0),
        ("carriage returns", lambda lines: b"\r\n".join(lines), 0),
        ("U+2028 and U+0085", lambda lines: b"\n".join(lines).replace(b"a person", "a\u2028per\u0085son".encode()), 0),
        ("half a line", lambda lines: b"\n".join([lines[0][:70], *lines[1:]]), 1),
        ("half a key", lambda lines: b"\n".join([lines[0][:40], *lines[1:]]), 1),
        ("a line that is a text", lambda lines: b"\n".join([b'"Internal error"', *lines[1:]]), 1),
        ("a line of an unknown request", lambda lines: b"\n".join([*lines, b'{"custom_id": "x", "response": 1}']), 0),
        ("not UTF-8", lambda lines: b"\n".join([lines[0].replace(b"person", b"p\xff\xferson"), *lines[1:]]), 0),
        ("a line twice", lambda lines: b"\n".join([*lines, lines[0]]), 0),
    ],
)
def test_a_damaged_line_costs_its_own_entity_alone(stub, ask, ledger, name, spoil, lost):
    stub.spoil = spoil
    result = ask(people(4))
    assert len(result.descriptions) == 4 - lost
    assert [one.reason[:11] for one in result.kept] == ["unreadable:"] * lost
    assert ledger.open_batches() == []
    assert result.tokens[0] >= 4 * 50
    assert result.tokens[1] >= 4 * 30 + (30 if name == "a line twice" else 0)
    assert ask(people(4)).asked == 0
    assert len(stub.batches) == 1


@pytest.mark.parametrize(
    "line",
    [
        {"response": {"status_code": 500, "body": "Internal error"}},
        {"response": None, "error": "expired"},
        {"response": None, "error": ["odd", {"message": "expired"}]},
        {"response": {"status_code": "500", "body": None}, "error": None},
        {"error": {"code": "batch_expired", "message": "expired"}},
        {"response": {"status_code": 200, "body": {"error": {"code": 502, "message": "Upstream"}}}},
    ],
)
def test_an_error_of_any_shape_is_its_entitys_and_asked_again(stub, ask, line):
    def spoil(lines):
        return b"\n".join([json.dumps({"custom_id": json.loads(lines[0])["custom_id"], **line}).encode(), *lines[1:]])

    stub.spoil = spoil
    result = ask(people(4))
    assert len(result.descriptions) == 3
    assert result.kept[0].reason.startswith("the server says: ")
    assert (result.asked, result.failed) == (3, 1)


def test_a_page_instead_of_the_batch_is_one_line_and_loses_nothing(stub, ask, monkeypatch):
    whole = stub._batch
    monkeypatch.setattr(OpenAIClient, "pause", lambda self, attempt: 0.0)
    stub._batch = lambda name: whole(name) if stub.batches[name]["polls"] == 0 else "Sign in"
    with pytest.raises(EndpointError, match="is not one of the Batch API; given up after 6 tries"):
        ask(people(3))
    stub._batch = whole
    assert len(ask(people(3)).descriptions) == 3
    assert len(stub.batches) == 1


def test_an_answer_about_an_entity_that_has_changed_is_paid_for(stub, ask, ledger, monkeypatch):
    stub.usage = False
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", lambda self, *given: (_ for _ in ()).throw(Died()))
        with pytest.raises(Died):
            ask(people(1))
    gone = Question("gpt-x", load_prompt("paper")).about(people(1)[0])
    changed = [EntityText("e0", "Taylor", "another text")]
    result = ask(changed)
    now = Question("gpt-x", load_prompt("paper")).about(changed[0])
    assert result.tokens == (gone.most_tokens + now.most_tokens, gone.most_answer_tokens + now.most_answer_tokens)


def test_an_open_batch_is_not_asked_about_a_second_time(stub, ask, ledger, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", lambda self, *given: (_ for _ in ()).throw(Died()))
        with pytest.raises(Died):
            ask(people(3))
    question = Question("gpt-x", load_prompt("paper"))
    with pytest.raises(ValueError, match="notes a batch that is not collected yet: add --batch"):
        enhance(people(3), question, OpenAIClient(stub.url), ledger)
    assert stub.requests == []


def test_the_budget_bounds_a_batch_by_its_worst_case(stub, ask):
    result = ask(people(50), max_tokens=5_000)
    assert sum(result.tokens) <= 5_000
    (one,) = stub.batches.values()
    sent = len(stub.files[one["body"]["input_file_id"]].splitlines())
    assert 0 < sent < 50
    assert result.not_asked == 50 - sent
    again = ask(people(50), max_tokens=5_000)  # answers cost less than their worst case: there is room for some more
    assert sum(again.tokens) <= 5_000
    assert 0 < again.asked < sent


def test_lines_of_a_batch_are_what_the_api_wants(stub, ask):
    ask(people(1))
    (content,) = (value for name, value in stub.files.items() if name.startswith("file-"))
    line = json.loads(content)
    assert set(line) == {"custom_id", "method", "url", "body"}
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    assert line["body"] == Question("gpt-x", load_prompt("paper")).about(people(1)[0]).body
