"""A CLIP and a DIM of the same towers, with random weights, and runs of `train.py` on synthetic data."""

import string
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from _made_up import WORDS, dataset
from transformers import BertTokenizer, CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dim import DIMConfig, DIMModel, DIMProcessor
from dim.training.arguments import DataArguments, ModelArguments, TrainArguments
from dim.training.batches import Batch
from dim.training.loop import Run


def tokenizer() -> BertTokenizer:
    """A tokenizer of the synthetic words."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "number", *string.punctuation, *string.digits]
    pieces += [f"##{digit}" for digit in string.digits] + WORDS
    return BertTokenizer(vocab={piece: row for row, piece in enumerate(pieces)}, model_max_length=77)


def clip_config(tiny: bool) -> CLIPConfig:
    """The towers: those of CLIP ViT-B/32, or tiny ones."""
    tokens = {"eos_token_id": tokenizer().sep_token_id, "pad_token_id": 0}
    if not tiny:
        return CLIPConfig(text_config=tokens)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision = {**tower, "image_size": 32, "patch_size": 16}
    return CLIPConfig(text_config={**tower, **tokens}, vision_config=vision, projection_dim=32)


def checkpoint(folder: Path, tiny: bool) -> None:
    """Writes a DIM of CLIP's towers, which reads pictures of mentions and of entities, and its processor."""
    clip = clip_config(tiny)
    config = DIMConfig(text_config=clip.text_config.to_dict(), vision_config=clip.vision_config.to_dict(),
                       projection_dim=clip.projection_dim, num_attention_heads=4)  # fmt: skip
    torch.manual_seed(0)
    DIMModel(config).save_pretrained(folder)
    side = clip.vision_config.image_size
    images = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    DIMProcessor(images, tokenizer(), max_text_length=77).save_pretrained(folder)


def picture_run(work: Path, tiny: bool, batch_size: int) -> Run:
    """Prepares a run of `train.py` on mentions with pictures and entities without; every mention has its own entity."""
    work = work / str(batch_size)
    side = clip_config(tiny).vision_config.image_size
    dataset(work / "data", mentions=4 * batch_size, entities=4 * batch_size, words=30, picture=side)
    path = work / "data" / "entities" / "kb.parquet"
    table = pq.read_table(path)
    index, field = table.schema.get_field_index("images"), table.schema.field("images")
    pq.write_table(table.set_column(index, field, pa.array([[]] * len(table), field.type)), path)
    checkpoint(work / "dim", tiny)
    return Run(
        ModelArguments(model_name_or_path=str(work / "dim")),
        DataArguments(dataset=str(work / "data")),
        TrainArguments(
            output_dir=str(work / "run"),
            per_device_train_batch_size=batch_size,
            num_train_epochs=1000,
            mixed_precision="bf16" if torch.cuda.is_available() else "no",
            report_to=[],
        ),
    )


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Moves a batch to the device, so that a step copies nothing but the masks of pictures, which the model reads."""
    batch.inputs = {name: value if "mask" in name and "pixel" in name else value.to(device)
                    for name, value in batch.inputs.items()}  # fmt: skip
    batch.targets = {name: value.to(device) for name, value in batch.targets.items()}
    return batch
