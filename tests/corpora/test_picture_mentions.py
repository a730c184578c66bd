"""Datasets of mentions that are a picture alone, or a region of one."""

import json

import pytest
from PIL import Image

from dim import DIMError
from dim.cli.main import main
from dim.corpora.build.dataset import build
from dim.corpora.loading import load_mentions
from dim.corpora.read import read_release
from tests.corpora.test_own_tables import write

ENTITIES = [{"id": "k1", "name": "Ada"}, {"id": "k2", "name": "Al"}]
ALONE = {"id": "m1", "image": "a.png", "split": "train", "entity_id": "k1"}
WORD = {"id": "m2", "sentence": "Al sat.", "mention": "Al", "image": "a.png", "split": "train", "entity_id": "k2"}


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGB", (20, 10), "red").save(folder / "pictures" / "a.png")
    Image.new("RGB", (20, 10), "blue").save(folder / "pictures" / "b.png")
    (folder / "pictures" / "broken.png").write_bytes((folder / "pictures" / "a.png").read_bytes()[:45])
    write(folder / "entities.jsonl", ENTITIES)
    return folder


def built(raw, mentions, suffix="jsonl", **options):
    for old in raw.glob("mentions.*"):
        old.unlink()
    write(raw / f"mentions.{suffix}", mentions)
    return build("own", [raw], raw.parent / "out", layout="jsonl", **({"images": [raw / "pictures"]} | options))


def rejections(raw) -> dict[str, str]:
    lines = (raw.parent / "out" / "rejected.jsonl").read_text().splitlines()
    return {row["key"]: row["reason"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("texts", [{}, {"sentence": "", "mention": ""}, {"sentence": None, "mention": " "}])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_picture_alone_is_a_mention_of_a_dataset(raw, texts, suffix):
    rows = [{**ALONE, **texts, "region": [0, 0, 10, 10]}, WORD, {**WORD, "id": "m3", "region": [10.0, 0, 20, 10]}]
    rows = [{**dict.fromkeys(["sentence", "mention"]), **row, "region": row.get("region")} for row in rows]
    if suffix == "csv":
        rows = [row | {"region": "|".join(map(str, row["region"] or []))} for row in rows]
    if suffix == "parquet":
        rows = [row | {"region": row["region"] and list(map(int, row["region"]))} for row in rows]
    dataset = built(raw, rows, suffix)
    assert dataset.corpus.release.rejected == []
    first, second, third = load_mentions(str(dataset.folder), "train")
    assert (first["sentence"], first["mention"], first["start"], first["end"]) == ("", "", -1, -1)
    assert [row["region"] for row in (first, second, third)] == [[0, 0, 10, 10], None, [10, 0, 20, 10]]
    assert first["image"]["bytes"] == second["image"]["bytes"] == third["image"]["bytes"]
    assert dataset.corpus.release.offsets["a picture alone"] == 1
    assert main(["inspect", str(dataset.folder), "--sheet", str(raw.parent / "sheet.png")]) == 0


def test_rows_that_their_picture_does_not_fit_are_rejected_with_the_reason(raw):
    bad = {
        "outside": {**WORD, "region": [0, 0, 21, 10]},
        "outside-alone": {**ALONE, "region": [0, 0, 20, 11]},
        "missing": {**ALONE, "image": "gone.png"},
        "damaged": {**ALONE, "image": "broken.png"},
        "empty": {**WORD, "region": [5, 0, 5, 10]},
        "no-picture": {**WORD, "image": None, "region": [0, 0, 5, 5]},
        "no-numbers": {**WORD, "region": [0, 0, 5]},
        "nothing": {**ALONE, "image": None},
        "offsets": {**ALONE, "start": 0, "end": 2},
        "half": {**ALONE, "sentence": "Al sat."},
    }
    rows = [WORD, *({**row, "id": name} for name, row in bad.items())]
    release = built(raw, rows).corpus.release
    assert [mention.id for mention in release.mentions] == ["m2"]
    assert release.rows_in == len(rows) == 1 + len(release.rejected)
    reasons, outside = rejections(raw), "field 'region': it is {}, outside of the picture, which has 20 x 10 pixels"
    assert reasons["outside"] == outside.format("(0, 0, 21, 10)")
    assert reasons["outside-alone"] == outside.format("(0, 0, 20, 11)")
    assert "it has no text, and its picture 'gone.png': is in none of the folders" in reasons["missing"]
    assert "it has no text, and its picture 'broken.png': is truncated" in reasons["damaged"]
    lines = {f"line {2 * number + 1}": name for number, name in enumerate(["m2", *bad])}  # every second one is blank
    early = {lines[key]: reason for key, reason in reasons.items() if key in lines}
    assert early["empty"] == "'region' is (5, 0, 5, 10), which is empty: left must be below right, and top below bottom"
    assert early["no-picture"] == "'region' needs a picture, and the mention has none"
    assert "not four whole numbers" in early["no-numbers"]
    assert early["nothing"] == "it has no 'mention'"
    assert early["offsets"] == "it has 'start' and 'end' without a 'sentence'"
    assert early["half"] == "it has no 'mention'"


def test_a_region_without_its_picture_is_none(raw):
    """A mention with a text stays without its picture, as ever; the region goes with the picture."""
    rows = [{**WORD, "region": [0, 0, 5, 5]}, {**WORD, "id": "m3", "image": "gone.png", "region": [0, 0, 5, 5]}]
    first, second = load_mentions(str(built(raw, rows).folder), "train")
    assert (first["region"], second["region"], second["image"]) == ([0, 0, 5, 5], None, None)
    first, second = load_mentions(str(built(raw, rows, images=[]).folder), "train")
    assert [first["region"], first["image"], second["region"]] == [None, None, None]


def test_a_dataset_of_pictures_alone_needs_their_folder(raw):
    with pytest.raises(DIMError, match="No mention is left of 1; the first: m1: it has no text, and its pict"):
        built(raw, [ALONE], images=[])


def test_pictures_alone_do_not_share_a_sentence(raw):
    """Their empty sentences are no leak between the splits, and no group of offsets."""
    rows = [ALONE, {**ALONE, "id": "m9", "image": "b.png", "split": "test"}]
    release = built(raw, rows, clean=True).corpus.release
    assert sorted(mention.split for mention in release.mentions) == ["test", "train"]
    assert read_release("own", [raw], "jsonl").offsets == {"a picture alone": 2}
