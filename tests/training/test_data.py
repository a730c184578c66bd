"""A dataset prepared for training."""

import shutil

import datasets
import pytest
import torch
from changed_mentions import with_columns
from PIL import Image

from dim import DIMConfig, DIMModel, DIMProcessor, load_dim
from dim.common.pictures import load_picture
from dim.corpora.loading import load_mentions
from dim.encoding.encode import encode_mentions
from dim.training.arguments import DataArguments
from dim.training.batches import BatchDataset
from dim.training.data import MELData
from dim.training.inputs import mention_inputs


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


def halves(rows):
    """All mentions get the first one's picture, by turns its left half, its right half, and all of it."""
    boxes = [[0, 0, 10, 20], [10, 0, 20, 20], None]
    return [{**row, "image": rows[0]["image"], "image_id": "i0", "region": boxes[place % 3]}
            for place, row in enumerate(rows)]  # fmt: skip


def test_two_regions_of_one_picture_are_two_pictures(tiny_mel_dir, tiny_dim_dir, tmp_path):
    picture = Image.new("RGB", (20, 20), "red")
    picture.paste("blue", (10, 0, 20, 20))
    picture.save(tmp_path / "two.png")

    def two_colours(rows):
        cell = {"bytes": (tmp_path / "two.png").read_bytes(), "path": None}
        return halves([{**rows[0], "image": cell}, *rows[1:]])

    dataset = with_columns(tiny_mel_dir, tmp_path / "regions", two_colours)
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    data = MELData(DataArguments(dataset=dataset), processor, tmp_path / "p.u8", DIMConfig())
    rows = data.train.pictures.tolist()
    assert rows[:3] == rows[3:6]
    assert len(set(rows)) == 3
    parts = [picture.crop((0, 0, 10, 20)), picture.crop((10, 0, 20, 20)), picture]
    expected = processor(images=parts)["pixel_values"]
    torch.testing.assert_close(data.pictures.fetch(data.train.pictures[:3], "")["pixel_values"], expected,
                               atol=1e-5, rtol=1e-4)  # fmt: skip


def test_a_region_outside_of_its_picture_is_refused_by_the_mentions_id(tiny_mel_dir, tiny_dim_dir, tmp_path):
    def outside(rows):
        return [{**row, "region": [0, 0, 90, 9] if place == 2 else None} for place, row in enumerate(rows)]

    dataset = with_columns(tiny_mel_dir, tmp_path / "outside", outside)
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    with pytest.raises(ValueError, match=r"mention 'm24-2': field 'region': it is \(0, 0, 90, 9\), outside"):
        MELData(DataArguments(dataset=dataset), processor, tmp_path / "p.u8", DIMConfig())


def pictures_alone(rows):
    """Every other mention is a picture alone."""
    blank = {"sentence": "", "mention": "", "start": -1, "end": -1}
    return [row | (blank if place % 2 else {}) | {"region": None} for place, row in enumerate(rows)]


@pytest.fixture(scope="module")
def alone_dir(tiny_mel_dir, tmp_path_factory):
    return with_columns(tiny_mel_dir, tmp_path_factory.mktemp("alone") / "data", pictures_alone)


def test_pictures_alone_are_trained_as_they_are_encoded(alone_dir, tiny_dim_dir, tmp_path):
    """Training's inputs give the vectors that linking gives, also where names are hidden and pictures dropped."""
    model, processor = load_dim(tiny_dim_dir)
    arguments = DataArguments(dataset=alone_dir, mention_masking=0.5, picture_dropout=0.99)
    data = MELData(arguments, processor, tmp_path / "p.u8", model.config)
    rows = torch.arange(6)
    assert data.train.has_sentence[:4].tolist() == [True, False, True, False]
    expected = encode_mentions(model, processor, load_mentions(alone_dir, "train").select(range(6)))
    for hidden in (None, torch.tensor([False, True] * 3)):
        inputs = mention_inputs(data, data.train, rows, data.train.pictures[:6], hidden=hidden)
        assert inputs["sentence_mask"].tolist() == [True, False] * 3
        with torch.no_grad():
            torch.testing.assert_close(model.get_mention_features(**inputs), expected, atol=1e-4, rtol=1e-3)
    batch = BatchDataset(data, batch_size=24, seed=0).batch(0, 0).inputs
    there = batch["pixel_mask"]
    assert there[~batch["sentence_mask"]].all()
    assert not there[batch["sentence_mask"]].all()


def test_a_picture_alone_without_its_picture_is_refused(tiny_mel_dir, tiny_dim_dir, tiny_bert_dir, tmp_path):
    def lost(rows):
        return [row | {"image": None if place == 3 else row["image"]} for place, row in enumerate(pictures_alone(rows))]

    dataset = with_columns(tiny_mel_dir, tmp_path / "lost", lost)
    model, processor = load_dim(tiny_dim_dir)
    with pytest.raises(ValueError, match="mention 'm24-3' has neither a text nor a picture that can be read"):
        MELData(DataArguments(dataset=dataset), processor, tmp_path / "p.u8", model.config)
    text_only = DIMModel.from_towers(str(tiny_bert_dir)).config
    with pytest.raises(ValueError, match="The model reads no pictures of mentions, so it cannot link a picture alone"):
        MELData(DataArguments(dataset=dataset), processor, tmp_path / "p.u8", text_only)
