"""Fixtures of the loopback Hub, for this process or a new one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _cache_assets
from loopback_hub import TOKEN, LoopbackHub

from dim.training.model_card import model_card

METRICS = {"step": 3, "H@1": 50.0, "MRR": 66.6}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub for this process, with separate caches and no waiting between retries."""
    with LoopbackHub() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        template = made.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
        monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path / "cache" / "assets"))
        monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


@pytest.fixture
def model_folder(tiny_dim_dir, tmp_path) -> Path:
    """A model as `dim train` saves it: weights, processor, code and card, and files that are not published."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_dim_dir, folder)
    card = model_card(METRICS, {"dataset": "gems", "output_dir": "/runs/gems"})
    (folder / "README.md").write_text(card.replace("---\n", "---\nlicense: apache-2.0\n", 1))
    (folder / "metrics.json").write_text("{}")
    (folder / "checkpoint-3").mkdir()
    (folder / "checkpoint-3" / "model.safetensors").write_bytes(b"\0")
    return folder


Fresh = Callable[..., str]
WITHOUT_DIM = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "dim":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import dim
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("dim can be imported, so this shows nothing")
"""


def fresh_process(hub: LoopbackHub, home: Path, *arguments: str, code: int = 0) -> str:
    """Runs Python in a new process outside the checkout, and returns its stdout, or its stderr if it shall fail."""
    home.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **hub.environment(home)}, cwd=home,
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    if result.returncode != code:
        pytest.fail(f"{result.returncode}: {result.stdout[-2000:]}\n{result.stderr[-4000:]}")
    return result.stdout if code == 0 else result.stderr
