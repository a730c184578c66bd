"""The knowledge base: rows from every kind of file, changes, versions, exports, and outdated vectors."""

import csv
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")

from dim.encoding.loading import load_dim
from dim.kb import KnowledgeBase
from dim.kb.rows import FieldError, checked_row, quantised

ROWS = [
    {"id": "Q1", "name": "Ada Lovelace", "aliases": ["Ada King"], "description": "mathematician", "type": "human"},
    {"id": "O'Q2", "name": "Paris", "description": "capital of France", "extra": {"country": "FR"}},
    {"id": "Q3", "name": "東京", "aliases": ["Tokyo", "Tōkyō"]},
]


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    return load_dim(tiny_dim_dir)


@pytest.fixture
def kb(tmp_path):
    return KnowledgeBase.create(tmp_path / "kb", ROWS)


def contents(kb):
    return {row["id"]: (row["name"], row["aliases"], row["description"]) for row in kb.table().to_pylist()}


# --------------------------------------------------------------------------------------------------------- sources


def write(path, rows):
    """The same rows in each kind of file."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            lines = csv.writer(stream)
            lines.writerow(["id", "name", "aliases", "description", "type", "extra"])
            for row in rows:
                extra = json.dumps(row["extra"]) if "extra" in row else ""
                cells = ["|".join(row.get("aliases", [])), row.get("description", ""), row.get("type", ""), extra]
                lines.writerow([row["id"], row["name"], *cells])
    else:
        whole = [{"description": None, "type": None, "aliases": None, **row} for row in rows]
        pq.write_table(pa.Table.from_pylist([{k: v for k, v in row.items() if k != "extra"} for row in whole]), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, suffix):
    kb = KnowledgeBase.create(tmp_path / "kb", write(tmp_path / f"rows{suffix}", ROWS))
    assert kb.ids == ["Q1", "O'Q2", "Q3"]
    assert contents(kb) == {
        "Q1": ("Ada Lovelace", ["Ada King"], "mathematician"),
        "O'Q2": ("Paris", [], "capital of France"),
        "Q3": ("東京", ["Tokyo", "Tōkyō"], ""),
    }
    if suffix != ".parquet":
        assert json.loads(kb.rows(["O'Q2"])["extra"][0].as_py()) == {"country": "FR"}


def test_dataset_brings_its_pictures(tmp_path, tiny_mel_dir):
    kb = KnowledgeBase.create(tmp_path / "kb", tiny_mel_dir)
    assert kb.ids == [f"e{row}" for row in range(6)]
    (picture,) = kb.rows(["e3"])["images"][0].as_py()
    assert picture["bytes"].startswith(b"\x89PNG")


def test_mimics_entities(tmp_path):
    rows = [{"id": 7, "qid": "Q5", "entity_name": "Jos%C3%A9", "attr": "a man", "image_list": ["x.jpg"]},
            {"id": 8, "qid": "Q6", "entity_name": "Ann", "attr": None}]  # fmt: skip
    (tmp_path / "kb_entity.json").write_text(json.dumps(rows))
    kb = KnowledgeBase.create(tmp_path / "kb", tmp_path / "kb_entity.json")
    assert contents(kb) == {"Q5": ("José", [], "a man"), "Q6": ("Ann", [], "")}


def test_pictures_are_read_from_beside_the_file_and_from_nowhere_else(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    good = write(folder / "good.jsonl", [{**ROWS[0], "images": ["a.png"]}])
    kb = KnowledgeBase.create(tmp_path / "kb", good)
    assert kb.table(["images"])["images"][0].as_py()[0]["bytes"] == (folder / "a.png").read_bytes()
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        bad = write(folder / "bad.jsonl", [{**ROWS[0], "images": [name]}])
        with pytest.raises(ValueError, match=r"bad.jsonl, line 1, field 'images': .* outside of the folder"):
            kb.upsert(bad)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a"}], "line 1, field 'name': it is missing"),
        ([ROWS[0], {"id": " ", "name": "x"}], "line 2, field 'id': it is empty"),
        ([{"id": 5, "name": "x"}], "line 1, field 'id': it is a number, not a string"),
        ([{"id": "a", "name": "x", "aliases": "y"}], "field 'aliases': it is a string, not a list"),
        ([{"id": "a", "name": "x", "aliases": [None]}], "field 'aliases': it is null, not a string"),
        ([{"id": "a", "name": "x", "label": "y"}], "field 'label': it is unknown"),
        ([{"id": "a", "name": "x", "images": ["no.png"]}], "field 'images': there is no file 'no.png'"),
        ([{"id": "a", "name": "x", "extra": [1]}], "field 'extra': it is a list, not a JSON object"),
        ([ROWS[0], ROWS[1], ROWS[0]], "line 3: the id 'Q1' is also in .*line 1"),
        ([[]], "line 1: not a JSON object but a list"),
        ([{"id": "a", "name": "\ud800"}], "half of a character"),
        ([{"id": "a", "name": "x", "extra": {"k": "\ud800"}}], "field .extra.: .*half of a character"),
    ],
)
def test_bad_rows_are_refused_with_their_place(tmp_path, rows, message):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.create(tmp_path / "kb", path)
    with pytest.raises(ValueError, match="is not a knowledge base"):
        KnowledgeBase.open(tmp_path / "kb")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"id": "a", "name": "b"}\n{"id": }', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '{"id": "a", "id": "b", "name": "b"}', "line 1: the key 'id' occurs twice"),
        ("a.csv", "id,name\na,b\nc,d,e\n", "a.csv, line 3: 3 cells, but the header has 2"),
        ("a.csv", 'id,name\na,"b\n2"\nc\n', "a.csv, line 4: 1 cells"),
        ("a.csv", "id,id\n", "a column occurs twice"),
        ("a.parquet", "nothing", "is not a Parquet file"),
        ("a.txt", "x", "is not a .jsonl, .csv or .parquet file"),
        ("kb_entity.json", '[{"qid": "Q1"}]', "row 0, field 'entity_name': it is missing"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.create(tmp_path / "kb", tmp_path / name)


def test_files_and_bases_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        KnowledgeBase.create(tmp_path / "kb", tmp_path / "no.jsonl")
    with pytest.raises(ValueError, match="nothing is not a knowledge base. Create one: dim kb create"):
        KnowledgeBase.open(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_lancedb_that_is_missing_is_told_with_the_command(tmp_path):
    code = "import sys; sys.modules['lancedb'] = None\nfrom dim.kb import KnowledgeBase\n"
    code += f"KnowledgeBase.create({str(tmp_path / 'kb')!r}, [])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'dim-mel[kb]'" in done.stderr.splitlines()[-1]


# --------------------------------------------------------------------------------------------------------- changes


def test_upsert_adds_and_replaces_and_leaves_what_is_the_same(kb):
    before = kb.version
    assert kb.upsert(ROWS) == 0
    assert kb.version == before
    assert kb.upsert([ROWS[0], {"id": "Q3", "name": "Tokyo"}, {"id": "Q4", "name": "new"}]) == 2
    assert contents(kb)["Q3"] == ("Tokyo", [], "")
    assert contents(kb)["Q1"] == ("Ada Lovelace", ["Ada King"], "mathematician")
    assert sorted(kb.ids) == ["O'Q2", "Q1", "Q3", "Q4"]


def test_bad_batch_changes_nothing(kb):
    before = kb.version
    with pytest.raises(ValueError, match="row 1, field 'name'"):
        kb.upsert([{"id": "Q9", "name": "good"}, {"id": "Q10"}])
    with pytest.raises(ValueError, match="no entity 'Q99'; nothing was deleted"):
        kb.delete(["Q1", "Q99"])
    with pytest.raises(ValueError, match="takes a list"):
        kb.delete("Q1")
    assert kb.version == before
    assert len(kb) == 3


def test_delete_takes_ids_as_they_are(kb):
    kb.delete(["O'Q2"])
    assert kb.ids == ["Q1", "Q3"]
    with pytest.raises(ValueError, match="no entity \"x' OR '1'='1\""):
        kb.delete(["x' OR '1'='1"])
    assert len(kb) == 2


def test_rows_come_in_the_order_asked_for(kb):
    assert kb.rows(["Q3", "Q1", "Q3"])["name"].to_pylist() == ["東京", "Ada Lovelace", "東京"]
    assert kb.take([2, 0], ["id"])["id"].to_pylist() == ["Q3", "Q1"]
    assert kb.take([]).num_rows == 0
    with pytest.raises(ValueError, match="has no entity 'Q7'"):
        kb.rows(["Q1", "Q7"])
    with pytest.raises(ValueError, match="has no column 'nme'"):
        kb.table(["nme"])


def test_versions_are_read_and_restored(kb):
    first = kb.version
    kb.upsert([{"id": "Q4", "name": "new"}])
    kb.delete(["Q1"])
    assert [one["entities"] for one in kb.versions()][-3:] == [3, 4, 3]
    old = kb.checkout(first)
    assert old.ids == ["Q1", "O'Q2", "Q3"]
    with pytest.raises(ValueError, match="cannot be changed; restore it first"):
        old.delete(["Q1"])
    kb.restore(first)
    assert kb.ids == ["Q1", "O'Q2", "Q3"]
    assert kb.version > first
    with pytest.raises(ValueError, match="has no version 99"):
        kb.checkout(99)


def test_one_that_is_there_is_not_replaced_by_chance(kb):
    with pytest.raises(ValueError, match="is a knowledge base already"):
        KnowledgeBase.create(kb.uri, ROWS)
    first = kb.version
    other = KnowledgeBase.create(kb.uri, ROWS[:1], overwrite=True)
    assert len(other) == 1
    other.restore(first)
    assert len(other) == 3


def test_empty_knowledge_base(tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", [])
    assert (len(kb), kb.ids, kb.info()["entities"]) == (0, [], 0)
    kb.upsert(ROWS)
    assert len(kb) == 3


# -------------------------------------------------------------------------------------------------------- encoding


def naive(dim, rows):
    from dim.encoding.encode import encode_entities

    return encode_entities(*dim, [{"description": "", **row} for row in rows])


def test_only_what_changed_is_encoded(kb, dim, monkeypatch):
    from dim.kb import encode

    assert kb.encode(*dim) == 3
    torch.testing.assert_close(kb.vectors([kb.row_of[row["id"]] for row in ROWS]), naive(dim, ROWS))
    assert kb.encode(*dim) == 0
    seen = []
    real = encode.encode_entities

    def watched(model, processor, rows, **options):
        seen.extend(row["id"] for row in rows)
        return real(model, processor, rows, **options)

    monkeypatch.setattr(encode, "encode_entities", watched)
    kb.upsert([{**ROWS[0], "aliases": ["Countess"]}, {**ROWS[1], "description": "a city"}, {"id": "Q4", "name": "x"}])
    with pytest.raises(ValueError, match=r"2 of the entities are not encoded: dim kb encode"):
        kb.vectors()
    assert kb.info()["pending"] == 2
    assert kb.encode(*dim) == 2
    assert sorted(seen) == ["O'Q2", "Q4"]
    expected = naive(dim, [{**ROWS[1], "description": "a city"}, {"id": "Q4", "name": "x"}])
    torch.testing.assert_close(kb.vectors([kb.row_of["O'Q2"], kb.row_of["Q4"]]), expected)
    assert kb.rows(["Q1"])["aliases"].to_pylist() == [["Countess"]]


def test_parts_and_batches_give_the_same(tmp_path, dim, tiny_mel_dir):
    kb = KnowledgeBase.create(tmp_path / "a", tiny_mel_dir)
    kb.encode(*dim, part_rows=2, batch_size=1)
    other = KnowledgeBase.create(tmp_path / "b", tiny_mel_dir)
    other.encode(*dim)
    order = [kb.row_of[name] for name in other.ids]
    torch.testing.assert_close(kb.vectors(order), other.vectors())


def test_old_version_has_its_vectors_again(kb, dim):
    kb.encode(*dim)
    encoded = kb.version
    before = kb.vectors([kb.row_of["Q1"]])
    kb.upsert([{**ROWS[0], "description": "changed"}])
    kb.encode(*dim)
    kb.restore(encoded)
    assert torch.equal(kb.vectors([kb.row_of["Q1"]]), before)


def test_another_model_is_refused_with_the_command(kb, dim, tiny_clip_dir):
    from dim import DIMModel
    from dim.encoding.loading import fingerprint

    with pytest.raises(ValueError, match=r"3 entities of .* are not encoded yet; encode it: dim kb encode .* --model"):
        kb.check_encoder(fingerprint(*dim))
    kb.encode(*dim)
    kb.check_encoder(fingerprint(*dim))
    other = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4, projection_dim=16)
    with pytest.raises(ValueError, match="3 entities of .* were encoded by another model"):
        kb.check_encoder(fingerprint(other, dim[1]))
    assert kb.encode(other, dim[1]) == 3  # of another width, too
    assert kb.vectors().shape == (3, other.config.vector_dim) == (3, 32)
    kb.check_encoder(fingerprint(other, dim[1]))


def test_vectors_that_are_no_numbers_are_refused(kb, dim, monkeypatch):
    from dim.kb import encode

    monkeypatch.setattr(encode, "encode_entities", lambda *a, **o: torch.full((3, 32), torch.nan))
    with pytest.raises(ValueError, match="The model gives NaN or infinity for the entity 'Q1'"):
        kb.encode(*dim)


def test_export_and_import_keep_everything(kb, dim, tmp_path):
    kb.encode(*dim)
    kb.upsert([{**ROWS[1], "description": "not encoded since"}])
    kb.export(tmp_path / "all.parquet")
    assert pq.read_table(tmp_path / "all.parquet", columns=["vector"])["vector"].null_count == 1
    assert pq.read_schema(tmp_path / "all.parquet").field("vector").type == pa.list_(pa.float32())
    copy = KnowledgeBase.create(tmp_path / "copy", tmp_path / "all.parquet")
    columns = ["id", "name", "aliases", "description", "extra", "type", "updated_at", "content_hash"]
    assert copy.rows(kb.ids).select(columns).equals(kb.table(columns))
    numbers = [[one.row_of[name] for name in ("Q1", "Q3")] for one in (kb, copy)]
    assert torch.equal(kb.vectors(numbers[0]), copy.vectors(numbers[1]))
    assert copy.info()["pending"] == 1
    assert copy.encode(*dim) == 1
    with pytest.raises(ValueError, match="contains vectors; .*dim kb import"):
        kb.upsert(tmp_path / "all.parquet")


def test_an_export_of_version_0_1_is_imported(kb, dim, tmp_path):
    """Its vectors are lists of one length, which the type says."""
    kb.encode(*dim)
    kb.export(tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet").replace_schema_metadata(None)
    old = table["vector"].cast(pa.list_(pa.float32(), kb.width))
    pq.write_table(table.set_column(table.schema.get_field_index("vector"), "vector", old), tmp_path / "old.parquet")
    copy = KnowledgeBase.create(tmp_path / "copy", tmp_path / "old.parquet")
    assert torch.equal(kb.vectors(), copy.vectors()[[copy.row_of[name] for name in kb.ids]])


@pytest.mark.parametrize("change", ["width", "metadata", "type", "column"])
def test_an_export_with_other_vectors_is_refused(kb, dim, tmp_path, change):
    kb.encode(*dim)
    kb.export(tmp_path / "all.parquet")
    table, message = pq.read_table(tmp_path / "all.parquet"), "not in the format of `dim kb export`"
    index, vectors = table.schema.get_field_index("vector"), table["vector"]
    if change == "width":
        shorter = pa.array([row[:-1] for row in vectors.to_pylist()], pa.list_(pa.float32()))
        table, message = table.set_column(index, "vector", shorter), f"not all {kb.width} wide"
    elif change == "metadata":
        table = table.replace_schema_metadata(None)
    elif change == "type":
        table = table.set_column(index, "vector", vectors.cast(pa.list_(pa.float64())))
    else:
        table = table.drop_columns("content_hash")
    pq.write_table(table, tmp_path / "changed.parquet")
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.create(tmp_path / "copy", tmp_path / "changed.parquet")


_WRITER = """
import sys
from itertools import count
from dim.kb import KnowledgeBase
kb = KnowledgeBase.open(sys.argv[1])
for number in count():
    kb.upsert([{"id": name, "name": name, "description": f"change {number}"} for name in kb.ids])
    kb.finish()
    print(number, flush=True)
