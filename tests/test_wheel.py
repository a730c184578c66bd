"""Every command of README's table, run by the `dim` of an installed wheel in an empty folder, without the checkout."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import mcp
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub.utils import httpx
from loopback_hub import LoopbackHub
from openai_stub import OpenAIStub
from picture_server import Server, picture
from raw_release import write_release

from dim.training.model_card import model_card

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = re.findall(r"^\| `dim ([a-z-]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
TRAIN = "captioned/mentions/train*.parquet"
TRAINING = {"max_steps": 1, "per_device_train_batch_size": 8, "warmup_steps": 0, "report_to": "none"}
# Runs at the start of Python: lets `dim fetch-images`, which refuses private addresses, reach the picture server.
LOOPBACK = """
from dataclasses import dataclass
from dim.corpora.fetch import download

@dataclass(frozen=True)
class Limits(download.Limits):
    allow_private: bool = True

download.Limits = Limits
"""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An installed wheel.

    Args:
        programs: Folder of the virtual environment's programs.
        folder: Working directory, empty at first.
    """

    programs: Path
    folder: Path

    def run(self, program: str, *arguments: object, **variables: str) -> str:
        """Runs a program of the environment and returns what it printed."""
        command = [str(self.programs / program), *map(str, arguments)]
        result = subprocess.run(
            command, cwd=self.folder, env=environment(**variables), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
        return result.stdout

    def dim(self, *arguments: object, **variables: str) -> str:
        """Runs `dim`."""
        return self.run("dim", *arguments, **variables)


def environment(**variables: str) -> dict[str, str]:
    """The variables of this process without those that lead Python to the checkout."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in hidden} | variables


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the repository's files."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, set(listed.split("\0"))):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, cwd=target)
    [made] = target.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel, and with the libraries of this one but not its editable dim.

    Python does not read the .pth files of a folder that a .pth file adds, so the editable install stays out.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    python = home / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)], check=True)
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python.parent


@pytest.fixture
def installed(programs, tmp_path) -> Installed:
    return Installed(programs, tmp_path)


@pytest.fixture
def model(tiny_dim_dir, tmp_path) -> Path:
    """A copy of the tiny DIM that commands may write into, with a card."""
    folder = shutil.copytree(tiny_dim_dir, tmp_path / "model")
    (folder / "README.md").write_text(model_card({"step": 1}, {"dataset": "gems"}))
    return folder


@pytest.fixture
def linker(installed, model, tiny_mel_dir) -> list[str]:
    """The options of a model and its knowledge base."""
    installed.dim("kb", "create", "kb", "--from", tiny_mel_dir, "--model", model)
    return ["--model", str(model), "--kb", "kb"]


@pytest.fixture
def language_model():
    stub = OpenAIStub()
    yield {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": stub.url}
    stub.stop()


def test_environment_is_without_the_checkout(installed, programs):
    code = "import sys, dim; print(dim.__file__, *sys.path, *map(type, sys.meta_path), sep='\\n')"
    file, *rest = installed.run("python", "-c", code).splitlines()
    assert Path(file).is_relative_to(programs.parent)
    libraries = sysconfig.get_path("purelib")
    assert [line for line in rest if line.startswith(str(ROOT)) and line != libraries] == []
    assert "editable" not in "".join(rest)


def test_every_command_has_a_test(request):
    assert len(COMMANDS) > 10
    assert [name for name in COMMANDS if not hasattr(request.module, f"test_{name.replace('-', '_')}")] == []


def test_build(installed):
    write_release(installed.folder / "raw")
    installed.dim("build", "wikimel", "--raw", "raw", "--out", "wikimel")
    card = (installed.folder / "wikimel" / "README.md").read_text(encoding="utf-8")
    assert "This build" in card
    assert (installed.folder / "wikimel" / "script" / "wikimel.py").is_file()


def test_fetch_images(installed, tmp_path):
    server = Server()
    (tmp_path / "raw").mkdir()
    mention = {"id": "m1", "sentence": "A gem.", "mention": "gem", "split": "train", "entity_id": "e1",
               "image": server.serve("/gem.png", picture())}  # fmt: skip
    (tmp_path / "raw" / "mentions.jsonl").write_text(json.dumps(mention) + "\n")
    (tmp_path / "raw" / "entities.jsonl").write_text('{"id": "e1", "name": "gem", "aliases": [], "description": ""}\n')
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(LOOPBACK)
    options = ["--raw", "raw", "--layout", "jsonl", "--out", "pictures", "--contact", "me@example.org"]
    printed = installed.dim("fetch-images", "gems", *options, PYTHONPATH=str(tmp_path / "start"))
    server.stop()
    assert printed.startswith("1 pictures fetched")
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1


def test_inspect(installed, tiny_mel_dir):
    assert "validation" in installed.dim("inspect", tiny_mel_dir, "--sheet", "sheet.png")
    assert (installed.folder / "sheet.png").stat().st_size > 1000


def test_enhance(installed, tiny_mel_dir, language_model):
    installed.dim("enhance", tiny_mel_dir, "--llm", "m", "--out", "new.jsonl", **language_model)
    assert len((installed.folder / "new.jsonl").read_text().splitlines()) == 6


def test_caption(installed, tiny_mel_dir, language_model, monkeypatch):
    monkeypatch.setattr("openai_stub.entity_of", lambda body: {"id": "p", "name": "The picture"})
    options = ["--expert", "openai", "--vlm", "m", "--cache", "captions.sqlite", "--out", "captioned"]
    installed.dim("caption", tiny_mel_dir, *options, **language_model)
    [captions] = [pq.read_table(file)["expert_answer"].to_pylist() for file in installed.folder.glob(TRAIN)]
    assert len(captions) == 24
    assert all(caption.startswith("The picture is a person") for caption in captions)


def test_train(installed, tiny_mel_dir, tiny_bert_dir):
    """By the name of a config in the wheel."""
    values = {**TRAINING, "text_tower": tiny_bert_dir, "dataset": tiny_mel_dir, "output_dir": "run", "prior_epochs": 1,
              "mixed_precision": "no", "negatives": "in_batch", "rank_candidates": "false"}  # fmt: skip
    installed.dim("train", "wikimel_text", *(word for name, value in values.items() for word in (f"--{name}", value)))
    code = "import sys; from transformers import AutoModel; import dim; print(type(AutoModel.from_pretrained('run')))"
    assert "dim.modeling_dim.DIMModel" in installed.run("python", "-c", code)


def test_train_reranker(installed, linker, model, tiny_mel_dir, tiny_bert_dir):
    options = ["--dataset", tiny_mel_dir, "--tower", tiny_bert_dir, "--candidates", 3, "--examples", 8]
    installed.dim("train-reranker", *linker, *options)
    assert "rank" in installed.dim("link", *linker, "--rerank", 3, "--sentence", "the [[gem]]")


def test_kb(installed, linker):
    assert re.search(r"^entities +6$", installed.dim("kb", "info", "kb"), flags=re.MULTILINE)
    installed.dim("kb", "remove", "kb", "e0")
    installed.dim("kb", "export", "kb", "entities.parquet")
    assert installed.dim("kb", "import", "copy", "entities.parquet") == "5 entities in copy\n"
    assert len(installed.dim("kb", "versions", "kb").splitlines()) > 2


def test_link(installed, linker):
    (installed.folder / "gem.png").write_bytes(picture())
    printed = installed.dim("link", *linker, "--sentence", "the [[gem]]", "--image", "gem.png", "--why", "--json")
    assert len(json.loads(printed)["entities"]) == 5


def test_calibrate(installed, linker, model, tiny_mel_dir):
    installed.dim("calibrate", *linker, "--dataset", tiny_mel_dir, "--split", "train")
    assert json.loads((model / "calibration.json").read_text())["temperature"] > 0


def test_eval(installed, model, tiny_mel_dir):
    options = ["--baselines", "fuzzy", "--samples", 100, "--out", "report"]
    assert "H@1" in installed.dim("eval", "--model", model, "--dataset", tiny_mel_dir, *options)
    assert "<style>" in (installed.folder / "report" / "report.html").read_text(encoding="utf-8")


def test_audit(installed, tiny_mel_dir):
    installed.dim("audit", tiny_mel_dir, "--out", "audit")
    assert "train" in (installed.folder / "audit" / "audit.md").read_text(encoding="utf-8")


def test_ablate(installed, tiny_mel_dir, tiny_clip_dir):
    base = {**TRAINING, "text_tower": str(tiny_clip_dir), "dataset": str(tiny_mel_dir)}
    rows = [{"name": "summed", "model": {"fusion": "sum"}}]
    ablation = {"output_dir": "runs", "base": base, "rows": rows, "samples": 100}
    (installed.folder / "mine.yaml").write_text(yaml.safe_dump(ablation))
    assert "| summed |" in installed.dim("ablate", "mine.yaml")


def test_push(installed, linker, model):
    """The metric and the Space are those in the wheel."""
    targets = {
        "model": ["--from", model],
        "metric": ["--from", "metrics/mel_ranking"],
        "space": ["--from", "space"],
        "linker": [*linker, "--kb-licence", "cc0-1.0"],
    }
    with LoopbackHub() as hub:
        for kind, options in targets.items():
            name = "mel_ranking" if kind == "metric" else kind
            installed.dim("push", kind, f"org/{name}", *options, **hub.environment(installed.folder / "cache"))
        assert "model.safetensors" in hub.files("models", "org/model")
        assert {"app.py", "playground.py", "style.css"} <= hub.files("spaces", "org/space").keys()
        assert "mel_ranking.py" in hub.files("spaces", "org/mel_ranking")
        assert "kb/entities.parquet" in hub.files("models", "org/linker")


def test_serve(installed, linker):
    command = [str(installed.programs / "dim"), "serve", *linker, "--port", "0"]
    options = {"cwd": installed.folder, "env": environment(), "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **options) as server:
        try:
            url = server.stdout.readline().strip()
            answer = httpx.post(f"{url}/link", json={"mentions": [{"sentence": "the [[gem]]"}]}, timeout=60)
            assert len(answer.json()["results"][0]["entities"]) == 5
            assert "dim_http_requests_total" in httpx.get(f"{url}/metrics").text
        finally:
            server.terminate()
        assert server.wait(60) == 0


def test_mcp(installed, linker):
    command, words = str(installed.programs / "dim"), ["mcp", *map(str, linker)]

    async def ask():
        started = mcp.StdioServerParameters(command=command, args=words, env=environment(), cwd=installed.folder)
        async with mcp.Client(started) as client:
            return await client.call_tool("link_mention", {"sentence": "the [[gem]]"})

    assert len(asyncio.run(ask()).structured_content["entities"]) == 5
