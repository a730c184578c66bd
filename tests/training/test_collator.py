"""`DIMCollator`: rows of a dataset as batches for the Trainer of transformers."""

import io
import logging

import datasets
import pytest
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments

from dim import (
    DIMCollator,
    DIMModel,
    DIMProcessor,
    encode_entities,
    encode_mentions,
    load_candidates,
    load_dim,
    load_entities,
    load_mentions,
)  # fmt: skip
from dim.lexical_dim import LEXICAL_FEATURES

ENTITIES = [
    {"id": "e1", "name": "Turkey", "description": "country", "aliases": ["Türkiye"]},
    {"id": "e2", "name": "turkey", "description": None, "aliases": None},
    {"id": "e3", "name": "Ankara", "description": "city", "aliases": []},
]


def mention(number=1, **changes):
    row = {"id": f"m{number}", "sentence": "We saw Turkey.", "mention": "Turkey", "start": 7, "end": 13,
           "entity_id": "e2", "image": None}  # fmt: skip
    return {name: value for name, value in (row | changes).items() if value != "gone"}


@pytest.fixture(scope="module")
def processor(tiny_dim_dir):
    return DIMProcessor.from_pretrained(tiny_dim_dir)


def test_the_pool_has_each_entity_once(processor):
    collator = DIMCollator(processor, ENTITIES)
    batch = collator([mention(1, entity_id="e3"), mention(2), mention(3, entity_id=""), mention(4, entity_id="e3")])
    assert batch["entity_ids"].tolist() == [1, 2]
    assert batch["labels"].tolist() == [1, 0, -100, 1]
    assert batch["entity_input_ids"].shape[0] == 2
    assert batch["mention_input_ids"].shape[0] == 4


def test_candidates_are_further_negatives(processor):
    collator = DIMCollator(processor, ENTITIES, candidates={"m1": ["e2", "e3", "e1"]}, num_candidates=2)
    batch = collator([mention(1), mention(2)])
    assert batch["entity_ids"].tolist() == [1, 2]
    assert batch["labels"].tolist() == [0, 0]


def test_mentions_without_an_entity_alone(processor, tiny_dim_dir):
    batch = DIMCollator(processor, ENTITIES)([mention(entity_id=""), mention(entity_id=None)])
    assert batch["labels"].tolist() == [-100, -100]
    model = DIMModel.from_pretrained(tiny_dim_dir, l2_weight=0.0).eval()
    assert model(**batch).loss == 0


def test_scores_are_those_of_the_encoders(tiny_mel_dir, tiny_dim_dir, tmp_path):
    """As `load_dataset` gives the rows: with pictures that it decodes."""
    model, processor = load_dim(tiny_dim_dir)
    rows = datasets.load_dataset(str(tiny_mel_dir), "mentions", split="validation", cache_dir=str(tmp_path))
    entities = datasets.load_dataset(str(tiny_mel_dir), "entities", split="kb", cache_dir=str(tmp_path))
    assert isinstance(rows[0]["image"], Image.Image)
    batch = DIMCollator(processor, entities)([rows[row] for row in range(len(rows))])
    with torch.no_grad():
        output = model.eval()(**batch)
    vectors = encode_mentions(model, processor, rows), encode_entities(model, processor, entities)
    torch.testing.assert_close(output.logits, model.score(*vectors)[:, batch["entity_ids"]], atol=1e-5, rtol=1e-5)
    assert output.loss.isfinite()


def test_a_lexical_prior_gets_its_features(tiny_dim_dir):
    processor = DIMProcessor.from_pretrained(tiny_dim_dir, lexical_prior=True)
    given = {"sentence": "We saw Türkiye.", "mention": "Türkiye", "end": 14}
    batch = DIMCollator(processor, ENTITIES)([mention(1, entity_id="e1", **given), mention(2, entity_id="e3", **given)])
    names, texts = ["Turkey", "turkey", "Ankara"], ["country", "", "city"]
    expected = processor.lexical_features(names, texts, [["Türkiye"], [], []])
    assert batch["lexical_features"].shape == (2, 2, len(LEXICAL_FEATURES))
    assert torch.equal(batch["lexical_features"], expected([("Türkiye", "We saw Türkiye.")] * 2)[:, [0, 2]])


def test_a_picture_that_cannot_be_read_is_told_and_masked(processor, caplog):
    """Of a mention and of an entity, which `datasets` would decode."""
    good = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(good, "png")
    files = [{"bytes": content, "path": None} for content in (good.getvalue(), b"no")]
    rows = [mention(number, image=file, entity_id=f"e{number}") for number, file in enumerate(files, 1)]
    entities = datasets.Dataset.from_list([{**row, "images": files[::-1]} for row in ENTITIES])
    entities = entities.cast_column("images", datasets.List(datasets.Image()))
    with caplog.at_level(logging.WARNING):
        batch = DIMCollator(processor, entities)(rows)
    assert batch["pixel_mask"].tolist() == [True, False]
    assert batch["entity_pixel_mask"].tolist() == [[True], [True]]
    assert "3 pictures cannot be read and are left out: 3 not a picture (m2, e1, e2)" in caplog.text


