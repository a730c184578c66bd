"""`dim kb ...` in this process: what it prints, what it leaves, and errors in one line."""

import io
import json

import pytest

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")

from dim.cli.main import main as dim
from dim.kb import KnowledgeBase

LINES = '{"id": "Q1", "name": "Ada"}\n{"id": "Q2", "name": "Paris", "description": "a city"}\n'


def main(*words):
    return dim(["kb", *map(str, words)])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows.jsonl").write_text(LINES)
    assert main("create", tmp_path / "kb", "--from", tmp_path / "rows.jsonl") == 0
    return tmp_path


def test_a_whole_life(folder, tiny_dim_dir, capsys, monkeypatch):
    kb = folder / "kb"
    (folder / "more.csv").write_text("id,name\nQ3,Rome\nQ1,Ada Lovelace\n")
    assert main("add", kb, "--from", folder / "more.csv", "--model", tiny_dim_dir, "--device", "cpu") == 0
    assert "2 entities added or changed\n3 entities encoded" in capsys.readouterr().out
    (folder / "last.csv").write_text("id,name\nQ4,Oslo\n")
    assert main("add", kb, "--from", folder / "last.csv") == 0
    assert f"not encoded yet: 1 (dim kb encode {kb} --model MODEL)" in capsys.readouterr().out
    assert main("encode", kb, "--model", tiny_dim_dir, "--device", "cpu", "--dtype", "bfloat16") == 0
    assert "1 entities encoded" in capsys.readouterr().out
    assert main("info", kb, "--json") == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["entities"], info["encoded"], info["vector_search"]) == (4, 4, "exact")
    assert main("info", kb) == 0
    assert "vector_search  exact" in capsys.readouterr().out
    assert main("export", kb, folder / "all.parquet") == 0
    assert main("import", folder / "copy", folder / "all.parquet") == 0
    assert KnowledgeBase.open(folder / "copy").info()["encoded"] == 4
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Q3\nQ4\n")))
    assert main("remove", kb, "Q1", "--ids", "-") == 0
    assert KnowledgeBase.open(kb).ids == ["Q2"]
    capsys.readouterr()
    assert main("versions", kb, "--json") == 0
    versions = json.loads(capsys.readouterr().out)
    assert main("versions", kb) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(versions) + 1
    assert main("restore", kb, versions[0]["version"]) == 0
    assert KnowledgeBase.open(kb).ids == ["Q1", "Q2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "{}/kb", "--from", "{}/rows.jsonl"], "is a knowledge base already"),
        (["create", "{}/new", "--from", "{}/no.jsonl"], "There is no file"),
        (["create", "{}/new", "--from", "{}/rows.jsonl", "--model", "./nothing"], "There is no model"),
        (["add", "{}/no", "--from", "{}/rows.jsonl"], "no is not a knowledge base"),
        (["remove", "{}/kb"], "Name the entities to remove"),
        (["remove", "{}/kb", "--ids", "{}/no"], "No such file or directory: {}/no"),
        (["remove", "{}/kb", "Q7"], "no entity 'Q7'"),
        (["restore", "{}/kb", "77"], "has no version 77"),
        (["import", "{}/new", "{}/rows.jsonl"], "is not a .parquet file"),
        (["compact", "{}/kb"], "Say what to keep: --keep 30d"),
        (["compact", "{}/kb", "--keep", "30"], "such as 30d, got '30'"),
        (["compact", "{}/kb", "--keep-versions", "0"], "--keep-versions must be at least 1"),
        (["encode", "{}/kb", "--model", "x", "--batch-size", "0"], "--batch-size must be at least 1"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(folder, words, message, capsys):
    assert main(*(word.format(folder) for word in words)) == 2
    assert message.format(folder) in capsys.readouterr().err
    assert not (folder / "new").exists()
    assert KnowledgeBase.open(folder / "kb").ids == ["Q1", "Q2"]


def test_create_with_a_model_goes_on_after_it_was_stopped(tmp_path, tiny_dim_dir, capsys, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "name": "Ada"}\n{"id": "b", "name": "Al"}\n')
    command = ["create", tmp_path / "kb", "--from", rows, "--model", tiny_dim_dir, "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeBase, "write_vectors", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(*command) == 130
    assert main(*command) == 0
    assert KnowledgeBase.open(tmp_path / "kb").info()["pending"] == 0
    rows.write_text('{"id": "c", "name": "Cy"}\n')
    assert main(*command) == 2
    assert "is a knowledge base already" in capsys.readouterr().err


def test_compact_tells_what_it_did(folder, capsys):
    kb = KnowledgeBase.open(folder / "kb")
    for number in range(3):
        kb.upsert([{"id": "Q1", "name": f"Ada {number}"}])
    assert main("info", folder / "kb") == 0
    assert "newest version" in capsys.readouterr().out
    assert main("compact", folder / "kb", "--keep", "0d") == 0
    sizes, versions = capsys.readouterr().out.splitlines()
    before, after = (int(number.replace(",", "")) for number in sizes.split() if number[0].isdigit())
    assert before > after > 0
    assert versions.endswith("1 left")
    assert len(KnowledgeBase.open(folder / "kb").versions()) == 1


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1.5d", "1y"])
def test_compact_refuses_what_is_no_age(folder, age, capsys):
    assert main("compact", folder / "kb", f"--keep={age}") == 2
    assert "such as 30d" in capsys.readouterr().err


def test_compact_takes_spaces_around_an_age(folder):
    assert main("compact", folder / "kb", "--keep", " 4w ") == 0


def test_a_refused_create_leaves_no_folder(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "name": "Ada"}\n{"id": "a", "name": "Al"}\n')
    assert main("create", tmp_path / "new" / "kb", "--from", tmp_path / "rows.jsonl") == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["s3:x", "http:x", "a [b]", "~x", "a#b?c"])
def test_a_folder_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    kb = KnowledgeBase.create(name, [{"id": "a", "name": "Ada"}])
    assert (tmp_path / name / "entities.lance").is_dir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    kb.upsert([{"id": "b", "name": "Al"}])
    kb.finish()
    assert kb.info()["entities"] == 2
    assert not list((tmp_path / "elsewhere").iterdir())
