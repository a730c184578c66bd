"""What every test may count on: no network, caches of its own, fixed seeds, and two tiny checkpoints.

The environment is set before anything of Hugging Face is imported, since those libraries read it at import.
"""

import atexit
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

_CACHE = tempfile.mkdtemp(prefix="dim-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["HF_HOME"] = _CACHE
for _variable in ("HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE"):
    os.environ.pop(_variable, None)  # they follow HF_HOME
for _variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # silences the warning of forked DataLoader workers
os.environ.setdefault("MPLBACKEND", "Agg")
# The commands of this environment (dim, accelerate, torchrun) are found without activating it.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

import pytest  # noqa: E402

SEED = 0


def pytest_runtest_setup(item):
    """Skip what is marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def seeds():
    """Seed Python, and NumPy and PyTorch where they are loaded, before each test."""
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a headless-capable Chromium; a test that asks for it is skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip("needs a Chromium (`make browser-deps` installs Debian's)")


@pytest.fixture(scope="session")
def tiny_clip_dir(tmp_path_factory) -> Path:
    """A CLIP checkpoint as the Hub holds them: weights, tokenizer and image processor (32 px, about 350 kB).

    Both towers have hidden size 32, 2 layers and 4 heads; the projection has 32 dimensions, the text 77 positions.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    merges = [("t", "h"), ("th", "e</w>"), ("i", "n"), ("a", "n"), ("an", "d</w>"), ("o", "f</w>")]
    alphabet = sorted(ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *(a + b for a, b in merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges, model_max_length=77
    )
    if tokenizer("the cat").input_ids[1] != pieces.index("the</w>"):
        raise RuntimeError("the tiny CLIP tokenizer does not apply its merges")

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {
        "vocab_size": len(pieces),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config={**tower, **tokens, "projection_dim": 32},
        vision_config={**tower, "image_size": 32, "patch_size": 8, "projection_dim": 32},
        projection_dim=32,
    )
    torch.manual_seed(SEED)
    folder = tmp_path_factory.mktemp("tiny_clip")
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The class is named since `CLIPImageProcessor` is the torchvision one wherever torchvision is installed.
    square = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert_dir(tmp_path_factory) -> Path:
    """A BERT checkpoint with a WordPiece tokenizer (hidden size 32, 2 layers, 4 heads, 128 positions, about 150 kB)."""
    import string

    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    signs = string.ascii_lowercase + string.digits
    words = ["the", "of", "and", "in", "is", "a", "an", "##s", "##ing", "##er", "##land"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *signs, *(f"##{s}" for s in signs)]
    pieces += [word for word in words if word not in pieces]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, model_max_length=128)
    if tokenizer.tokenize("The finland!") != ["the", "f", "##i", "##n", "##land", "!"]:
        raise RuntimeError("the tiny BERT tokenizer does not split words into its pieces")

    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(SEED)
    folder = tmp_path_factory.mktemp("tiny_bert")
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


COLOURS = {"red": "ruby", "green": "emerald", "blue": "sapphire", "black": "onyx", "yellow": "topaz", "white": "pearl"}


def _png(colour: str, size: int = 24) -> bytes:
    """A plain picture."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def tiny_mel_dir(tmp_path_factory) -> Path:
    """A dataset of six gems, all called "gem": only the colour of the picture tells which one is meant.

    24 training and 12 validation mentions, one of them NIL; the configs and columns are those of the published sets.
    """
    import datasets

    folder = tmp_path_factory.mktemp("tiny_mel")
    colours = list(COLOURS)
    entities = {
        "id": [f"e{row}" for row in range(len(colours))],
        "name": [f"gem {COLOURS[colour]}" for colour in colours],
        "aliases": [["gem"] for _ in colours],
        "description": [f"a stone number {row}" for row in range(len(colours))],
        "images": [[{"bytes": _png(colour), "path": None}] for colour in colours],
    }

    def mentions(count: int, nil: int) -> dict:
        rows = [colours[row % len(colours)] for row in range(count)]
        texts = [f"Here is number {row % 5}: the gem of the land." for row in range(count)]
        return {
            "id": [f"m{count}-{row}" for row in range(count)],
            "sentence": texts,
            "mention": ["gem"] * count,
            "start": [text.index("gem") for text in texts],
            "end": [text.index("gem") + 3 for text in texts],
            "image": [{"bytes": _png(colour, 20 + row % 3), "path": None} for row, colour in enumerate(rows)],
            "image_id": [f"i{count}-{row}" for row in range(count)],
            "entity_id": ["" if row == nil else f"e{colours.index(colour)}" for row, colour in enumerate(rows)],
            "expert_answer": ["a stone" if row % 2 else "" for row in range(count)],
        }

    tables = {
        "mentions": {"train": mentions(24, nil=-1), "validation": mentions(12, nil=7)},
        "entities": {"kb": entities},
        "candidates": {"train": {"mention_id": [f"m24-{row}" for row in range(24)],
                                 "entity_ids": [[f"e{place}" for place in range(6)]] * 24}},
    }  # fmt: skip
    configs = []
    for config, splits in tables.items():
        (folder / config).mkdir()
        files = []
        for split, columns in splits.items():
            rows = datasets.Dataset.from_dict(columns)
            if config == "mentions":
                rows = rows.cast_column("image", datasets.Image())
            if config == "entities":
                rows = rows.cast_column("images", datasets.List(datasets.Image()))
            rows.to_parquet(str(folder / config / f"{split}.parquet"))
            files.append(f"  - split: {split}\n    path: {config}/{split}.parquet")
        configs.append(f"- config_name: {config}\n  data_files:\n" + "\n".join(files))
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(configs) + "\n---\n")
    return folder


@pytest.fixture(scope="session")
def tiny_dim_dir(tiny_clip_dir, tmp_path_factory) -> Path:
    """An untrained DIM on the tiny CLIP, with its processor."""
    import torch

    from dim import DIMModel, DIMProcessor

    torch.manual_seed(SEED)
    folder = tmp_path_factory.mktemp("tiny_dim")
    DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4).save_pretrained(folder)
    DIMProcessor.from_towers(str(tiny_clip_dir)).save_pretrained(folder)
    return folder


@pytest.fixture
def stub(monkeypatch):
    """A language model's server on this machine; requests carry its key."""
    from openai_stub import KEY, OpenAIStub

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    stub = OpenAIStub()
    yield stub
    stub.stop()
