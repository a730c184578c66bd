"""A knowledge base that is damaged while it is served: status 503 with one line, and the service stays up."""

import shutil

import pytest

pytest.importorskip("fastapi", reason="the service needs more packages")

from fastapi.testclient import TestClient
from serving_server import error_of, make

from dim import DIMLinker
from dim.cli.main import main
from dim.serving.app import create_app
from dim.serving.settings import Settings


@pytest.fixture
def folders(tmp_path, tiny_dim_dir):
    return make(tmp_path, tiny_dim_dir)


def damage(kb, kind):
    """Truncates or removes every data file of the entities; a copy stays beside the knowledge base."""
    shutil.copytree(kb, kb.with_name("copy"))
    for path in (kb / "entities.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:100]) if kind == "truncated" else path.unlink()


@pytest.mark.parametrize("kind", ["truncated", "removed"])
def test_the_service_says_what_is_damaged_and_recovers(folders, kind):
    model, kb = folders
    linker = DIMLinker.from_pretrained(model, kb=kb)
    asked = {"mentions": [{"sentence": "We saw [[Amber]]."}]}
    with TestClient(create_app(linker, Settings(), str(model))) as client:
        assert client.post("/link", json=asked).status_code == 200
        damage(kb, kind)
        for answer in (
            client.post("/link", json=asked),
            client.get("/entities/e1"),
            client.put("/entities/e1", json={"name": "Amber"}),
            client.get("/health"),
        ):
            status, code, message = error_of(answer)
            assert (status, code) == (503, "unavailable"), message
            assert str(kb.parent) not in message
            assert str(kb.parent)[1:] not in message
        shutil.rmtree(kb)
        shutil.copytree(kb.with_name("copy"), kb)
        assert client.post("/link", json=asked).status_code == 200
        health = client.get("/health").json()
        assert health["status"] == "ok"
        assert health["kb"] == kb.name


def test_the_command_says_so_in_one_line(folders, capsys):
    model, kb = folders
    damage(kb, "truncated")
    assert main(["link", "--model", str(model), "--kb", str(kb), "--sentence", "[[Amber]]"]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dim ")]
    assert line.startswith(f"dim link: The knowledge base {kb} is damaged")
