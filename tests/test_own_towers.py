"""Towers of one's own: classes that are registered with transformers serve like its own; others are refused."""

import json
import shutil

import pytest
import torch
from PIL import Image
from tiny_towers import SIZE, save_two_towers
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    CLIPImageProcessorPil,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.cli.main import main
from dim.errors import DIMError

PICTURE = Image.effect_mandelbrot((SIZE, SIZE), (-2, -1, 1, 1), 20).convert("RGB")


class OwnConfig(PreTrainedConfig):
    """Fields of a tower that transformers does not have."""

    model_type = "tower_of_the_tests"
    hidden_size: int = 12


class OwnModel(PreTrainedModel):
    """A tower with a pooler and running statistics, which are buffers."""

    config_class = OwnConfig
    base_model_prefix = "own"
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.patches = nn.Conv2d(3, config.hidden_size, 8, 8)
        self.norm = nn.BatchNorm2d(config.hidden_size)
        self.post_init()

    def forward(self, pixel_values, **kwargs):
        """Encodes pictures."""
        states = self.norm(self.patches(pixel_values))
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=states.amax((2, 3)))


class OwnImageProcessor(CLIPImageProcessorPil):
    """An image processor with other pixels than CLIP's."""

    size = {"shortest_edge": SIZE}
    crop_size = {"height": SIZE, "width": SIZE}
    image_mean = [0.25, 0.5, 0.75]
    image_std = [0.5, 0.25, 0.125]


AutoConfig.register(OwnConfig.model_type, OwnConfig)
AutoModel.register(OwnConfig, OwnModel)
AutoImageProcessor.register(OwnConfig, image_processor_classes={"pil": OwnImageProcessor})


@pytest.fixture(scope="module")
def own_dir(tmp_path_factory):
    """The tower's folder."""
    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    model = OwnModel(OwnConfig()).train()
    with torch.no_grad():
        model(torch.randn(8, 3, SIZE, SIZE) + 1)  # moves the running statistics
    model.save_pretrained(folder)
    OwnImageProcessor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dim_dir(own_dir, tiny_bert_dir, tmp_path_factory):
    """An untrained DIM with that tower."""
    folder = tmp_path_factory.mktemp("dim")
    DIMModel.from_towers(str(tiny_bert_dir), str(own_dir)).save_pretrained(folder)
    DIMProcessor.from_towers(str(tiny_bert_dir), str(own_dir)).save_pretrained(folder)
    return folder


def renamed(folder, copy):
    """A copy of a folder whose classes nobody registered."""
    shutil.copytree(folder, copy)
    for path in copy.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("tower_of_the_tests", "unheard_of").replace("OwnImageProcessor", "UnheardOf")
        path.write_text(text, encoding="utf-8")
    return copy


def refused(make, *words):
    with pytest.raises(DIMError) as caught:
        make()
    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    return message


@torch.no_grad()
def test_a_registered_tower_gives_its_own_features_before_and_after_reloading(own_dir, dim_dir, tiny_bert_dir):
    tower = AutoModel.from_pretrained(own_dir).eval()
    pixels = AutoImageProcessor.from_pretrained(own_dir, backend="pil")([PICTURE], return_tensors="pt")["pixel_values"]
    expected = tower(pixels).pooler_output
    towers = str(tiny_bert_dir), str(own_dir)
    built = DIMModel.from_towers(*towers), DIMProcessor.from_towers(*towers)
    loaded = DIMModel.from_pretrained(dim_dir).eval(), DIMProcessor.from_pretrained(dim_dir)
    for model, processor in (built, loaded):
        assert (model.config.vision_pooling, model.config.vision_width) == ("pooler", 12)
        assert type(processor.image_processor) is OwnImageProcessor
        found = processor(images=[PICTURE])["pixel_values"]
        assert torch.equal(found, pixels)
        assert torch.equal(model.pool_pictures(found), expected)


