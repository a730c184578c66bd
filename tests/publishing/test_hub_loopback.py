"""The promises of the cards over HTTP, each step in a process of its own: push, and use where dim is not installed."""

import json
import shutil

import pytest
from loopback_fixtures import WITHOUT_DIM, fresh_process
from loopback_hub import Fault, LoopbackHub

from dim.corpora.build.dataset import build
from dim.training.model_card import model_card

ENTITIES = [
    {
        "id": "e1",
        "name": "Turkey",
        "aliases": ["Türkiye"],
        "description": "country around Ankara",
        "images": ["red.png"],
    },
    {"id": "e2", "name": "turkey", "aliases": [], "description": "large bird", "images": []},
]
MENTIONS = [
    {"id": "m1", "sentence": "Turkey is in the news.", "mention": "Turkey", "split": "train", "entity_id": "e1",
     "image": "red.png"},
    {"id": "m2", "sentence": "We ate turkey.", "mention": "turkey", "split": "validation", "entity_id": "e2"},
]  # fmt: skip
PUSH = """
import sys
from huggingface_hub import HfApi
from dim.cli.main import main

model, dataset, metric, clip, bert = sys.argv[1:]
for kind, target, folder in (("model", "org/dim", model), ("dataset", "org/wikimel_plus", dataset),
                             ("metric", "org/mel_ranking", metric)):
    assert main(["push", kind, target, "--from", folder]) == 0
    HfApi().create_tag(target, repo_type={"metric": "space"}.get(kind, kind), tag="v1")
for name, folder in (("openai/clip-vit-base-patch32", clip), ("org/bert", bert)):
    HfApi().create_repo(name)
    HfApi().upload_folder(repo_id=name, folder_path=folder)
"""
# What a stranger runs; with `hub` the names of the Hub, else the folders that were pushed.
USE = """
import json, sys
import torch
from PIL import Image
import evaluate
from datasets import load_dataset
from transformers import AutoModel, AutoProcessor

torch.set_num_threads(1)
model, dataset, metric, revision = sys.argv[1:]
version = {"revision": revision} if revision else {}
network = AutoModel.from_pretrained(model, trust_remote_code=True, **version).eval()
processor = AutoProcessor.from_pretrained(model, trust_remote_code=True, **version)
rows = list(load_dataset(dataset, "entities", split="kb", streaming=True, **version))
mentions = load_dataset(dataset, "mentions", **version)
inputs = processor(mentions=["Turkey", "turkey"], text=["Turkey is in the news.", "We ate turkey."],
                   images=[Image.new("RGB", (40, 30), "red"), None], names=[row["name"] for row in rows],
                   descriptions=[row["description"] for row in rows], entity_images=[row["images"] for row in rows])
with torch.no_grad():
    output = network(**inputs)
ranked = evaluate.load(metric, **version).compute(predictions=output.logits.tolist(), references=[0, 1], ks=[1])
print(json.dumps({
    "logits": output.logits.tolist(), "vectors": output.mention_embeds.tolist(), "metric": ranked,
    "rows": [{**row, "images": [image.tobytes().hex() for image in row["images"]]} for row in rows],
    "mentions": {split: part.remove_columns("image").to_list() for split, part in mentions.items()},
    "pictures": [image and image.size for image in mentions["train"]["image"]],
    "class": type(network).__module__.split(".")[0],
}))
"""
TOWERS = """
import json, sys
import torch
from dim import DIMModel, DIMProcessor

found = []
for towers in json.loads(sys.argv[1]):
    torch.manual_seed(0)
    model = DIMModel.from_towers(*towers, projection_dim=32, num_attention_heads=4)
    processor = DIMProcessor.from_towers(*towers)
    batch = processor.process_entities(["Turkey", "turkey"], ["country", "bird"])
    with torch.no_grad():
        found.append([model.config.text_config.model_type, model.config.vision_config.model_type,
                      model.get_entity_features(**batch).tolist()])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folders(tiny_dim_dir, tmp_path_factory, request):
    """A model, a dataset with two configs and the metric, as they are on the disk of who publishes them."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(tiny_dim_dir, folder / "model")
    card = model_card({"step": 1}, {"dataset": "wikimel_plus"})
    (folder / "model" / "README.md").write_text(card.replace("---\n", "---\nlicense: cc-by-4.0\n", 1))
    raw = folder / "raw"
    raw.mkdir()
    Image.new("RGB", (24, 20), "red").save(raw / "red.png")
    for name, rows in (("mentions", MENTIONS), ("entities", ENTITIES)):
        (raw / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build("own", [raw], folder / "wikimel_plus", layout="jsonl", images=[raw])
    card = folder / "wikimel_plus" / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    metric = request.config.rootpath / "metrics" / "mel_ranking"
    return [str(folder / "model"), str(folder / "wikimel_plus"), str(metric)]


@pytest.fixture(scope="module")
def hub(folders, tiny_clip_dir, tiny_bert_dir, tmp_path_factory):
    with LoopbackHub() as made:
        home = tmp_path_factory.mktemp("publisher")
        fresh_process(made, home, "-c", PUSH, *folders, str(tiny_clip_dir), str(tiny_bert_dir))
        yield made


@pytest.fixture(scope="module")
def expected(hub, folders, tmp_path_factory):
    """What the folders themselves give, with dim installed."""
    home = tmp_path_factory.mktemp("at_home")
    return json.loads(fresh_process(hub, home, "-c", f"import dim\n{USE}", *folders, "").splitlines()[-1])


def test_a_stranger_gets_the_same_bits(hub, folders, expected, tmp_path):
    """Without the package, from the Hub, by a tag."""
    names = ["org/dim", "org/wikimel_plus", "org/mel_ranking", "v1"]
    found = json.loads(fresh_process(hub, tmp_path, "-c", WITHOUT_DIM + USE, *names).splitlines()[-1])
    assert (expected.pop("class"), found.pop("class")) == ("dim", "transformers_modules")
    assert found == expected
    assert [row["name"] for row in found["rows"]] == ["Turkey", "turkey"]
    assert found["pictures"] == [[24, 20]]
    assert found["metric"]["mentions"] == 2
    assert not [path for _, path, status in hub.log if status == 404 and path.endswith((".safetensors", ".parquet"))]


def test_a_stranger_runs_the_block_of_the_card(hub, tmp_path):
    card = hub.files("models", "org/dim")["README.md"].decode()
    block = card.split("## How to use")[1].split("```python\n")[1].split("```")[0]
    assert fresh_process(hub, tmp_path, "-c", WITHOUT_DIM + block).splitlines()[-1].startswith("tensor([")


def test_towers_come_from_the_hub(hub, tiny_clip_dir, tiny_bert_dir, tmp_path):
    names = [["openai/clip-vit-base-patch32"], ["org/bert", "openai/clip-vit-base-patch32"]]
    folders = [[str(tiny_clip_dir)], [str(tiny_bert_dir), str(tiny_clip_dir)]]
    remote = json.loads(fresh_process(hub, tmp_path / "a", "-c", TOWERS, json.dumps(names)).splitlines()[-1])
    local = json.loads(fresh_process(hub, tmp_path / "b", "-c", TOWERS, json.dumps(folders)).splitlines()[-1])
    assert remote == local
    assert [one[:2] for one in remote] == [["clip_text_model", "clip_vision_model"], ["bert", "clip_vision_model"]]


LOAD = """
from transformers import AutoModel
print(sum(p.double().sum().item() for p in AutoModel.from_pretrained("org/dim", trust_remote_code=True).parameters()))
"""


def test_the_server_dies_in_the_middle_of_a_download(hub, tmp_path):
    """The process that was loading fails and says why; a later one, with the same cache, loads."""
    hub.faults.append(Fault("model.safetensors", keep=1000, then=hub.stop))
    try:
        complaint = fresh_process(hub, tmp_path, "-c", WITHOUT_DIM + LOAD, code=1)
    finally:
        hub.start()
    assert "Connection refused" in complaint
    assert [path for path in tmp_path.rglob("*.safetensors") if path.is_file()] == []
    there = float(fresh_process(hub, tmp_path, "-c", WITHOUT_DIM + LOAD))
    assert there == float(fresh_process(hub, tmp_path / "other", "-c", WITHOUT_DIM + LOAD))
