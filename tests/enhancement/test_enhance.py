"""`dim enhance` against a server on this machine that fails in every way that servers fail."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from openai_stub import KEY, description

from dim.cli.main import main
from dim.common.answer_store import NoSpaceError
from dim.corpora.build.descriptions import read_descriptions
from dim.enhancement.answers import Answer, Question
from dim.enhancement.budget import Prices
from dim.enhancement.clients.client import EndpointError
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.enhancement.enhance import enhance
from dim.enhancement.entity_text import EntityText
from dim.enhancement.ledger import Ledger
from dim.enhancement.prompts import load_prompt

PAPER = load_prompt("paper")


def people(count: int) -> list[EntityText]:
    """Entities that share a name."""
    return [EntityText(f"e{n}", "Taylor", f"person number {n}", "person") for n in range(count)]


@pytest.fixture
def ask(stub, ledger):
    """Enhances entities at the stub, without waiting between tries."""

    def run(entities, api="chat", timeout=5.0, tries=4, backoff=0.0, **options):
        question = Question("gpt-x", PAPER, api)
        client = OpenAIClient(stub.url, timeout=timeout, tries=tries, backoff=backoff)
        return enhance(entities, question, client, ledger, **options)

    return run


def reasons(result) -> dict[str, str]:
    return {one.id: one.reason for one in result.kept}


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_every_entity_gets_its_own_description_with_its_provenance(stub, ask, api):
    result = ask(people(20), api, concurrency=4)
    assert result.kept == []
    assert [row["id"] for row in result.descriptions] == [f"e{n}" for n in range(20)]
    assert sorted(stub.entities) == sorted(f"e{n}" for n in range(20))
    assert stub.most <= 4
    row = result.descriptions[7]
    created = datetime.fromisoformat(row.pop("description_created_at").replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - created) < timedelta(minutes=1)
    usage = json.loads(row.pop("description_usage"))
    assert usage["total_tokens"] == 80
    assert row == {
        "id": "e7",
        "description": description({"id": "e7", "name": "Taylor"}),
        "description_original": "person number 7",
        "description_source": "llm",
        "description_model": "gpt-x-2026-11",
        "description_prompt": PAPER.version,
        "description_finish_reason": "stop",
    }
    assert result.tokens == (20 * 50, 20 * 30)
    assert stub.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert all(body["stream"] is False for body in stub.requests)


def test_what_is_answered_is_never_asked_again(stub, ask):
    first = ask(people(5))
    second = ask(people(8))
    assert (first.asked, second.asked) == (5, 3)
    assert sorted(stub.entities) == sorted(f"e{n}" for n in range(8))
    assert second.descriptions[:5] == first.descriptions
    changed = [EntityText("e0", "Taylor", "another text"), *people(8)[1:]]
    assert ask(changed).asked == 1


@pytest.mark.parametrize("step", [429, 500, 503, 408, 409, "drop"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_what_passes_is_tried_again(stub, ask, step, api):
    stub.script = {"e1": [step, step]}
    result = ask(people(3), api)
    assert (len(result.descriptions), result.kept) == (3, [])
    assert stub.entities.count("e1") == 3


@pytest.mark.parametrize("step", ["malformed", "html", "shape"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_answer_that_cannot_be_read_is_paid_for_kept_and_asked_again_only_on_demand(stub, ask, ledger, step, api):
    stub.script = {"e1": [step]}
    request = Question("gpt-x", PAPER, api).about(people(3)[1])
    for run in (1, 2):
        result = ask(people(3), api)
        assert reasons(result)["e1"].startswith("unreadable: the server's answer has no text (")
        assert result.asked == (3 if run == 1 else 0)
    assert stub.entities.count("e1") == 1
    worst = (request.most_tokens, request.most_answer_tokens)
    assert result.tokens == (2 * 50 + worst[0], 2 * 30 + worst[1])
    assert ledger.answer(request.key).raw[:9] in ('{"choices', "<html>bus")
    again = ask(people(3), api, retry_unreadable=True)
    assert (again.asked, again.kept, stub.entities.count("e1")) == (1, [], 2)
    assert again.tokens == (3 * 50 + worst[0], 3 * 30 + worst[1])  # the first answer was paid for, too


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_refusal_of_one_request_leaves_the_others_alone(stub, ask, status):
    stub.script = {"e3": [status] * 9, "e5": [(403, {}, "moderation_blocked")]}
    result = ask(people(30), concurrency=1)
    assert reasons(result) == {
        "e3": f"refused: the server says {status}: scripted {status}",
        "e5": "refused: the server says 403: scripted 403",
    }  # fmt: skip
    assert (result.asked, result.refused, result.failed, len(stub.entities)) == (29, 1, 0, 30)


@pytest.mark.parametrize("refusal", [413, (400, {}, "context_length_exceeded")])
def test_requests_that_are_too_large_never_end_the_run(stub, ask, refusal):
    stub.script = {f"e{n}": [refusal] for n in range(15)}
    result = ask(people(17), concurrency=1)
    assert (result.asked, result.refused, len(stub.entities)) == (2, 15, 17)


@pytest.mark.parametrize("status", [400, 422])
def test_refusals_of_all_requests_end_the_run(stub, ask, status):
    stub.script = {f"e{n}": [status] for n in range(50)}
    with pytest.raises(EndpointError, match=f"10 requests in a row failed; .* the server says {status}: scripted"):
        ask(people(50), concurrency=1)
    assert len(stub.entities) == 10


def test_a_server_too_slow_is_tried_again(stub, ask):
    stub.script = {"e0": [1.5]}
    assert len(ask(people(1), timeout=0.4).descriptions) == 1
    assert stub.entities == ["e0", "e0"]


@pytest.mark.parametrize(
    "step, reason",
    [
        (500, "the server says 500: scripted 500"),
        ("drop", "the connection failed"),
        (1.0, "no answer within 0.3 s"),
    ],
)
def test_one_that_fails_for_good_keeps_its_description_and_is_listed(stub, ask, step, reason):
    stub.script = {"e1": [step] * 9}
    result = ask(people(3), timeout=0.3, tries=2)
    assert [row["id"] for row in result.descriptions] == ["e0", "e2"]
    assert re.search(reason, reasons(result)["e1"])
    assert reasons(result)["e1"].endswith("given up after 2 tries")
    assert stub.entities.count("e1") == 2
    stub.script = {}
    assert len(ask(people(3)).descriptions) == 3  # the next run sends that request alone
    assert stub.entities.count("e0") == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_by_all(stub, ask, as_date):
    until = datetime.now(timezone.utc) + timedelta(seconds=3)
    stub.script = {"e0": [(429, {"Retry-After": format_datetime(until, usegmt=True) if as_date else "1.5"})]}
    assert len(ask(people(6), concurrency=1).descriptions) == 6
    pause = stub.times[1] - stub.times[0]
    assert pause >= (1 if as_date else 1.5)  # a date has whole seconds
    assert pause < 4


def test_retry_after_holds_back_the_other_requests(stub, ask):
    stub.latency = 0.1
    stub.script = {"e0": [(429, {"Retry-After": "1"})]}
    ask(people(12), concurrency=2)
    assert max(b - a for a, b in zip(stub.times, stub.times[1:], strict=False)) >= 0.9


def test_the_backoff_grows(stub, ask):
    stub.script = {"e0": [500, 500, 500]}
    ask(people(1), backoff=0.2)
    pauses = [b - a for a, b in zip(stub.times, stub.times[1:], strict=False)]
    for pause, expected in zip(pauses, (0.2, 0.4, 0.8), strict=True):
        assert 0.75 * expected <= pause <= 1.25 * expected + 0.3


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_what_does_not_pass_ends_the_run_at_once_in_the_servers_words(stub, ask, ledger, status):
    stub.script = {"e3": [status] * 9}
    with pytest.raises(EndpointError, match=f"the server says {status}: scripted {status}"):
        ask(people(50), concurrency=1)
    assert stub.entities == ["e0", "e1", "e2", "e3"]
    assert len(ledger.keys()) == 3


def test_answers_on_the_way_are_kept_when_the_run_ends(stub, ask, ledger):
    stub.script = {"e0": [401], "e1": [0.3], "e2": [0.3]}
    with pytest.raises(EndpointError, match="401"):
        ask(people(50), concurrency=3)
    assert len(ledger.keys()) == len(stub.entities) - 1 >= 2


def test_an_exhausted_quota_and_a_long_pause_end_the_run(stub, ask):
    stub.script = {"e0": [(429, {}, "insufficient_quota")]}
    with pytest.raises(EndpointError, match="429"):
        ask(people(1))
    stub.script = {"e0": [(429, {"Retry-After": "86400"})]}
    with pytest.raises(EndpointError, match="asks to wait 86400 s"):
        ask(people(1))
    assert len(stub.entities) == 2


def test_a_server_that_is_down_ends_the_run_soon(stub, ask):
    stub.script = {f"e{n}": [500] * 9 for n in range(500)}
    with pytest.raises(EndpointError, match="10 requests in a row failed; the last one: the server says 500"):
        ask(people(500), tries=2, concurrency=4)
    assert len(stub.requests) <= 2 * (10 + 4)


def test_an_entity_that_the_server_declines_is_kept_and_not_asked_again(stub, ask):
    stub.script = {"e0": [(400, {}, "content_filter")]}
    assert "scripted 400" in reasons(ask(people(2)))["e0"]
    assert "scripted 400" in reasons(ask(people(2)))["e0"]
    assert stub.entities == ["e0", "e1"]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_answers_that_are_no_descriptions_are_kept_out_and_listed(stub, ask, api):
    stub.script = {
        "e0": ["empty"], "e1": ["length"], "e2": ["refusal"], "e3": ["filter"],
        "e4": [("text", "I'm sorry, but I do not know this person.")],
        "e5": [("text", "Sure! Here is the description: a singer of this country.")],
        "e6": [("text", "Sie ist eine bekannte deutsche Sängerin und Schauspielerin aus Berlin.")],
        "e7": [("text", "A person.")], "e8": [("text", "A person.")], "e9": [("text", "A  person.\x00")],
    }  # fmt: skip
    result = ask(people(12), api)
    assert [row["id"] for row in result.descriptions] == ["e10", "e11"]
    expected = ["empty", "cut off", "refused: I will", "refused", "refused: says", "boiler-plate", "wrong language: de"]
    expected += ["boiler-plate: the same answer for several entities"] * 3
    for one, start in zip(result.kept, expected, strict=True):
        assert one.reason.startswith(start), one
    assert result.kept[4].answer == "I'm sorry, but I do not know this person."
    assert ask(people(12), api).asked == 0  # paid for, durable, and still refused


def test_a_server_that_counts_no_tokens_is_charged_the_bounds(stub, ask):
    stub.usage = False
    result = ask(people(1))
    request = Question("gpt-x", PAPER).about(people(1)[0])
    assert result.tokens == (request.most_tokens, request.most_answer_tokens)
    assert result.descriptions[0]["description_usage"] is None


@pytest.mark.parametrize("bound", [{"max_tokens": 5_000}, {"prices": Prices(10, 100), "max_cost": 0.2}])
def test_the_budget_holds_and_is_used(stub, ask, bound):
    result = ask(people(200), concurrency=8, **bound)
    inputs, outputs = result.tokens
    spent = inputs + outputs if "max_tokens" in bound else bound["prices"].cost(inputs, outputs)
    limit = bound.get("max_tokens") or bound["max_cost"]
    worst = Question("gpt-x", PAPER).about(people(200)[-1])
    dearest = worst.most_tokens + worst.most_answer_tokens
    if "prices" in bound:
        dearest = bound["prices"].cost(worst.most_tokens, worst.most_answer_tokens)
    assert limit - dearest - 1 < spent <= limit
    assert result.not_asked == 200 - len(result.descriptions) > 0
    assert len(stub.requests) == len(result.descriptions)
    assert set(reasons(result).values()) == {"not asked: the budget is used up"}
    again = ask(people(200), **bound)
    assert again.asked == 0  # the bound holds for all runs together
    assert ask(people(200)).asked == result.not_asked


@pytest.mark.parametrize(
    "options, message",
    [
        ({"concurrency": 0}, "--concurrency is 0"),
        ({"language": "xx"}, "--language is 'xx'"),
        ({"max_cost": 1.0}, "--max-cost needs --price-input"),
        ({"max_tokens": 0}, "--max-tokens is 0"),
    ],
)
def test_bad_options_are_told_before_anything_is_asked(stub, ask, options, message):
    with pytest.raises(ValueError, match=message):
        ask(people(3), **options)
    assert stub.requests == []


def test_an_entity_without_any_text_is_not_asked_about(stub, ask):
    result = ask([EntityText("e0", " ", "\u200b"), *people(3)[1:]])
    assert reasons(result) == {"e0": "has no name and no text"}
    assert "e0" not in stub.entities


class TestLedger:
    def test_a_second_run_at_the_same_time_is_refused(self, ledger):
        with pytest.raises(ValueError, match="another run is using it"):
            Ledger(ledger.path)

    @pytest.mark.parametrize("content", [b"hello, this is no database at all", b"SQLite format 3\0" + b"x" * 100])
    def test_another_file(self, tmp_path, content):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be opened"):
            Ledger(tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == content

    def test_another_database_is_left_alone(self, tmp_path):
        other = sqlite3.connect(tmp_path / "a")
        other.execute("CREATE TABLE t (x)")
        other.commit()
        other.close()
        with pytest.raises(ValueError, match="is not a file of answers"):
            Ledger(tmp_path / "a")

    def test_a_file_of_an_earlier_dim(self, tmp_path):
        """The tables may not change: answers are paid for."""
        old = sqlite3.connect(tmp_path / "a")
        old.executescript("""
            CREATE TABLE run (id TEXT NOT NULL);
            CREATE TABLE answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL, input_tokens INTEGER NOT NULL,
                                  output_tokens INTEGER NOT NULL) WITHOUT ROWID;
            CREATE TABLE batches (part INTEGER PRIMARY KEY AUTOINCREMENT, keys TEXT NOT NULL, batch TEXT,
                                  collected INTEGER NOT NULL DEFAULT 0);
            PRAGMA user_version = 1;
            INSERT INTO run VALUES ('0123');
            INSERT INTO batches VALUES (7, '["k2"]', 'batch-1', 0);
            INSERT INTO answers VALUES ('k1', '{"text": "A.", "refusal": "", "model": "m", "finish_reason": "stop",
                "usage": null, "input_tokens": 3, "output_tokens": 2, "created_at": "2026-01-02T03:04:05Z"}', 3, 2);
        """)
        old.close()
        ledger = Ledger(tmp_path / "a")
        assert (ledger.run_id, ledger.tokens(), ledger.keys("2026")) == ("0123", (3, 2), {"k1"})
        assert ledger.answer("k1") == Answer("A.", "", "m", "stop", None, 3, 2, "2026-01-02T03:04:05Z")
        assert ledger.open_batches() == [(7, "batch-1", ["k2"])]
        assert ledger.intend([]) == 8
        ledger.close()

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk")
    @pytest.mark.parametrize("space", [0, 4_096, 8_192, 20_000, 40_000, 80_000])
    def test_a_full_disk_is_one_line_and_the_ledger_opens_again_once_there_is_space(self, tmp_path, space):
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)], capture_output=True
        ).returncode:
            pytest.skip("may not mount a disk")
        try:
            self.fill(disk, space)
            known: set[str] = set()
            for run in range(3):
                with pytest.raises(NoSpaceError, match=r"a\.sqlite cannot be (opened|written): .*full\."):
                    self.use(disk / "a.sqlite", run, known)
            (disk / "fill").unlink()
            ledger = Ledger(disk / "a.sqlite")
            assert ledger.keys() == known
            ledger.record([("more", Answer("A.", "", "m", "stop", None, 1, 1))])
            ledger.close()
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    @staticmethod
    def use(path, run: int, known: set[str]):
        with contextlib.closing(Ledger(path)) as ledger:
            for n in range(200):
                ledger.record([(f"k{run}-{n}", Answer("x" * 3000, "", "m", "stop", None, 1, 1))])
                known.add(f"k{run}-{n}")

    @staticmethod
    def fill(disk, space: int):
        with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        os.truncate(disk / "fill", (disk / "fill").stat().st_size - space)

    def test_what_is_paid_for_stays_paid_for(self, ledger):
        for key, finish in (("good", "stop"), ("bad", "unreadable")):
            ledger.record([(key, Answer("", "", "m", finish, None, 3, 2, "2026-01-02T03:04:05Z"))])
        ledger.charge(10, 20)
        ledger.retry_unreadable()
        assert (ledger.keys(), ledger.tokens()) == ({"good"}, (16, 24))
        ledger.drop_before("2026-02")
        assert (ledger.keys(), ledger.tokens()) == (set(), (16, 24))
        ledger.clear()
        assert ledger.tokens() == (0, 0)

    def test_a_disk_that_takes_nothing_ends_the_run(self, stub, ask, ledger):
        ledger._execute("PRAGMA max_page_count = 1")
        with pytest.raises(ValueError, match="cannot be written"):
            ask([EntityText(f"e{n}", "x" * 300, "y" * 4000) for n in range(40)])


class TestClient:
    def test_a_key_is_needed_but_not_for_a_server_of_ones_own(self, monkeypatch):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ValueError, match="Set OPENAI_API_KEY"):
            OpenAIClient()
        assert OpenAIClient("http://127.0.0.1:1/v1").blocking_client().api_key == "none"

    def test_nothing_listens(self, ledger):
        client = OpenAIClient("http://127.0.0.1:1/v1", tries=2, backoff=0)
        result = enhance(people(1), Question("m", PAPER), client, ledger)
        assert "the connection failed" in result.kept[0].reason

    def test_no_client(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "openai", None)
        with pytest.raises(ValueError, match=r"pip install 'dim-mel\[enhance\]'"):
            OpenAIClient("http://127.0.0.1:1/v1")

    @pytest.mark.parametrize("options", [{"timeout": 0}, {"tries": 0}, {"backoff": -1}, {"base_url": "localhost:1"}])
    def test_bad_options(self, options):
        with pytest.raises(ValueError, match="must"):
            OpenAIClient(**{"base_url": "http://a/v1", **options})


class TestCommand:
    @pytest.fixture
    def source(self, tmp_path):
        rows = [{"id": one.id, "name": one.name, "description": one.description} for one in people(6)]
        path = tmp_path / "people.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    @pytest.fixture
    def command(self, source, stub, tmp_path):
        return [
            "enhance",
            str(source),
            "--llm",
            "gpt-x",
            "--base-url",
            stub.url,
            "--out",
            str(tmp_path / "new.jsonl"),
        ]

    def test_it_writes_what_build_reads(self, command, stub, tmp_path, capsys):
        stub.script = {"e1": ["empty"]}
        assert main([*command, "--price-input", "2", "--price-output", "10"]) == 0
        told = capsys.readouterr().out
        assert "6 entities = 5 with a new description + 1 that keep theirs (6 answers came in this run)" in told
        assert "1 kept: empty" in told
        assert "300 tokens asked, 180 answered, 0.0024 dollars" in told
        found = read_descriptions(tmp_path / "new.jsonl", {one.id: one.description for one in people(6)})
        assert list(found) == ["e0", "e2", "e3", "e4", "e5"]
        (kept,) = map(json.loads, (tmp_path / "new.kept.jsonl").read_text().splitlines())
        assert kept == {"id": "e1", "name": "Taylor", "reason": "empty", "answer": ""}
        before = (tmp_path / "new.jsonl").read_bytes()
        assert main(command) == 0
        assert (tmp_path / "new.jsonl").read_bytes() == before
        assert len(stub.requests) == 6

    def test_a_dry_run_asks_nothing_and_leaves_nothing(self, command, stub, tmp_path, capsys, monkeypatch):
        monkeypatch.delenv("OPENAI_API_KEY")
        before = sorted(tmp_path.iterdir())
        assert (
            main([*command, "--dry-run", "--max-answer-tokens", "100", "--price-input", "1", "--price-output", "1"])
            == 0
        )
        told = capsys.readouterr().out
        assert "6 entities, 6 requests still to send" in told
        assert "tokens answered: at most 600" in told
        assert "dollars" in told
        assert stub.requests == []
        assert sorted(tmp_path.iterdir()) == before
        assert main(command) == 0
        assert main([*command, "--dry-run"]) == 0
        told = capsys.readouterr().out
        assert "6 entities, 0 requests still to send" in told
        assert "price: unknown" in told

    def test_the_estimate_bounds_what_is_sent(self, command, stub, capsys):
        assert main([*command, "--dry-run"]) == 0
        most = int(capsys.readouterr().out.split("at most ")[1].split("\n")[0].replace(",", ""))
        assert main(command) == 0
        sent = sum(len(message["content"]) for body in stub.requests for message in body["messages"])
        assert sent < most

    def test_a_prompt_of_ones_own(self, command, stub, tmp_path):
        (tmp_path / "mine.txt").write_text("Tell me.\n")
        assert main([*command, "--prompt", str(tmp_path / "mine.txt")]) == 0
        assert stub.requests[0]["messages"][0] == {"role": "system", "content": "Tell me."}
        row = json.loads((tmp_path / "new.jsonl").read_text().splitlines()[0])
        assert row["description_prompt"].startswith("mine@")

    @pytest.mark.parametrize(
        "more, message",
        [
            (["--out", "x.json"], "must be a .jsonl file"),
            (["--prompt", "nope"], "There is no prompt 'nope': use one of describe, paper"),
            (["--prompt", "nope.txt"], "cannot be read"),
            (["--price-input", "1"], "Give both --price-input"),
            (["--price-input", "-1", "--price-output", "1"], "--price-input must lie between 0"),
            (["--max-cost", "1"], "prices are never guessed"),
            (["--max-answer-tokens", "0"], "must be at least 1"),
        ],
    )
    def test_bad_input_is_told_in_one_line(self, command, stub, capsys, more, message):
        assert main([*command, *more]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("dim enhance: ")
        assert error.count("\n") == 1
        assert stub.requests == []

    def test_the_servers_words_reach_the_user(self, command, stub, capsys):
        stub.script = {"e0": [401]}
        assert main([*command, "--concurrency", "1"]) == 2
        assert "dim enhance: the server says 401: scripted 401" in capsys.readouterr().err
