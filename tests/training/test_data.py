"""A dataset prepared for training."""

import shutil

import datasets
import pytest
import torch

from dim import DIMConfig, DIMProcessor
from dim.common.pictures import load_picture
from dim.corpora.loading import load_mentions
from dim.training.arguments import DataArguments
from dim.training.batches import mention_inputs
from dim.training.data import MELData


def test_pictures_equal_the_processors(mel_data, tiny_mel_dir, tiny_dim_dir):
    """Pixels kept in 8 bits are those that the image processor would give, to float rounding."""
    rows = load_mentions(str(tiny_mel_dir), "validation")
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    pictures = [load_picture(row["image"]) for row in rows]
    expected = processor.process_mentions(rows["mention"][:], rows["sentence"][:], pictures)["pixel_values"]
    batch = mel_data.pictures.fetch(mel_data.validation.pictures, "")
    torch.testing.assert_close(batch["pixel_values"], expected, atol=1e-5, rtol=1e-4)


def test_nil_has_no_gold(mel_data):
    assert mel_data.validation.gold.tolist().count(-1) == 1


def test_hidden_names_are_hidden(mel_data):
    rows = torch.arange(3)
    decode = mel_data.processor.tokenizer.batch_decode
    plain = mention_inputs(mel_data, mel_data.train, rows, torch.full((3,), -1))
    hidden = mention_inputs(mel_data, mel_data.train, rows, torch.full((3,), -1), hidden=torch.ones(3).bool())
    assert all("gem" in text for text in decode(plain["sentence_input_ids"]))
    assert not any("gem" in text for text in decode(hidden["sentence_input_ids"]))
    assert not any("gem" in text for text in decode(hidden["mention_input_ids"]))


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("mentions/train", "entity_id", "e99", "train: the entity 'e99' of mention 'm24-0' is not in the entities"),
        ("candidates/train", "entity_ids", ["e99"], "the candidate 'e99' of mention 'm24-0' is not in the entit"),
    ],
)
def test_bad_rows_are_refused(tiny_mel_dir, tiny_dim_dir, tmp_path, table, column, value, message):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_mel_dir, folder)
    path = folder / f"{table}.parquet"
    rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    features = rows.features
    broken = [row | ({column: value} if place == 0 else {}) for place, row in enumerate(rows)]
    datasets.Dataset.from_list(broken, features=features).to_parquet(str(path))
    arguments = DataArguments(dataset=str(folder), negatives="candidates")
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    with pytest.raises(ValueError, match=message):
        MELData(arguments, processor, tmp_path / "p.u8", DIMConfig())
