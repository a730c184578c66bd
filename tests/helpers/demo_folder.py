"""What `make demo` leaves, with a tiny untrained model, and what else the documentation names: for tests of both."""

import json
import shutil
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from raw_release import PEOPLE, PROVENANCE, write_pictures, write_release
from tiny_blip2 import save_tiny_blip2

from dim import DIMModel, DIMProcessor
from dim.corpora.build.dataset import build
from dim.corpora.loading import load_entities
from dim.encoding.loading import load_dim
from dim.kb.store import KnowledgeBase
from dim.lexical_dim import LEXICAL_FEATURES
from dim.training.model_card import model_card

ROOT = Path(__file__).resolve().parents[2]
AS_IT_IS = ("metrics", "space", "train.py", "datasets/namesakes", "datasets/wikimel")  # of the repository
COPIES = {  # name of a page: what stands for it
    "MODEL": "demo/model",
    "photo.jpg": "demo/example.png",
    "flag.png": "demo/example.png",
    "runs/wikimel": "demo/model",
    "kb/wikimel": "demo/kb",
    "kb/wikidata": "demo/kb",
    "my_space": "space",
    "KGMEL/data/dataset": "RAW",
    "mention_images": "MELBench/images",
    "kb_image": "FOLDER/pictures",
}
GEMS = ("Ruby", "Emerald", "Sapphire", "Onyx", "Topaz", "Pearl")
LONG_AGO = {"description_created_at": "2026-01-01T00:00:00Z"}
ENTITIES = [
    {"id": "Q1", "name": "Taylor Reed", "description": "singer of the north", "type": "person"},
    {"id": "Q2", "name": "Jonathan Reed", "description": "her brother, a sailor", "aliases": ["Jon"]},
    {"id": "Q3", "name": "Henry the Red", "description": "king", **PROVENANCE, **LONG_AGO},
]
MENTIONS = [
    {"sentence": "This is why Taylor sings.", "mention": "Taylor", "image": "photo.jpg"},
    {"sentence": "[[Henry]], c. 1531"},
]


def write_demo(folder: Path, tiny_dim_dir: Path) -> Path:
    """Writes `start`, `model`, `kb` (the sample's entities without their pictures) and `example.png`.

    Args:
        folder: Where to.
        tiny_dim_dir: A model without a lexical prior.

    Returns:
        The folder.
    """
    torch.manual_seed(0)
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    with torch.no_grad():  # it goes by equal names, so that some links are right
        model.lexical_prior.hidden.weight[0] = 0.0
        model.lexical_prior.hidden.weight[0, LEXICAL_FEATURES.index("equal")] = 10.0
        model.lexical_prior.output_weight[0] = 10.0
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    shutil.copytree(folder / "model", folder / "start")
    card = model_card({"step": 1, "H@1": 50.0, "MRR": 66.6}, {"dataset": "namesakes"})
    (folder / "model" / "README.md").write_text(card, encoding="utf-8")
    entities = load_entities(str(ROOT / "datasets" / "namesakes")).select_columns(["id", "name", "description"])
    KnowledgeBase.create(folder / "kb", entities.to_list()).encode(model, processor, batch_size=256)
    Image.new("RGB", (40, 30), "red").save(folder / "example.png")
    return folder