"""


def test_an_export_while_another_process_writes_is_one_version(tmp_path):
    KnowledgeBase.create(tmp_path / "kb", [{"id": f"Q{number}", "name": "x"} for number in range(500)])
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "kb")], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        for number in range(3):
            assert writer.stdout.readline()
            KnowledgeBase.open(tmp_path / "kb").export(tmp_path / f"{number}.parquet")
    finally:
        writer.kill()
        writer.communicate()
    for number in range(3):
        copy = KnowledgeBase.create(tmp_path / f"copy{number}", tmp_path / f"{number}.parquet")
        assert len(copy) == 500
        assert len(set(copy.table(["description"])["description"].to_pylist())) == 1


def test_vector_of_an_edited_export_is_stale(kb, dim, tmp_path):
    kb.encode(*dim)
    kb.export(tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    names = ["Augusta" if name == "Ada Lovelace" else name for name in table["name"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("name"), "name", pa.array(names))
    pq.write_table(table, tmp_path / "edited.parquet")
    copy = KnowledgeBase.create(tmp_path / "copy", tmp_path / "edited.parquet")
    assert copy.encoders()[None] == 1


# ------------------------------------------------------------------------------------------------------- properties


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=5, max_size=5), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_codes_are_off_by_half_a_step_at_most(rows):
    vectors = np.array(rows, np.float32)
    codes, scales = quantised(vectors)
    assert (np.abs(codes * scales[:, None] - vectors) <= scales[:, None] * 0.5001 + 1e-30).all()


@given(st.fixed_dictionaries({"id": st.text(min_size=1), "name": st.text(min_size=1), "description": st.text()}))
@settings(max_examples=100, deadline=None)
def test_hash_changes_with_what_is_encoded_and_with_nothing_else(row):
    try:
        made = checked_row(row)
    except FieldError:
        return
    assert checked_row({**row, "aliases": ["a"], "type": "t", "id": "other"})["content_hash"] == made["content_hash"]
    assert checked_row({**row, "aliases": ["a"]})["key"] != made["key"]
    for field in ("name", "description"):
        assert checked_row({**row, field: made[field] + "x"})["content_hash"] != made["content_hash"]
    assert (
        checked_row({**row, "name": "ab", "description": "c"})["content_hash"]
        != checked_row({**row, "name": "a", "description": "bc"})["content_hash"]
    )