def test_without_pictures_none_is_prepared(processor):
    batch = DIMCollator(processor, [{**row, "images": []} for row in ENTITIES], pictures=False)([mention()])
    assert not [name for name in batch if "pixel" in name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entity_id": "e9"}, "Mention 'm1': the entity 'e9' is not among the 3 entities."),
        ({"sentence": "gone"}, "Mention 'm1' has no 'sentence'; it has .* remove_unused_columns=False"),
        ({"start": 0, "end": 6}, "Mention 'm1': 'start' 0 and 'end' 6 do not give the mention 'Turkey'"),
        ({"mention": None}, "Mention 'm1': field 'mention'"),
        ({"id": "gone", "mention": None}, "Row 1 of the batch: field 'mention'"),
        ({"mention": "", "sentence": "", "start": -1, "end": -1}, "Mention 'm1' is a picture alone, and the collator"),
    ],
)
def test_a_row_that_is_refused_is_named(processor, changes, message):
    collator = DIMCollator(processor, ENTITIES, pictures=False)
    with pytest.raises(ValueError, match=message) as refusal:
        collator([mention(2), mention(**changes)])
    assert "\n" not in str(refusal.value)


def test_what_a_collator_is_made_of_is_checked(processor, tiny_mel_dir):
    with pytest.raises(ValueError, match="Mention 'm1': the entity 'e9' is not among"):
        DIMCollator(processor, ENTITIES, candidates={"m1": ["e9"]})([mention()])
    with pytest.raises(ValueError, match="Row 0 of the batch has no 'id'"):
        DIMCollator(processor, ENTITIES, candidates={})([mention(id="gone")])
    with pytest.raises(ValueError, match="id 'e1' occurs more than once"):
        DIMCollator(processor, [ENTITIES[0], ENTITIES[0]])
    with pytest.raises(ValueError, match="There is no entity"):
        DIMCollator(processor, [])
    with pytest.raises(ValueError, match="Row 1 has no 'name'"):
        DIMCollator(processor, [ENTITIES[0], {"id": "e2"}])
    with pytest.raises(ValueError, match="The entities have no column 'description'"):
        DIMCollator(processor, load_entities(str(tiny_mel_dir)).remove_columns("description"))


def trained(tiny_mel_dir, tiny_dim_dir, folder, **more):
    """The losses of a short run, and its model."""
    model, processor = DIMModel.from_pretrained(tiny_dim_dir), DIMProcessor.from_pretrained(tiny_dim_dir)
    dataset = str(tiny_mel_dir)
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=8, num_train_epochs=12, learning_rate=3e-3,
        logging_steps=3, lr_scheduler_type="constant", save_strategy="no", report_to="none", seed=0, use_cpu=True,
        disable_tqdm=True, **{"remove_unused_columns": False} | more,
    )  # fmt: skip
    collator = DIMCollator(processor, load_entities(dataset), load_candidates(dataset, "train"))
    trainer = Trainer(model, arguments, data_collator=collator, train_dataset=load_mentions(dataset, "train"))
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row], model


def test_trainer_learns_the_same_each_time(tiny_mel_dir, tiny_dim_dir, tmp_path):
    """Six gems of one name, so it has to learn from pictures; and a worker draws the same batches."""
    losses, model = trained(tiny_mel_dir, tiny_dim_dir, tmp_path)
    assert losses[-1] < losses[0] / 4
    processor, entities = DIMProcessor.from_pretrained(tiny_dim_dir), load_entities(str(tiny_mel_dir))
    rows = load_mentions(str(tiny_mel_dir), "validation").filter(lambda row: row["entity_id"] != "")
    scores = model.score(encode_mentions(model, processor, rows), encode_entities(model, processor, entities))
    best = [entities[row]["id"] for row in scores.argmax(1).tolist()]
    assert sum(one == gold for one, gold in zip(best, rows["entity_id"], strict=True)) > 0.8 * len(rows)
    assert losses == trained(tiny_mel_dir, tiny_dim_dir, tmp_path, dataloader_num_workers=1)[0]


def test_trainer_that_drops_columns_is_told_how_not_to(tiny_mel_dir, tiny_dim_dir, tmp_path):
    with pytest.raises(ValueError, match="remove_unused_columns"):
        trained(tiny_mel_dir, tiny_dim_dir, tmp_path, remove_unused_columns=True)
