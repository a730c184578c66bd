"""Files from others run no code: neither a pickle in place of weights, nor code that a config names."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
from tiny_blip2 import save_tiny_blip2
from tiny_chat_models import save_llava

from dim import DIMLinker, DIMModel, DIMProcessor
from dim.cli.main import main
from dim.encoding.loading import load_dim
from dim.errors import DIMError
from dim.experts.blip2 import Blip2Expert
from dim.experts.image_text import ImageTextToTextExpert
from dim.kb.store import KnowledgeBase
from dim.linking.reranker import FOLDER, Reranker


def linker(folder: Path) -> DIMLinker:
    kb = KnowledgeBase.create(folder / "kb", [{"id": "a", "name": "Turkey"}])
    kb.encode(*load_dim(folder), progress=False)
    return DIMLinker.from_pretrained(str(folder), kb=kb.uri, rerank=2)


LOADERS = {
    "model": load_dim,
    "linker": linker,
    "reranker": Reranker.from_pretrained,
    "towers": DIMModel.from_towers,
    "processor of towers": DIMProcessor.from_towers,
    "BLIP-2": lambda folder: Blip2Expert.from_pretrained(folder, device="cpu"),
    "LLaVA": lambda folder: ImageTextToTextExpert.from_pretrained(folder, device="cpu"),
}
CLASSES = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoModelForImageTextToText",
           "AutoProcessor", "AutoImageProcessor")  # fmt: skip
TYPES = ("model_type", "tokenizer_class", "processor_class", "image_processor_type")


@pytest.fixture(scope="module")
def sound(tiny_dim_dir, tiny_clip_dir, tiny_bert_dir, tmp_path_factory):
    """A folder for each loader, which it loads."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    here = tmp_path_factory.mktemp("sound")
    with_reranker = shutil.copytree(tiny_dim_dir, here / "linker")
    reranker = with_reranker / FOLDER
    BertForSequenceClassification(BertConfig.from_pretrained(tiny_bert_dir, num_labels=1)).save_pretrained(reranker)
    AutoTokenizer.from_pretrained(tiny_bert_dir).save_pretrained(reranker)
    save_llava(here / "llava")
    blip2 = save_tiny_blip2(here / "blip2")
    folders = (tiny_dim_dir, with_reranker, reranker, tiny_clip_dir, tiny_clip_dir, blip2, here / "llava")
    return dict(zip(LOADERS, folders, strict=True))


@pytest.fixture
def folder(sound, name, tmp_path):
    return shutil.copytree(sound[name], tmp_path / "copy")


class _Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (Path(self.path), "ran"))


def plant_pickles(folder: Path, mark: Path) -> None:
    for weights in folder.rglob("model.safetensors"):
        weights.with_name("pytorch_model.bin").write_bytes(pickle.dumps(_Planted(str(mark)), protocol=2))
        weights.unlink()


@pytest.mark.parametrize("name", [name for name in LOADERS if name != "processor of towers"])
def test_a_pickle_in_place_of_weights_runs_nothing(name, folder, tmp_path):
    plant_pickles(folder, tmp_path / "ran")
    with pytest.raises((DIMError, pickle.UnpicklingError)):
        LOADERS[name](folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["towers"])
def test_the_command_line_says_so_in_one_line(folder, tiny_mel_dir, tmp_path, capsys):
    plant_pickles(folder, tmp_path / "ran")
    options = ["--text_tower", str(folder), "--dataset", str(tiny_mel_dir), "--report_to", "none"]
    assert main(["train", *options, "--output_dir", str(tmp_path / "run")]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dim ")]
    assert line.startswith("dim train: A file of weights or states is damaged, or holds more than that")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("name", LOADERS)
def test_code_that_a_config_names_does_not_run_and_nobody_is_asked(name, folder, tmp_path, is_known, monkeypatch):
    """Neither beside classes that transformers knows, nor in place of them."""
    mark = tmp_path / "ran"
    for file in [*folder.rglob("*config.json")]:
        config = json.loads(file.read_text(encoding="utf-8"))
        config["auto_map"] = {**dict.fromkeys(CLASSES, "planted.P"), "AutoTokenizer": ["planted.P", "planted.P"]}
        if not is_known:
            config |= {key: "Planted" for key in TYPES if key in config}
        file.write_text(json.dumps(config), encoding="utf-8")
        for module in ("planted", "configuration_dim", "modeling_dim", "processing_dim"):
            code = f"from pathlib import Path\nPath({str(mark)!r}).write_text('ran')\n"
            file.with_name(f"{module}.py").write_text(code, encoding="utf-8")

    def asked(*given) -> str:
        mark.write_text("asked")
        return "y"

    monkeypatch.setattr("builtins.input", asked)
    if is_known:
        LOADERS[name](folder)
    else:
        with pytest.raises(ValueError, match=r"(?i)planted|custom code|no reranker|know"):
            LOADERS[name](folder)
    assert not mark.exists()
