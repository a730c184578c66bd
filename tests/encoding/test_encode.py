"""Encoding does not depend on batches, workers or modes, and goes on without pictures that cannot be read."""

import io
import json
import shutil

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dim.cli.train import main as train
from dim.corpora.loading import load_mentions
from dim.encoding.encode import encode_entities, encode_mentions
from dim.encoding.loading import fingerprint, load_dim

ENTITIES = [
    {"id": "a", "name": "Turkey", "description": "a country", "images": [Image.new("RGB", (20, 20), "red")]},
    {"id": "b", "name": "turkey", "description": "a large bird kept on farms and eaten at feasts", "images": []},
    {"id": "c", "name": "Ankara", "description": "", "images": None},
]


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    return load_dim(tiny_dim_dir)


def mention(sentence, word, **more):
    start = sentence.index(word)
    return {"sentence": sentence, "mention": word, "start": start, "end": start + len(word), **more}


def test_batches_give_what_single_rows_give(dim):
    model, processor = dim
    rows = [mention("Turkey " + "x " * n, "Turkey", image=Image.new("RGB", (9 + n, 9)) if n % 2 else None)
            for n in range(7)]  # fmt: skip
    together = encode_mentions(model, processor, rows, batch_size=3)
    alone = torch.cat([encode_mentions(model, processor, [row]) for row in rows])
    torch.testing.assert_close(together, alone)
    together = encode_entities(model, processor, ENTITIES, batch_size=2)
    alone = torch.cat([encode_entities(model, processor, [row]) for row in ENTITIES])
    torch.testing.assert_close(together, alone)


def test_batches_hold_texts_of_as_many_tokens(dim, monkeypatch):
    """By tokens, not by characters: the tiny tokenizer has "the" as one token, and spells other words."""
    model, processor = dim
    rows = [{"name": "n", "description": text} for text in ("the " * 8, "vwxyzvwxyzvwx", "the " * 7, "vwxyzvwxyzvw")]
    counts = [len(processor.tokenizer(row["description"]).input_ids) for row in rows]
    assert sorted(range(4), key=lambda row: -counts[row]) == [1, 3, 0, 2]
    assert sorted(range(4), key=lambda row: -len(rows[row]["description"])) == [0, 2, 1, 3]
    encode, masks = model.get_entity_features, []
    monkeypatch.setattr(
        model, "get_entity_features", lambda **inputs: masks.append(inputs["entity_attention_mask"]) or encode(**inputs)
    )
    encode_entities(model, processor, rows, batch_size=2)
    lengths = [mask.sum(1).tolist() for mask in masks]
    assert lengths[0] > lengths[1]
    assert min(lengths[0]) > max(lengths[1])


def test_workers_give_the_same(dim, tiny_mel_dir):
    rows = load_mentions(str(tiny_mel_dir), "validation")
    torch.testing.assert_close(encode_mentions(*dim, rows, num_workers=2), encode_mentions(*dim, rows))


def test_encoding_keeps_the_mode(dim):
    model, processor = dim
    model.train()
    encode_entities(model, processor, ENTITIES)
    assert model.training
    model.eval()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "nothing to encode"),
        ([{"sentence": "a"}], "KeyError|'mention'|start"),
    ],
)
def test_bad_mentions_are_refused(dim, rows, message):
    with pytest.raises((ValueError, KeyError), match=message):
        encode_mentions(*dim, rows)


def test_a_fingerprint_tells_encoders_apart(dim, tiny_dim_dir):
    model, processor = dim
    other, same = load_dim(tiny_dim_dir)
    assert fingerprint(other, same) == fingerprint(model, processor)
    with torch.no_grad():
        other.mention_projection.bias.add_(1e-3)
    assert fingerprint(other, same) != fingerprint(model, processor)
    same.max_text_length -= 1
    assert fingerprint(model, same) != fingerprint(model, processor)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="There is no model"):
        load_dim(tmp_path / "nothing")


# ------------------------------------------------------------------------------------ pictures that cannot be read


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def broken(tmp_path) -> dict[str, dict]:
    """Unreadable pictures, as in a dataset, by their fault."""
    return {
        "damaged": {"bytes": png("red")[:60], "path": "a.png"},
        "empty": {"bytes": b"", "path": "b.png"},
        "missing": {"bytes": None, "path": str(tmp_path / "gone.png")},
        "directory": {"bytes": None, "path": str(tmp_path)},
        "URL": {"bytes": None, "path": "https://example.org/a.png"},
    }


