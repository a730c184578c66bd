"""Datasets and untrained models for the benchmarks: random words, random pictures, random weights."""

import io
import random
import string
from pathlib import Path

import datasets
import numpy as np
from PIL import Image
from transformers import BertConfig, BertTokenizer, CLIPConfig, ViTConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dim import DIMConfig, DIMModel, DIMProcessor

WORDS = ["".join(random.Random(row).choices(string.ascii_lowercase, k=6)) for row in range(2_000)]


def _texts(count: int, words: int) -> list[str]:
    return [" ".join(random.choices(WORDS, k=random.randint(words // 2, words + words // 2))) for _ in range(count)]


def _pictures(count: int, size: int) -> list[dict]:
    found = []
    for row in range(count):
        pixels = np.random.default_rng(row).integers(0, 255, (size, size, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG")
        found.append({"bytes": out.getvalue(), "path": None})
    return found


def dataset(folder: Path, mentions: int, entities: int, words: int, picture: int | None) -> None:
    """Writes a dataset; every mention's gold is the entity whose number it contains.

    Args:
        folder: Output folder.
        mentions: Number of mentions in `train`; `validation` has 64.
        entities: Number of entities.
        words: Average words of a sentence or a description, plus or minus half.
        picture: Height and width of the picture of each mention and entity (64 different ones); `None` for none.
    """
    pictures = _pictures(64, picture) if picture else [None]

    def rows(count: int) -> dict:
        golds = [row % entities for row in range(count)]
        names = [f"number {gold}" for gold in golds]
        sentences = [f"{name} {text}" for name, text in zip(names, _texts(count, words), strict=True)]
        return {
            "id": [f"m{row}" for row in range(count)],
            "sentence": sentences,
            "mention": names,
            "start": [0] * count,
            "end": [len(name) for name in names],
            "image": [pictures[row % len(pictures)] for row in range(count)],
            "image_id": [f"p{row % len(pictures)}" for row in range(count)],
            "entity_id": [f"e{gold}" for gold in golds],
        }

    image = datasets.Image()
    kb = {
        "id": [f"e{row}" for row in range(entities)],
        "name": [f"number {row}" for row in range(entities)],
        "description": _texts(entities, words),
        "images": [[pictures[row % len(pictures)]] if picture else [] for row in range(entities)],
    }
    tables = {
        "mentions": {"train": (rows(mentions), "image", image), "validation": (rows(64), "image", image)},
        "entities": {"kb": (kb, "images", datasets.List(image))},
    }
    configs = []
    for config, splits in tables.items():
        (folder / config).mkdir(parents=True)
        files = []
        for split, (columns, name, feature) in splits.items():
            table = datasets.Dataset.from_dict(columns).cast_column(name, feature)
            table.to_parquet(str(folder / config / f"{split}.parquet"))
            files.append(f"  - split: {split}\n    path: {config}/{split}.parquet")
        configs.append(f"- config_name: {config}\n  data_files:\n" + "\n".join(files))
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(configs) + "\n---\n", encoding="utf-8")


def checkpoint(
    folder: Path, width: int | None, layers: int | None, picture: int | None, projection: int | None = None
) -> None:
    """Writes a DIM with random weights, and its processor.

    Args:
        folder: Output folder.
        width: Width of the towers (BERT and ViT); `None` for CLIP ViT-B/32's.
        layers: Number of layers of the towers.
        picture: Height and width of a picture; `None` for text only.
        projection: Width of the shared space; that of the towers by default.
    """
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "number", *string.punctuation, *string.digits]
    pieces += [f"##{digit}" for digit in string.digits] + WORDS
    tokenizer = BertTokenizer(vocab={piece: row for row, piece in enumerate(pieces)}, model_max_length=77)
    if width is None or layers is None:
        clip = CLIPConfig(text_config={"eos_token_id": tokenizer.sep_token_id, "pad_token_id": 0})
        text, vision = clip.text_config, clip.vision_config
    else:
        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
                 "num_attention_heads": width // 32}  # fmt: skip
        text = BertConfig(vocab_size=len(pieces), max_position_embeddings=77, **sizes)
        vision = ViTConfig(image_size=picture, patch_size=picture, **sizes) if picture else None
    fields: dict = {"text_config": text.to_dict(), "vision_config": vision.to_dict() if vision else None}
    if vision is None:
        fields |= {"mention_modalities": ["sentence"], "entity_pictures": False}
    if width is not None:
        fields |= {"projection_dim": projection or width, "text_pooling": "mean"}
    DIMModel(DIMConfig(**fields)).save_pretrained(folder)
    side = picture or 224
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    DIMProcessor(processor, tokenizer, max_text_length=77).save_pretrained(folder)
