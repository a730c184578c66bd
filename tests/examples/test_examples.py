"""Each script in examples/ runs from top to bottom, as a reader would start it, with a tiny model in `demo/`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from demo_folder import write_demo
from openai_stub import OpenAIStub
from serving_server import TOKEN, serving

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"demo", "report", "towers", "own_tower"}  # test_demo.py and test_own_tower.py have these
SCRIPTS = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem not in ELSEWHERE)
EXPECTED = {
    "any_towers": ["tensor([["],
    "ask_service": ["Turkey Trot", "'status': 'ok'"],
    "enhance": ["Q1 Ada Lovelace is a person from", "kept their description: []"],
    "expert": ["something red", "LinkedEntity(id="],
    "link": ["without a picture", "with demo/example.png", "found by"],
    "measure": ["name match {", "difference of H@1:"],
    "nil": ["temperature", "(NIL "],
    "own_data": ["18 mentions", "report.html"],
    "own_kb": ["British comedians", "2 entities"],
    "publish": ["model.safetensors", "mel_ranking.py"],
    "trainer": ["loss "],
}


@pytest.fixture(scope="module")
def checkout(tiny_dim_dir, tiny_clip_dir, tmp_path_factory) -> Path:
    """A folder that looks like the repository's root after `make demo`."""
    folder = tmp_path_factory.mktemp("checkout")
    write_demo(folder / "demo", tiny_dim_dir)
    for name in ("datasets", "metrics"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "openai").mkdir()
    (folder / "openai" / "clip-vit-base-patch32").symlink_to(tiny_clip_dir)
    return folder


def run(name: str, folder: Path, **variables: str) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")], cwd=folder, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=300, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_script_is_here_and_does_what_is_expected_of_it():
    assert sorted(EXPECTED) == SCRIPTS


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - {"ask_service", "enhance", "trainer"}))
def test_script(name, checkout):
    printed = run(name, checkout)
    assert [words for words in EXPECTED[name] if words not in printed] == []


def test_the_trainers_loss_goes_down(checkout):
    printed = run("trainer", checkout)
    losses = re.findall(r"^loss ([\d.]+) -> ([\d.]+)$", printed, re.MULTILINE)
    assert len(losses) == 1, printed
    assert float(losses[0][1]) < float(losses[0][0])
    assert (checkout / "demo" / "trainer" / "model.safetensors").is_file()


def test_enhance(checkout):
    printed = run("enhance", checkout, OPENAI_BASE_URL=OpenAIStub().url, MODEL="stub", OPENAI_API_KEY="none")
    assert [words for words in EXPECTED["enhance"] if words not in printed] == []


def test_ask_service(checkout):
    with serving(checkout / "demo" / "model", checkout / "demo" / "kb", token=TOKEN) as server:
        printed = run("ask_service", checkout, DIM_SERVICE=server.url, DIM_SERVE_TOKEN=TOKEN)
        assert server.end() == 0
    assert [words for words in EXPECTED["ask_service"] if words not in printed] == []
