"""`dim kb refresh`: old descriptions are renewed once, despite kills and other writers, and only they are encoded."""

import json
import os
import signal
import time
from datetime import datetime, timedelta, timezone

import pytest
from forker import forking
from openai_stub import description

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")

from dim.cli.main import main
from dim.encoding.loading import load_dim
from dim.enhancement import refresh
from dim.enhancement.ledger import Ledger
from dim.kb import KnowledgeBase


def ago(days: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")


def make(folder, count=6, age=100.0, **more):
    """A knowledge base whose descriptions were generated `age` days ago."""
    rows = [
        {
            "id": f"Q{n}", "name": f"Name {n}", "aliases": [f"N{n}"], "description": f"by a model {n}",
            "description_original": f"by people {n}", "description_created_at": ago(age), "description_model": "old",
            "extra": {"number": n}, **more,
        }
        for n in range(count)
    ]  # fmt: skip
    return KnowledgeBase.create(folder / "kb", rows)


def rows_of(kb) -> dict[str, dict]:
    kb = KnowledgeBase.open(kb.uri)
    return {row["id"]: row for row in kb.table().to_pylist()}


def new(number: int) -> str:
    return description({"id": f"Q{number}", "name": f"Name {number}"})


@pytest.fixture
def renew(stub, tmp_path):
    """Runs `dim kb refresh` on the knowledge base of the folder."""

    def run(*words: object) -> int:
        command = ["kb", "refresh", tmp_path / "kb", "--llm", "gpt-x", "--base-url", stub.url, *words]
        return main([str(word) for word in command])

    return run


def test_only_what_is_old_is_renewed_and_the_rest_of_the_row_stays(stub, renew, tmp_path, capsys):
    kb = make(tmp_path, 6)
    young = {"id": "Q1", "name": "Name 1", "description": "young", "description_created_at": ago(80)}
    kb.upsert([young, {"id": "Q2", "name": "Name 2", "description": "by people, just now"}])
    before = rows_of(kb)
    assert renew("--older-than", "90d") == 0
    assert "4 entities = 4 with a new description + 0 that keep theirs" in capsys.readouterr().out
    assert sorted(stub.entities) == ["Q0", "Q3", "Q4", "Q5"]
    after = rows_of(kb)
    assert {name: after[name] for name in ("Q1", "Q2")} == {name: before[name] for name in ("Q1", "Q2")}
    for n in (0, 3, 4, 5):
        row = after[f"Q{n}"]
        assert (row["description"], row["description_original"]) == (new(n), f"by people {n}")
        assert (row["description_source"], row["description_model"]) == ("llm", "gpt-x-2026-11")
        assert row["description_prompt"].startswith("describe@")
        assert ago(0.01) < row["description_created_at"] <= ago(0)
        assert json.loads(row["description_usage"])["total_tokens"] == 80
        assert (row["aliases"], json.loads(row["extra"])) == ([f"N{n}"], {"number": n})
        assert row["updated_at"] > before[f"Q{n}"]["updated_at"]
    shown = json.loads(stub.requests[0]["messages"][1]["content"])
    assert shown["description"].startswith("by people")  # never what a model wrote
    assert renew("--older-than", "90d") == 0
    assert len(stub.requests) == 4


@pytest.mark.parametrize(("age", "days"), [("36h", 1.5), ("3d", 3), ("2w", 14), ("0d", 0)])
def test_ages(age, days):
    assert abs(datetime.fromisoformat(refresh.cutoff(age)[:-1]) - datetime.fromisoformat(ago(days)[:-1])) < timedelta(
        seconds=3
    )


@pytest.mark.parametrize("age", ["90", "d", "-1d", "1.5d", "3m", "1000000d", " 1d", "٣d"])
def test_ages_that_are_none(age):
    with pytest.raises(ValueError, match="--older-than is .*: give a number of hours, days or weeks"):
        refresh.cutoff(age)


def test_a_description_without_a_date_is_as_old_as_its_row(tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", [{"id": "Q1", "name": "Ada"}, {"id": "Q2", "name": "Eve"}])
    now = datetime.now(timezone.utc)
    assert refresh.older_than(kb, (now - timedelta(minutes=5)).isoformat()) == []
    assert sorted(refresh.older_than(kb, (now + timedelta(minutes=5)).isoformat())) == ["Q1", "Q2"]


@pytest.mark.parametrize(
    "time", ["2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02T05:04+02:00"]
)
def test_dates_that_people_write(tmp_path, time):
    kb = make(tmp_path, 1, description_created_at=time)
    assert refresh.older_than(kb, "2026-01-01T23:00:00Z") == []
    assert refresh.older_than(kb, "2026-01-02T04:00:00Z") == ["Q0"]


def test_a_date_that_is_none(renew, tmp_path, capsys):
    make(tmp_path, 1, description_created_at="last spring")
    assert renew("--older-than", "90d") == 2
    assert "description_created_at of 'Q0' is 'last spring'; it must be an ISO 8601 time" in capsys.readouterr().err


def test_a_release_text_is_kept_in_description_original(stub, renew, tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", [{"id": "Q1", "name": "Name 1", "description": "by people"}])
    assert renew("--ids", "Q1", "Q1") == 0
    row = rows_of(kb)["Q1"]
    assert (row["description"], row["description_original"]) == (new(1), "by people")
    assert stub.entities == ["Q1"]


def test_a_finished_refresh_is_followed_by_one_that_asks_anew(stub, renew, tmp_path):
    kb = make(tmp_path, 3)
    assert renew("--ids", "Q0", "Q1") == 0
    stub.script = {"Q0": [("text", "A much newer text about a person who is known for the work of today.")]}
    assert renew("--ids", "Q0", "Q1") == 0
    assert sorted(stub.entities) == ["Q0", "Q0", "Q1", "Q1"]
    row = rows_of(kb)["Q0"]
    assert row["description"].startswith("A much newer text")
    assert row["description_original"] == "by people 0"  # not the answer of the first refresh


def test_refused_answers_change_nothing_and_are_listed(stub, renew, tmp_path, capsys):
    kb = make(tmp_path, 5)
    before = rows_of(kb)
    stub.script = {"Q0": ["empty"], "Q1": ["refusal"], "Q2": ["length"], "Q3": [("text", "I'm sorry, I cannot tell.")]}
    assert renew("--ids", *before) == 0
    after = rows_of(kb)
    assert {name for name in before if before[name] != after[name]} == {"Q4"}
    kept = [json.loads(line) for line in (tmp_path / "kb.refresh.kept.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"].split(":")[0] for row in kept} == {
        "Q0": "empty", "Q1": "refused", "Q2": "cut off", "Q3": "refused"
    }  # fmt: skip
    written = [json.loads(line)["id"] for line in (tmp_path / "kb.refresh.jsonl").read_text().splitlines()]
    assert written == ["Q4"]
    assert "5 entities = 1 with a new description + 4 that keep theirs" in capsys.readouterr().out


def test_only_what_changed_gets_a_new_vector(stub, renew, tmp_path, tiny_dim_dir, capsys):
    kb = make(tmp_path, 6)
    model, processor = load_dim(tiny_dim_dir)
    kb.encode(model, processor)
    before = rows_of(kb)
    stub.script = {"Q3": ["empty"], "Q4": [("text", "by a model 4")]}  # the same text again: nothing to encode
    assert renew("--ids", "Q1", "Q3", "Q4", "--model", tiny_dim_dir, "--device", "cpu", "--language", "en") == 0
    assert "1 entities encoded" in capsys.readouterr().out
    after = rows_of(kb)
    for column in ("vector", "content_hash"):
        assert {name for name in before if before[name][column] != after[name][column]} == {"Q1"}
    assert {name for name in before if before[name] != after[name]} == {"Q1", "Q4"}
    fresh = KnowledgeBase.open(kb.uri)
    assert fresh.info()["pending"] == 0
    copy = [{key: after[name][key] for key in ("id", "name", "description")} for name in fresh.ids]
    other = KnowledgeBase.create(tmp_path / "other", copy)
    other.encode(model, processor)
    assert (fresh.vectors() - other.vectors([other.row_of[name] for name in fresh.ids])).abs().max() < 1e-5


def test_without_an_encoder_it_says_what_is_left_to_do(renew, tmp_path, tiny_dim_dir, capsys):
    kb = make(tmp_path, 3)
    assert renew("--ids", "Q1") == 0
    assert "dim kb encode" not in capsys.readouterr().out  # nothing is encoded here
    kb.encode(*load_dim(tiny_dim_dir))
    assert renew("--ids", "Q1", "Q2") == 0  # Q1 gets the description that it has
    assert f"not encoded yet: 1 (dim kb encode {kb.uri} --model MODEL)" in capsys.readouterr().out


def test_a_wrong_encoder_is_told_before_anything_is_asked(stub, renew, tmp_path, tiny_dim_dir, capsys):
    kb = make(tmp_path, 2)
    assert renew("--ids", "Q1", "--model", tiny_dim_dir) == 2
    assert "Nothing in" in capsys.readouterr().err
    model, processor = load_dim(tiny_dim_dir)
    model.mention_projection.bias.data += 1
    kb.encode(model, processor)
    assert renew("--ids", "Q1", "--model", tiny_dim_dir) == 2
    assert "was encoded by another model than --model" in capsys.readouterr().err
    assert stub.requests == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ids", "Q1", "Q7", "Q8"], "has no entity 'Q7', 'Q8'; nothing was asked"),
        (["--ids", *(f"X{n}" for n in range(9))], "'X4' and 4 more; nothing was asked"),
        (["--older-than", "soon"], "--older-than is 'soon'"),
        (["--ids", "Q1", "--max-cost", "1"], "prices are never guessed"),
        (["--ids", "Q1", "--out", "x.txt"], "must be a .jsonl file"),
        (["--ids", "Q1", "--prompt", "nope"], "There is no prompt 'nope'"),
        (["--ids", "Q1", "--model", "./nothing"], "There is no model"),
        (["--ids", "Q1", "--model", "x", "--batch-size", "0"], "--batch-size must be at least 1"),
    ],
)
def test_bad_input_is_told_in_one_line(stub, renew, tmp_path, capsys, words, message):
    make(tmp_path, 3)
    assert renew(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert stub.requests == []


def test_one_of_the_two_choices_is_needed(renew, tmp_path, capsys):
    for words in ([], ["--ids", "Q1", "--older-than", "9d"]):
        assert renew(*words) == 2
    assert "--older-than" in capsys.readouterr().err
    assert main(["kb", "refresh", "db://name", "--ids", "Q1", "--llm", "m", "--base-url", "http://a/v1"]) == 2


def test_a_dry_run_asks_nothing_and_writes_nothing(stub, renew, tmp_path, capsys):
    kb = make(tmp_path, 4)
    kb.upsert([{"id": "Q3", "name": "Name 3"}])
    version, files = kb.version, sorted(tmp_path.iterdir())
    assert renew("--older-than", "90d", "--dry-run", "--price-input", "1", "--price-output", "1") == 0
    told = capsys.readouterr().out
    assert "3 entities, 3 requests still to send" in told
    assert "dollars" in told
    assert (stub.requests, KnowledgeBase.open(kb.uri).version) == ([], version)
    assert sorted(tmp_path.iterdir()) == files


def test_the_budget_stops_it_and_the_same_command_goes_on(stub, renew, tmp_path, capsys):
    kb = make(tmp_path, 30)
    bound = ["--older-than", "90d", "--concurrency", "2"]
    assert renew(*bound, "--max-tokens", "2000") == 0
    told = capsys.readouterr().out
    asked = len(stub.requests)
    assert 0 < asked < 30
    assert f"{30 - asked} kept: not asked" in told
    assert sum(row["description_model"] == "old" for row in rows_of(kb).values()) == 30 - asked
    assert renew(*bound, "--max-tokens", "2000") == 0  # the bound holds for both runs together
    assert len(stub.requests) == asked
    assert renew(*bound) == 0
    assert sorted(stub.entities) == sorted(rows_of(kb))
    assert f"{asked} answers of a refresh that was not finished are in" in capsys.readouterr().out
    ledger = Ledger(tmp_path / "kb.refresh.answers.sqlite")
    assert ledger.keys() == set()
    ledger.close()


@pytest.mark.parametrize("days, again", [(0.05, False), (29, False), (31, True)])
def test_a_stopped_refresh_goes_on_with_the_cutoff_that_it_began_with(stub, renew, tmp_path, monkeypatch, days, again):
    make(tmp_path, 6)
    assert renew("--older-than", "0h", "--max-tokens", "1450", "--concurrency", "1") == 0
    first = list(stub.entities)
    assert 0 < len(first) < 6

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(refresh, "datetime", Later)
    assert renew("--older-than", "0h") == 0
    rest = stub.entities[len(first) :]
    assert sorted(rest if again else first + rest) == [f"Q{n}" for n in range(6)]


def test_answers_of_an_unfinished_refresh_that_are_too_old_themselves_are_asked_anew(stub, renew, tmp_path):
    make(tmp_path, 2)
    stub.script = {"Q1": [401]}
    assert renew("--older-than", "90d", "--concurrency", "1") == 2
    ledger = Ledger(tmp_path / "kb.refresh.answers.sqlite")
    ledger._execute("UPDATE answers SET answer = json_set(answer, '$.created_at', ?)", ago(91))
    ledger.close()
    assert renew("--older-than", "90d") == 0
    assert sorted(stub.entities) == ["Q0", "Q0", "Q1", "Q1"]


def test_what_somebody_changed_or_removed_meanwhile_is_left_alone(stub, renew, tmp_path, monkeypatch):
    kb = make(tmp_path, 5)
    noted = Ledger.record

    def record(self, answers, part=None):
        if len(stub.requests) == 1:
            kb.upsert([{"id": "Q1", "name": "Another", "description": "mine"}, {"id": "Q9", "name": "New"}])
            kb.delete(["Q2"])
        noted(self, answers, part)

    monkeypatch.setattr(Ledger, "record", record)
    monkeypatch.setattr(refresh, "_ROWS", 2)
    assert renew("--ids", "Q0", "Q1", "Q2", "Q3", "--concurrency", "1") == 0
    after = rows_of(kb)
    assert {name: row["description"] for name, row in after.items()} == {
        "Q0": new(0), "Q1": "mine", "Q3": new(3), "Q4": "by a model 4", "Q9": ""
    }  # fmt: skip
    kept = [json.loads(line) for line in (tmp_path / "kb.refresh.kept.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"] for row in kept} == {
        "Q1": "changed in the knowledge base meanwhile", "Q2": "removed from the knowledge base meanwhile"
    }  # fmt: skip


def test_pictures_stay_with_their_rows(renew, tmp_path):
    picture = {"bytes": b"some bytes", "path": "a.png"}
    kb = make(tmp_path, 2, images=[picture])
    assert renew("--ids", "Q1") == 0
    assert rows_of(kb)["Q1"]["images"] == [picture]


def test_killed_between_writing_and_encoding(stub, renew, tmp_path, tiny_dim_dir, monkeypatch, capsys):
    kb = make(tmp_path, 3)
    kb.encode(*load_dim(tiny_dim_dir))

    class Died(BaseException):
        """Stands for the death of the process."""

    command = ["--ids", *rows_of(kb), "--model", tiny_dim_dir, "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeBase, "encode", lambda *args, **options: (_ for _ in ()).throw(Died()))
        with pytest.raises(Died):
            renew(*command)
    assert KnowledgeBase.open(kb.uri).info()["pending"] == 3  # nothing has a vector of what it holds now
    assert renew(*command) == 0
    assert len(stub.requests) == 3
    assert "3 entities encoded" in capsys.readouterr().out


def test_through_the_batch_api(stub, renew, tmp_path, monkeypatch):
    monkeypatch.setattr("dim.enhancement.enhance.POLL_SECONDS", 0.01)
    kb = make(tmp_path, 3)
    assert renew("--older-than", "90d", "--batch") == 0
    assert (stub.requests, len(stub.batches)) == ([], 1)
    assert [row["description"] for _, row in sorted(rows_of(kb).items())] == [new(n) for n in range(3)]
    assert renew("--ids", "Q1", "--batch") == 0
    assert len(stub.batches) == 2


@pytest.fixture(scope="module")
def forker():
    with forking("dim.enhancement.enhance", "dim.kb.store", "openai") as forker:
        yield forker


@pytest.mark.parametrize("choice, kills", [("older-than", 2), ("ids", 1)])
def test_killed_at_any_moment_it_asks_for_nothing_twice(stub, forker, tmp_path, choice, kills):
    stub.latency = 0.02
    count, concurrency = 50, 4
    kb = make(tmp_path, count)
    argv = ["kb", "refresh", kb.uri, "--llm", "m", "--base-url", stub.url, "--concurrency", str(concurrency)]
    argv += ["--older-than", "90d"] if choice == "older-than" else ["--ids", *rows_of(kb)]

    def start() -> int:
        return forker.start(argv)

    durable: set[str] = set()
    for _ in range(kills):
        seen = len(stub.requests)
        child = start()
        while len(stub.requests) < seen + 15:
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(forker.status()), "it had ended before it was killed"
        assert set(stub.entities[seen:]) & durable == set(), "asked although the answer was there"
        ledger = Ledger(tmp_path / "kb.refresh.answers.sqlite")
        answers = list(map(ledger.answer, ledger.keys()))
        ledger.close()
        known = {answer.text.split("number ")[1].split()[0] for answer in answers}
        assert durable <= known, "an answer was lost"
        durable = known
    start()
    assert forker.status() == 0
    assert 0 < len(durable) < count
    assert len(stub.requests) <= count + kills * concurrency
    assert {name: row["description"] for name, row in rows_of(kb).items()} == {f"Q{n}": new(n) for n in range(count)}


@pytest.mark.parametrize("name", ["Cafe\u0301", "Q1\u200b"])
def test_ids_in_a_form_of_an_earlier_version_are_told_before_anything_is_asked(
    stub, renew, tmp_path, monkeypatch, capsys, name
):
    with monkeypatch.context() as earlier:
        earlier.setattr("dim.kb.rows.identifier", lambda row, field: row[field])
        KnowledgeBase.create(tmp_path / "kb", [{"id": name, "name": "Ada", "description_created_at": ago(100)}])
    assert renew("--older-than", "90d") == 2
    error = capsys.readouterr().err
    assert "is from an earlier version of dim" in error
    assert "dim kb export" in error
    assert not stub.entities


def test_an_id_may_be_given_in_either_form(tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", [{"id": "Caf\u00e9", "name": "a place"}])
    assert refresh.chosen(kb, ["Cafe\u0301"]) == ["Caf\u00e9"]