@pytest.fixture
def logged_once(caplog):
    """Checks that exactly one warning about pictures was logged since the last check, with all these parts."""

    def check(*parts: str) -> None:
        found = [one.getMessage() for one in caplog.records if one.name == "dim.common.unreadable_pictures"]
        caplog.clear()
        assert len(found) == 1, found
        assert all(part in found[0] for part in parts), found

    return check


@pytest.mark.parametrize("workers", [0, 2])
def test_mentions_with_broken_pictures_are_those_without(dim, broken, workers, caplog, logged_once):
    texts = ["Turkey " + "x " * number for number in range(len(broken) + 2)]
    pictures = [*broken.values(), {"bytes": png("blue"), "path": None}, None]
    rows = [mention(text, "Turkey", image=pictures[n], id=f"m{n}") for n, text in enumerate(texts)]
    found = encode_mentions(*dim, rows, batch_size=3, num_workers=workers)
    logged_once("5 pictures", *(f"1 {reason} (m{number})" for number, reason in enumerate(broken)))
    without = [{**row, "image": None if n < len(broken) else row["image"]} for n, row in enumerate(rows)]
    torch.testing.assert_close(found, encode_mentions(*dim, without))
    assert caplog.records == []
    assert not torch.equal(found[5], encode_mentions(*dim, [{**rows[5], "image": None}])[0])


def test_a_dataset_that_would_decode_pictures_itself(dim, broken, logged_once):
    """`datasets` raises an error for a picture that it cannot read, so it must not decode any."""
    rows = {
        "sentence": ["Turkey"] * 2,
        "mention": ["Turkey"] * 2,
        "start": [0] * 2,
        "end": [6] * 2,
        "image": [broken["damaged"], {"bytes": png("red"), "path": None}],
        "images": [[broken["damaged"]], [{"bytes": png("red"), "path": None}]],
    }
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table = table.cast_column("images", datasets.List(datasets.Image()))
    with pytest.raises((OSError, SyntaxError), match="."):
        table[0]
    found = encode_mentions(*dim, table)
    logged_once("1 damaged (picture 'a.png')")
    assert not torch.equal(found[0], found[1])
    entities = encode_entities(*dim, table.rename_columns({"mention": "name", "sentence": "description"}))
    logged_once("1 damaged (picture 'a.png')")
    assert not torch.equal(entities[0], entities[1])


def test_entities_lose_only_the_broken_ones_of_their_pictures(dim, broken, logged_once):
    good = {"bytes": png("red"), "path": None}
    rows = [
        {"id": "a", "name": "Turkey", "description": "a country", "images": [broken["empty"], good, broken["URL"]]},
        {"id": "b", "name": "turkey", "description": "a bird", "images": [broken["damaged"]]},
    ]
    found = encode_entities(*dim, rows)
    logged_once("3 pictures", "1 empty (a)", "1 URL (a)", "1 damaged (b)")
    expected = encode_entities(*dim, [{**rows[0], "images": [good]}, {**rows[1], "images": []}])
    torch.testing.assert_close(found, expected)


def test_a_knowledge_base_with_broken_pictures_is_encoded(dim, tmp_path, logged_once):
    pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")
    from dim.kb import KnowledgeBase

    contents = {"Q1": png("red")[:60], "Q2": b"hello", "Q3": b"<svg/>", "Q4": png("red"), "Q5": png("blue")[:60]}
    rows = [{"id": name, "name": name, "images": [{"bytes": one, "path": None}]} for name, one in contents.items()]
    kb = KnowledgeBase.create(tmp_path / "kb", rows)
    assert kb.encode(*dim, part_rows=2) == 5
    logged_once("4 pictures", "2 damaged (Q1, Q5)", "1 not a picture (Q2)", "1 SVG (Q3)")
    plain = [{"id": name, "name": name, "images": rows[3]["images"] if name == "Q4" else []} for name in contents]
    other = KnowledgeBase.create(tmp_path / "other", plain)
    other.encode(*dim)
    torch.testing.assert_close(kb.vectors(), other.vectors([other.row_of[name] for name in kb.ids]))
    assert kb.info()["pending"] == 0


