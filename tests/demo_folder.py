"""What `make demo` leaves, with a tiny untrained model: for the tests of examples and documentation."""

import shutil
from pathlib import Path

import torch
from PIL import Image

from dim import DIMModel, DIMProcessor
from dim.corpora.hub import load_entities
from dim.linking.kb.store import KnowledgeBase
from dim.linking.lexical import LEXICAL_FEATURES
from dim.training.card import model_card

ROOT = Path(__file__).resolve().parents[1]


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