def test_towers_that_nobody_registered_are_refused_in_one_line(own_dir, dim_dir, tiny_bert_dir, tmp_path):
    text, tower, whole = str(tiny_bert_dir), renamed(own_dir, tmp_path / "tower"), renamed(dim_dir, tmp_path / "dim")
    needed = "import the module that registers"
    refused(lambda: DIMModel.from_towers(text, str(tower)), str(tower), needed)
    refused(lambda: DIMProcessor.from_towers(text, str(tower)), str(tower), needed)
    refused(lambda: DIMModel.from_pretrained(whole), "vision tower is of type 'unheard_of'", needed)
    refused(lambda: DIMProcessor.from_pretrained(whole), str(whole), needed)
    refused(lambda: DIMConfig(text_config={"model_type": "unheard_of"}), "text tower is of type 'unheard_of'", needed)


def test_commands_refuse_towers_that_nobody_registered(
    own_dir, dim_dir, tiny_bert_dir, tiny_mel_dir, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("builtins.input", lambda *question: "y")
    options = ["--dataset", str(tiny_mel_dir), "--output_dir", str(tmp_path / "run"), "--report_to", "none"]
    tower, whole = renamed(own_dir, tmp_path / "tower"), renamed(dim_dir, tmp_path / "dim")
    for source in (
        ["--text_tower", str(tiny_bert_dir), "--vision_tower", str(tower)],
        ["--model_name_or_path", str(whole)],
    ):
        assert main(["train", *options, *source]) == 2
        told = capsys.readouterr().err
        assert "import the module that registers" in told.splitlines()[-1]
        assert "Traceback" not in told


def test_code_in_a_folder_of_a_tower_never_runs(own_dir, tiny_bert_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *question: "y")
    folder, ran = renamed(own_dir, tmp_path / "tower"), tmp_path / "ran"
    (folder / "planted.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    places = {
        "config.json": {"AutoConfig": "planted.OwnConfig", "AutoModel": "planted.OwnModel"},
        "preprocessor_config.json": {"AutoImageProcessor": "planted.OwnImageProcessor"},
    }
    for name, places_of_code in places.items():
        fields = json.loads((folder / name).read_text()) | {"auto_map": places_of_code}
        (folder / name).write_text(json.dumps(fields))
    refused(lambda: DIMModel.from_towers(str(tiny_bert_dir), str(folder)), str(folder), "import the module")
    refused(lambda: DIMProcessor.from_towers(str(tiny_bert_dir), str(folder)), str(folder), "import the module")
    assert not ran.exists()


def test_code_beside_a_saved_processor_never_runs(dim_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *question: "y")
    folder, ran = renamed(dim_dir, tmp_path / "dim"), tmp_path / "ran"
    (folder / "planted.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    fields = json.loads((folder / "processor_config.json").read_text())
    fields["image_processor"]["auto_map"] = {"AutoImageProcessor": "planted.OwnImageProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(fields))
    refused(lambda: DIMProcessor.from_pretrained(folder), str(folder))
    assert not ran.exists()


def test_a_tower_without_an_image_processor_is_refused_in_one_line(own_dir, tiny_bert_dir, tmp_path):
    bare = shutil.copytree(own_dir, tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    refused(lambda: DIMProcessor.from_towers(str(tiny_bert_dir), str(bare)), str(bare), "preprocessor_config.json")
    given = DIMProcessor.from_towers(str(tiny_bert_dir), OwnImageProcessor())
    assert list(given.image_processor.image_mean) == [0.25, 0.5, 0.75]


def test_a_checkpoint_with_both_towers_needs_its_image_processor(tiny_bert_dir, tmp_path):
    both = save_two_towers("clip", tiny_bert_dir, tmp_path / "both")
    (both / "preprocessor_config.json").unlink()
    refused(lambda: DIMProcessor.from_towers(str(both)), str(both), "preprocessor_config.json")
    assert DIMProcessor.from_towers(str(tiny_bert_dir)).image_processor is not None  # a model of texts never uses it
