"""A user's own data in every kind of table, and what `dim build` says of golds that are lost."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dim.cli.main import main
from dim.corpora.loading import load_entities, load_mentions
from dim.corpora.read import read_release

MENTIONS = [
    {
        "id": "m1",
        "sentence": "Ada met Al.",
        "mention": "Ada",
        "split": "train",
        "entity_id": "k1",
        "start": 0,
        "end": 3,
    },
    {"id": "m2", "sentence": "Al left.", "mention": "Al", "split": "test", "entity_id": "k2", "start": -1, "end": -1},
]
ENTITIES = [{"id": "k1", "name": "Ada", "aliases": ["A.", "Countess"]}, {"id": "k2", "name": "Al"}]


def write(path, rows):
    """Writes rows as the suffixes of a path say."""
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        names = {name: None for row in rows for name in row}
        pq.write_table(pa.Table.from_pylist([names | row for row in rows]), path)
        return
    if kind in ("csv", "tsv"):
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [["|".join(row.get(name) or []) if name == "aliases" else row.get(name, "") for name in names]
                 for row in rows]  # fmt: skip
        with path.with_suffix(".plain").open("w", encoding="utf-8-sig", newline="") as stream:
            csv.writer(stream, delimiter="," if kind == "csv" else "\t").writerows([names, *cells])
        content = path.with_suffix(".plain").read_bytes()
        path.with_suffix(".plain").unlink()
    elif kind == "json":
        content = json.dumps(rows, indent=1).encode()
    else:
        content = "".join(json.dumps(row) + "\r\n\r\n" for row in rows).encode("utf-8-sig")
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)


@pytest.mark.parametrize("suffix", ["jsonl", "JSONL", "json", "csv", "tsv", "parquet", "PARQUET", "csv.gz", "jsonl.gz"])
def test_every_kind_of_table_gives_the_same_release(tmp_path, suffix):
    write(tmp_path / f"mentions.{suffix}", MENTIONS)
    write(tmp_path / f"entities.{suffix}", ENTITIES)
    release = read_release("mine", [tmp_path], "jsonl")
    assert release.rejected == []
    assert [(one.id, one.start, one.end, one.entity_id) for one in release.mentions] == [
        ("m1", 0, 3, "k1"),
        ("m2", 0, 2, "k2"),
    ]
    assert [(one.id, one.name, one.aliases) for one in release.entities] == [
        ("k1", "Ada", ["A.", "Countess"]),
        ("k2", "Al", []),
    ]


def build(folder, mentions, entities):
    raw = folder / "raw"
    raw.mkdir()
    write(raw / "mentions.jsonl", mentions)
    write(raw / "entities.jsonl", entities)
    return main(["build", "p", "--layout", "jsonl", "--raw", str(raw), "--out", str(folder / "out")])


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        ({"id": "k1", "name": "Ada", "aliases": [None]}, "entities.jsonl, line 1: 'aliases' is null, not a string"),
        ({"id": "k1", "name": ""}, "entities.jsonl, line 1: 'name' is empty"),
        ({"id": "k1", "name": None}, "entities.jsonl, line 1: 'name' is null"),
        ({"id": "k1", "name": "Ada", "colour": "red"}, "entities.jsonl, line 1: it has the unknown key 'colour'"),
    ],
)
def test_a_gold_that_a_rejected_entity_loses_is_told(tmp_path, capsys, entity, reason):
    assert build(tmp_path, MENTIONS[:1], [entity]) == 2
    error = capsys.readouterr().err
    assert "lacks the answers of 1 of 1 mentions; the entities of 1 were rejected: k1 (" in error
    assert reason in error
    others = [{**MENTIONS[1], "id": f"o{row}"} for row in range(3)]
    (tmp_path / "more").mkdir()
    assert build(tmp_path / "more", [*MENTIONS[:1], *others], [entity, ENTITIES[1]]) == 0
    printed = capsys.readouterr().out
    assert "Mentions made NIL, because their entities were rejected: 1 (k1 (" in printed
    assert reason in printed
    assert "entities were rejected: 1 (k1 (" in (tmp_path / "more" / "out" / "README.md").read_text()


def test_golds_without_an_entity_are_counted_on_the_terminal(tmp_path, capsys):
    golds = ["k1", "k1", "k1", "Q-old", "Q-old"]
    assert build(tmp_path, [{**MENTIONS[0], "id": f"m{n}", "entity_id": g} for n, g in enumerate(golds)], ENTITIES) == 0
    assert "Mentions made NIL, because their answers have no entity: 2 (Q-old)." in capsys.readouterr().out.splitlines()


def test_licences_of_pictures_are_kept_beside_them(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(pictures / f"{name}.png")
    raw = tmp_path / "raw"
    raw.mkdir()
    write(raw / "mentions.jsonl", [{**MENTIONS[0], "image": "a.png", "image_license": "cc-by-4.0"}])
    entity = {**ENTITIES[0], "images": ["a.png", "gone.png", "b.png"], "image_licenses": ["mit", "wtfpl", ""]}
    write(raw / "entities.jsonl", [entity])
    folder = str(made(tmp_path / "out", raw, pictures))
    assert load_mentions(folder, "train")["image_license"][:] == ["cc-by-4.0"]
    (row,) = load_entities(folder)
    assert (len(row["images"]), row["image_licenses"]) == (2, ["mit", ""])
    entity["image_licenses"].pop()
    write(raw / "entities.jsonl", [entity])
    with pytest.raises(ValueError, match="it has 3 'images' and 2 'image_licenses'"):
        made(tmp_path / "out", raw, pictures)


def made(out, raw, pictures):
    from dim.corpora.build.dataset import build

    return build("own", [raw], out, layout="jsonl", images=[pictures]).folder
