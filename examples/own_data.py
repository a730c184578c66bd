"""Your own data: builds a dataset from two JSONL files, trains a DIM on it, and evaluates the model.

    make demo && python examples/own_data.py

Six entities are far too few to learn from: the script only shows the steps.
"""

import json
import tempfile
from pathlib import Path

from PIL import Image

from dim.cli.train import main as train
from dim.corpora.build.dataset import build, summary
from dim.evaluation.report import write_report
from dim.evaluation.run import Settings, evaluate

folder = Path(tempfile.mkdtemp())
raw = folder / "raw"
raw.mkdir()
colours = ["red", "green", "blue", "black", "yellow", "white"]
entities, mentions = [], []
for number, colour in enumerate(colours):
    Image.new("RGB", (64, 64), colour).save(raw / f"{colour}.png")
    entities.append({"id": f"k{number}", "name": f"{colour} paint", "aliases": ["paint"], "images": [f"{colour}.png"]})
    for split in ("train", "validation", "test"):
        mentions.append({"id": f"{split}{number}", "sentence": f"In the {split} house there was paint on the wall.",
                         "mention": "paint", "split": split, "entity_id": f"k{number}",
                         "image": f"{colour}.png"})  # fmt: skip
for name, rows in (("entities", entities), ("mentions", mentions)):
    (raw / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

data = folder / "paints"
print(summary(build("paints", [raw], data, layout="jsonl", images=[raw])))

model = folder / "model"
arguments = ["--dataset", str(data), "--model_name_or_path", "demo/start", "--output_dir", str(model)]
if train([*arguments, "--max_steps", "2", "--per_device_train_batch_size", "4", "--report_to", "none"]) != 0:
    raise SystemExit(1)

report = evaluate(Settings(str(data), model=str(model), baselines=("fuzzy",), samples=100))
(folder / "report").mkdir()
print([path.name for path in write_report(report, folder / "report")])