def spoil(folder, table: str, column: str, cells: dict[int, object]) -> None:
    """Replaces the pictures of some rows of a dataset, without `datasets`, which would decode them."""
    path = folder / f"{table}.parquet"
    rows, schema = pq.read_table(path).to_pylist(), pq.read_schema(path)
    for place, value in cells.items():
        rows[place][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


@pytest.mark.parametrize("frozen", [False, True])
def test_training_goes_on_without_broken_pictures(tiny_mel_dir, tiny_dim_dir, tmp_path, broken, frozen, logged_once):
    folder = shutil.copytree(tiny_mel_dir, tmp_path / "spoilt")
    spoil(folder, "mentions/train", "image", dict(enumerate(broken.values())))
    spoil(folder, "mentions/validation", "image", {3: broken["damaged"]})
    spoil(folder, "entities/kb", "images", {2: [broken["empty"]]})
    options = ["--dataset", str(folder), "--model_name_or_path", str(tiny_dim_dir), "--max_steps", "1"]
    options += ["--output_dir", str(tmp_path / "run"), "--report_to", "none", "--per_device_train_batch_size", "12"]
    options += ["--freeze_vision", "true"] if frozen else []
    assert train(options) == 0
    logged_once("7 pictures", "2 damaged", "2 empty", "1 missing", "1 directory", "1 URL")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best"]


def test_training_goes_on_without_any_picture(tiny_mel_dir, tiny_dim_dir, tmp_path, broken, logged_once):
    from dim import DIMConfig
    from dim.processing_dim import DIMProcessor
    from dim.training.arguments import DataArguments
    from dim.training.data import MELData
    from dim.training.inputs import entity_inputs, mention_inputs

    folder = shutil.copytree(tiny_mel_dir, tmp_path / "spoilt")
    for table, column, count in (("mentions/train", "image", 24), ("mentions/validation", "image", 12)):
        spoil(folder, table, column, dict.fromkeys(range(count), broken["empty"]))
    spoil(folder, "entities/kb", "images", {row: [broken["empty"]] for row in range(6)})
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    data = MELData(DataArguments(dataset=str(folder)), processor, tmp_path / "p.u8", DIMConfig())
    logged_once("42 pictures cannot be read")
    rows = torch.arange(6)
    assert "pixel_values" not in mention_inputs(data, data.train, rows, data.train.pictures[rows])
    assert data.pictures is None
    assert "entity_pixel_values" not in entity_inputs(data, data.entities, rows)


def test_the_other_pictures_keep_their_places(tiny_mel_dir, tiny_dim_dir, tmp_path, broken, logged_once):
    """A bank returns the right picture of each row after unreadable ones."""
    from dim.processing_dim import DIMProcessor
    from dim.training.banks import PictureBank

    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    colours = ["red", "green", "blue", "white"]
    sources = [{"bytes": png(colour), "path": None} for colour in colours]
    whole = PictureBank.build([lambda one=one: one for one in sources], processor, tmp_path / "a")
    mixed = [broken["empty"], sources[0], broken["URL"], *sources[1:]]
    spoilt = PictureBank.build([lambda one=one: one for one in mixed], processor, tmp_path / "b")
    logged_once("2 pictures")
    asked = spoilt.rows_of(torch.tensor([[1, 0], [3, -1], [5, 4], [2, 3]]))
    found = spoilt.fetch(asked, "entity_")
    assert found["entity_pixel_mask"].tolist() == [[True, False], [True, False], [True, True], [False, True]]
    expected = whole.fetch(torch.tensor([0, 1, 3, 2, 1]), "")["pixel_values"]
    torch.testing.assert_close(found["entity_pixel_values"][found["entity_pixel_mask"]], expected)
    model = load_dim(tiny_dim_dir)[0]
    for bank in (whole, spoilt):
        bank.encode(model, 3, tmp_path / "cache")
    pooled = spoilt.fetch(asked, "entity_")["entity_image_pooled"][found["entity_pixel_mask"]]
    torch.testing.assert_close(pooled, whole.pooled[[0, 1, 3, 2, 1]])