@pytest.fixture(scope="session")
def world(tiny_clip_dir, tiny_bert_dir, tiny_mel_dir, tmp_path_factory) -> Path:
    """A folder where every name that the pages use as a path or a repository is something small of that kind.

    Links that stay within the folder are relative, so `shutil.copytree(world, copy, symlinks=True)` is one to write in.
    """
    folder = tmp_path_factory.mktemp("world")
    start = folder / ".start"
    torch.manual_seed(0)
    towers = (str(tiny_bert_dir), str(tiny_clip_dir))
    DIMModel.from_towers(*towers, projection_dim=32, num_attention_heads=4).save_pretrained(start)
    DIMProcessor.from_towers(*towers).save_pretrained(start)
    write_demo(folder / "demo", start)
    KnowledgeBase.create(folder / "KB", ENTITIES).encode(*load_dim(folder / "demo" / "model"))
    checkpoints = {
        "openai/clip-vit-base-patch32": tiny_clip_dir,
        "facebook/dinov2-base": tiny_clip_dir,
        "bert-base-uncased": tiny_bert_dir,
        "sentence-transformers/all-MiniLM-L6-v2": tiny_bert_dir,
        "DATASET": tiny_mel_dir,
    }
    for name, target in [*checkpoints.items(), *((name, ROOT / name) for name in AS_IT_IS)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    _write_raw(folder)
    for name, target in COPIES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(Path(*[".."] * name.count("/"), target))
    _write_configs(folder / "configs")
    _write_lines(folder / "entities.jsonl", ENTITIES)
    _write_lines(folder / "mentions.jsonl", MENTIONS)
    (folder / "today.csv").write_text("id,name,aliases\nQ2,Jonathan Reed,Jon|Jonny\nQ9,Jonas Reed,\n")
    save_tiny_blip2(folder / "Salesforce" / "blip2-opt-2.7b")
    return folder


@pytest.fixture(scope="session")
def few_namesakes(tmp_path_factory) -> Path:
    """The sample with the first mentions of each split, and the entities that these need."""
    whole, few = ROOT / "datasets" / "namesakes", tmp_path_factory.mktemp("few") / "namesakes"
    shutil.copytree(whole, few, ignore=shutil.ignore_patterns("script"))
    head = yaml.safe_load((few / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    head["dataset_info"] = [{key: one[key] for key in ("config_name", "features")} for one in head["dataset_info"]]
    (few / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n", encoding="utf-8")
    wanted: set[str] = set()
    for split, count in {"train": 64, "validation": 16, "test": 16}.items():
        name = f"{split}-00000-of-00001.parquet"
        mentions = pq.read_table(whole / "mentions" / name).slice(0, count)
        candidates = pq.read_table(whole / "candidates" / name)
        candidates = candidates.filter(pc.is_in(candidates["mention_id"], mentions["id"].combine_chunks()))
        wanted |= {*mentions["entity_id"].to_pylist(), *chain(*candidates["entity_ids"].to_pylist())}
        pq.write_table(mentions, few / "mentions" / name)
        pq.write_table(candidates, few / "candidates" / name)
    [path] = (few / "entities").glob("*.parquet")
    entities = pq.read_table(path)
    pq.write_table(entities.filter(pc.is_in(entities["id"], pa.array(sorted(wanted)))), path)
    return few


@pytest.fixture
def folder(world, tmp_path, monkeypatch) -> Path:
    """A copy of the world to write in, which is the working directory."""
    copy = shutil.copytree(world, tmp_path / "world", symlinks=True)
    monkeypatch.chdir(copy)
    return copy


def _write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write_raw(folder: Path) -> None:
    """Raw releases in the layouts that the pages name, and what `dim build` makes of two of them."""
    ghmfc, melbench = folder / "MEL-GHMFC" / "datasets", folder / "MELBench"
    write_release(ghmfc / "WikiMEL")
    melbench.mkdir()
    (ghmfc / "WikiMEL" / "Wikidata-MEL.json").rename(melbench / "Wikidata-MEL.json")
    write_pictures(melbench / "images")
    _write_richpedia(melbench, ghmfc / "Richpedia-MEL")
    _write_wikidiverse(folder / "RAW")
    _write_mimic(folder / "MIMIC")
    _write_lines(folder / "plus.jsonl", [{"id": "Q11", "description": "A pilot from the coast.", **PROVENANCE}])
    _write_own(folder / "FOLDER")
    raw = [melbench, ghmfc / "WikiMEL"]
    build("wikimel", raw, folder / "data" / "wikimel", images=[melbench / "images"])
    build("wikimel_plus", raw, folder / "data" / "wikimel_plus", descriptions=folder / "plus.jsonl")


def _write_richpedia(melbench: Path, ghmfc: Path) -> None:
    people = {f"Q{row}": f"Ada {gem}" for row, gem in enumerate(GEMS * 2, 1)}
    rows = {name: {"sentence": f"{who} with number {name}.", "mentions": who, "entities": who, "answer": name}
            for name, who in people.items()}  # fmt: skip
    files = {
        melbench / "Richpedia-MEL.json": {name: {"id": name, **row} for name, row in rows.items()},
        ghmfc / "train.json": {name: {**row, "imgPath": f"{name}.jpg"} for name, row in rows.items()},
        ghmfc / "qid2ne.json": people,
        ghmfc / "qid2abs.json": dict.fromkeys(people, "Sex: female."),
    }
    ghmfc.mkdir()
    for path, content in files.items():
        path.write_text(json.dumps(content), encoding="utf-8")


def _write_wikidiverse(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    rows = [{"id": row, "sentence": f"{gem} left at {row}.", "mention": [gem], "entity": [gem], "answer": [f"Q{row}"],
             "imgPath": f"{row}.png", "img-url": f"https://pictures.example/{row % 2}.png"}
            for row, gem in enumerate(GEMS)]  # fmt: skip
    splits = {"WikiDiverse": {"train": [0, 1, 2], "val": [3, 4], "test": [5]}}
    (folder / "WikiDiverse.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "ids_split_mappings.json").write_text(json.dumps(splits), encoding="utf-8")


def _write_mimic(folder: Path) -> None:
    folder.mkdir()
    entities = [{"id": row, "qid": name, "entity_name": who, "attr": text, "image_list": [], "type": "entity"}
                for row, (name, (who, text)) in enumerate(PEOPLE.items())]  # fmt: skip
    mentions = [{"id": name, "sentence": f"{who} left.", "mentions": who, "entities": who, "answer": name,
                 "imgPath": "7.jpg", "type": "t"} for name, (who, _) in PEOPLE.items()]  # fmt: skip
    files = {"kb_entity.json": entities, "qid2id.json": {row["qid"]: row["id"] for row in entities},
             "WIKIMEL_train.json": mentions, "WIKIMEL_dev.json": mentions[:2]}  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def _write_own(folder: Path) -> None:
    """Mentions and entities of a user's own, with pictures: half of them may stand for either of two of a name."""
    (folder / "pictures").mkdir(parents=True)
    for gem, colour in zip(GEMS, ("red", "green", "blue", "black", "yellow", "white"), strict=True):
        Image.new("RGB", (24, 20), colour).save(folder / "pictures" / f"{gem}.png")
    splits = ["train"] * 4 + ["validation"] * 3 + ["test"]
    _write_lines(folder / "mentions.jsonl", [
        {"id": f"m{place}-{row}", "sentence": f"In {split} {place}, a {gem} lay there.", "mention": gem, "split": split,
         "entity_id": f"e{row}", "image": f"{gem}.png"}
        for place, split in enumerate(splits) for row, gem in enumerate(GEMS)
    ])  # fmt: skip
    entities = [{"id": f"e{row}", "name": gem, "description": f"stone number {row}", "aliases": ["gem"],
                 "images": [f"{gem}.png"]} for row, gem in enumerate(GEMS)]  # fmt: skip
    _write_lines(folder / "entities.jsonl", [*entities, {"id": "e9", "name": "Python", "description": "a language"}])


def _write_configs(folder: Path) -> None:
    """The shipped ones; of the ablation the base is tiny, and the first two rows are there."""
    folder.mkdir()
    for path in (ROOT / "configs").glob("*.yaml"):
        (folder / path.name).symlink_to(path)
    ablation = yaml.safe_load((folder / "ablation.yaml").read_text(encoding="utf-8"))
    tiny = {"num_train_epochs": 1, "max_steps": 1, "report_to": ["none"]}
    changes = {"base": {**ablation["base"], **tiny}, "rows": ablation["rows"][:2], "samples": 100}
    (folder / "ablation.yaml").unlink()
    (folder / "ablation.yaml").write_text(yaml.safe_dump({**ablation, **changes}), encoding="utf-8")
