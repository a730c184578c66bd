"""The same row is taken or refused alike by every command and by the service, before anything long starts."""

import json
import math
from datetime import date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.cli.main import main
from dim.common.jsonl import parse_object
from dim.corpora.read import read_release
from dim.encoding.mention import mentions_of
from dim.enhancement.entity_text import read_entities
from dim.errors import DIMError
from dim.kb import KnowledgeBase
from dim.kb.rows import FIELDS as ENTITY_FIELDS
from dim.kb.sources import read_entities as kb_rows
from dim.linking.mention_rows import FIELDS, checked_mention, read_mentions

NAN = float("nan")
TURKEY = {"sentence": "We saw Turkey in autumn.", "mention": "Turkey"}
EMOJI = {"sentence": "\U0001f983\U0001f983 We saw Turkey.", "mention": "Turkey"}
DEEP = json.loads("[" * 50 + "]" * 50)

# Each row, and None if it is taken, or else a part of the line that refuses it.
MENTION_ROWS = {
    "plain": (TURKEY, None),
    "offsets": ({**TURKEY, "start": 7, "end": 13}, None),
    "offsets null": ({**TURKEY, "start": None, "end": None}, None),
    "offsets NaN": ({**TURKEY, "start": NAN, "end": NAN}, None),
    "offsets -1": ({**TURKEY, "start": -1, "end": -1}, None),
    "offsets -1.0": ({**TURKEY, "start": -1.0, "end": -1.0}, None),
    "whole floats": ({**TURKEY, "start": 7.0, "end": 13.0}, None),
    "another case": ({**TURKEY, "mention": "TURKEY", "start": 7, "end": 13}, None),
    "decomposed": ({"sentence": "A Cafe\u0301 here", "mention": "Caf\u00e9", "start": 2, "end": 7}, None),
    "expert answer null": ({**TURKEY, "expert_answer": None}, None),
    "expert answer NaN": ({**TURKEY, "expert_answer": NAN}, None),
    "half an offset": ({**TURKEY, "start": 7.5, "end": 13}, "'start' and 'end' must both be whole numbers"),
    "one offset": ({**TURKEY, "start": 7}, "'start' and 'end' must both be whole numbers"),
    "one offset null": ({**TURKEY, "start": 7, "end": None}, "'start' and 'end' must both be whole numbers"),
    "offsets are texts": ({**TURKEY, "start": "7", "end": "13"}, "'start' and 'end' must both be whole numbers"),
    "offset true": ({**TURKEY, "start": True, "end": 13}, "'start' and 'end' must both be whole numbers"),
    "offset infinite": ({**TURKEY, "start": 7, "end": math.inf}, "'start' and 'end' must both be whole numbers"),
    "offset huge": ({**TURKEY, "start": 7, "end": 10**30}, "do not give the mention 'Turkey'"),
    "offsets negative": ({**TURKEY, "start": -7, "end": -1}, "do not give the mention 'Turkey'"),
    "other place": ({**TURKEY, "start": 0, "end": 2}, "do not give the mention 'Turkey'"),
    "a space more": ({**TURKEY, "start": 7, "end": 14}, "do not give the mention 'Turkey'"),
    "a word more": ({**TURKEY, "start": 3, "end": 13}, "do not give the mention 'Turkey'"),
    "end included": ({**TURKEY, "start": 7, "end": 12}, "they look as if 'end' were included"),
    "UTF-16": ({**EMOJI, "start": 12, "end": 18}, "they look like UTF-16 offsets"),
    "bytes": ({"sentence": "\u00eb: Turkey.", "mention": "Turkey", "start": 4, "end": 10}, "look like byte offsets"),
    "mention a number": ({"sentence": "In 1984.", "mention": 1984}, "'mention'"),
    "mention a list": ({**TURKEY, "mention": ["Turkey"]}, "'mention'"),
    "mention blank": ({**TURKEY, "mention": " "}, "empty"),
    "sentence a list": ({**TURKEY, "sentence": ["We saw Turkey."]}, "'sentence'"),
    "sentence true": ({**TURKEY, "sentence": True}, "'sentence'"),
    "half a character": ({**TURKEY, "sentence": "We saw Turkey \ud83d."}, "'sentence'"),
    "half a character in the mention": ({**TURKEY, "mention": "Turkey\udc00"}, "'mention'"),
}  # fmt: skip
ENTITY_ROWS = {
    "plain": ({"id": "e1", "name": "Ada"}, None),
    "whole": ({"id": "e1", "name": "Ada", "aliases": ["A."], "description": "x", "type": "human"}, None),
    "nulls": ({"id": "e1", "name": "Ada", "aliases": None, "description": None, "type": None}, None),
    "NaN": ({"id": "e1", "name": "Ada", "aliases": NAN, "description": NAN, "type": NAN}, None),
    "an id with spaces inside": ({"id": "Ada Lovelace", "name": "Ada"}, None),
    "a joiner": ({"id": "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627", "name": "Ada"}, None),
    "no id": ({"name": "Ada"}, "'id'"),
    "id a number": ({"id": 1, "name": "Ada"}, "'id'"),
    "id NaN": ({"id": NAN, "name": "Ada"}, "'id'"),
    "id with CR": ({"id": "e1\r", "name": "Ada"}, "U+000D"),
    "id with a mark": ({"id": "\ufeffe1", "name": "Ada"}, "U+FEFF"),
    "id with a direction": ({"id": "e\u202e1", "name": "Ada"}, "U+202E"),
    "id with a control": ({"id": "e\x001", "name": "Ada"}, "U+0000"),
    "id with spaces around": ({"id": " e1", "name": "Ada"}, "begins or ends with a space"),
    "no name": ({"id": "e1"}, "'name'"),
    "name null": ({"id": "e1", "name": None}, "'name'"),
    "name blank": ({"id": "e1", "name": " "}, "'name'"),
    "name a number": ({"id": "e1", "name": 7}, "'name'"),
    "half a character": ({"id": "e1", "name": "Ada", "description": "\ud800"}, "'description'"),
    "alias null": ({"id": "e1", "name": "Ada", "aliases": [None]}, "'aliases'"),
    "alias blank": ({"id": "e1", "name": "Ada", "aliases": [""]}, "'aliases'"),
    "aliases a text": ({"id": "e1", "name": "Ada", "aliases": "A."}, "'aliases'"),
    "description a list": ({"id": "e1", "name": "Ada", "description": ["x"]}, "'description'"),
    "type true": ({"id": "e1", "name": "Ada", "type": True}, "'type'"),
    "an unknown field": ({"id": "e1", "name": "Ada", "colour": "red"}, "'colour'"),
}  # fmt: skip


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def build(folder, mention, entity):
    """A build's reason to reject the row that is not plain; its place is the file and line."""
    own = {"id": "m1", "split": "train", "entity_id": "e1"}
    good = {**TURKEY, **own, "id": "m0", "entity_id": "e0"}
    write(folder / "mentions.jsonl", good, good | {"id": "m2"}, *([] if mention is None else [{**mention, **own}]))
    write(folder / "entities.jsonl", {"id": "e0", "name": "Turkey"}, entity or {"id": "e1", "name": "Ada"})
    rejected = read_release("mine", [folder], "jsonl").rejected
    if rejected:
        raise DIMError(f"{rejected[0].file}, {rejected[0].key}, {rejected[0].reason}")


def service(_folder, row):
    from pydantic import ValidationError

    from dim.serving.link_rows import row_of
    from dim.serving.schemas import Mention

    try:
        row_of(Mention.model_validate(parse_object(json.dumps(row))))
    except ValidationError as error:
        raise DIMError(" ".join(f"{one['loc']}: {one['msg']}" for one in error.errors())) from error


MENTION_DOORS = {
    "dim link": lambda folder, row: list(read_mentions(write(folder / "rows.jsonl", row))),
    "dim build": lambda folder, row: build(folder, {"expert_answer": None, **row}, None),
    "service": service,
    "python": lambda _folder, row: checked_mention(row),
}


@pytest.mark.parametrize("door", MENTION_DOORS)
@pytest.mark.parametrize("name", MENTION_ROWS)
def test_mention_rows(tmp_path, door, name):
    row, refusal = MENTION_ROWS[name]
    if refusal is None:
        MENTION_DOORS[door](tmp_path, row)
        return
    with pytest.raises(DIMError) as caught:
        MENTION_DOORS[door](tmp_path, row)
    if door != "service" or "offset" not in refusal:  # pydantic words the types in its own way
        assert door == "service" or refusal in str(caught.value)
    assert door in ("service", "python") or "line " in str(caught.value)
    assert "\n" not in str(caught.value)


def kb(folder, row):
    list(kb_rows(write(folder / "rows.jsonl", row)).batches())


def given_entity(_folder, row):
    from pydantic import ValidationError

    from dim.kb.rows import checked_row
    from dim.serving.schemas import GivenEntity

    try:
        fields = GivenEntity.model_validate(parse_object(json.dumps({k: v for k, v in row.items() if k != "id"})))
    except ValidationError as error:
        raise DIMError(" ".join(f"{one['loc']}: {one['msg']}" for one in error.errors())) from error
    checked_row({k: v for k, v in row.items() if k == "id"} | fields.model_dump())


ENTITY_DOORS = {
    "dim kb": kb,
    "dim enhance": lambda folder, row: read_entities(str(write(folder / "rows.jsonl", row))),
    "dim build": lambda folder, row: build(folder, None, row),
    "service": given_entity,
    "python": lambda _folder, row: list(kb_rows([row]).batches()),
}


@pytest.mark.parametrize("door", ENTITY_DOORS)
@pytest.mark.parametrize("name", ENTITY_ROWS)
def test_entity_rows(tmp_path, door, name):
    row, refusal = ENTITY_ROWS[name]
    if refusal is None:
        ENTITY_DOORS[door](tmp_path, row)
        return
    with pytest.raises(DIMError) as caught:
        ENTITY_DOORS[door](tmp_path, row)
    assert refusal in str(caught.value)
    assert door in ("service", "python") or "line " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mentions_of_a_dataset_are_checked_before_they_are_encoded():
    rows = [{**TURKEY, "start": 7, "end": 13}, {**EMOJI, "start": 12, "end": 18}]
    with pytest.raises(DIMError, match="Row 1: 'start' 12 and 'end' 18 do not give .*look like UTF-16 offsets"):
        mentions_of(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"sentence": "Café in [[Turkey]]."}'.encode("latin-1"), "line 1: not valid UTF-8"),
        ("a.jsonl", '{"sentence": "[[Turkey]]"}'.encode("utf-16"), "is not in UTF-8 but in UTF-16 or UTF-32"),
        ("a.jsonl", '{"sentence": "[[Turkey]]"}'.encode("utf-16-le"), "is not in UTF-8 but in UTF-16 or UTF-32"),
        ("a.csv", "sentence,mention\nTurkey,Turkey".encode("utf-16"), "is not in UTF-8 but in UTF-16 or UTF-32"),
        ("a.csv", "sentence,mention\nCafé,x".encode("latin-1"), "line 2: not valid UTF-8"),
        ("a.csv", b"mention,mention\nTurkey,Turkey\n", "line 1: a column occurs twice"),
        ("a.csv", b"sentence;mention\nTurkey;Turkey\n", "line 1: the columns are separated by ';', not by ','"),
        ("a.tsv", b"sentence,mention\nTurkey,Turkey\n", "line 1: the columns are separated by ',', not by '\\t'"),
        ("a.csv", b"sentence,mention\nTurkey\n", "line 2: 1 cells, but the header has 2"),
        ("a.csv", b'sentence,mention\n"Turkey,Turkey\n', "not valid CSV"),
        ("a.jsonl", b'{"mention": "Turkey", "mention": "Ankara"}', "line 1: the key 'mention' occurs twice"),
        ("a.json", b'[{"mention": "Turkey"}, {"a": {"b": 1, "b": 2}}]', "row 1: the key 'b' occurs twice"),
        ("a.json", b'[{"mention": "Turkey"},]', "is not valid JSON"),
        ("a.json", b'[{"mention": "Turkey"}, 7]', "row 1: not a JSON object but a number"),
        ("a.jsonl", b'{"mention": "Turkey",}', "line 1: not valid JSON"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000, "line 1: not valid JSON (it is nested too deeply)"),
        ("a.jsonl", b'{"mention": "Turkey", "a": ' + b"9" * 5_000 + b"}", "line 1: not valid JSON"),
        ("a.jsonl", b'{"mention": "Turkey", "a": {"b": NaN}}', "line 1: field 'a': it cannot be written as JSON"),
        ("a.jsonl", b'{"mention": "Turkey", "a": 1e999}', "line 1: field 'a': it cannot be written as JSON"),
        ("a.jsonl", b'{"mention": "Turkey", "a": ["\\ud83d"]}', "line 1: field 'a': it holds half of a character"),
        ("a.jsonl", b'{"mention": "Turkey", "\\ud83d": 1}', "line 1: field '\\\\ud83d': it holds half of a character"),
        ("a.jsonl", b'{"mention": "Turkey", "image": 7}', "line 1: field 'image': it is a number, not a path"),
        ("a.jsonl", b'{"sentence": "We saw [[ ]]."}', "line 1: The mention and its sentence must not be blank"),
        ("a.jsonl", b"", "holds no mention"),
        ("a.csv", b"", "holds no mention"),
        ("a.json", b"[]", "holds no mention"),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00broken", "is damaged or cut off, as compressed data"),
        ("a.parquet", b"PAR1", "is not a Parquet file"),
        ("a.txt", b"Turkey", "is not a .jsonl, .json, .csv, .tsv or .parquet file"),
    ],
)
def test_odd_files_are_refused_in_one_line_before_the_model_is_loaded(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert main(["link", "--model", "./nothing", "--kb", "./nothing", "--input", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert str(tmp_path / name) in line


@pytest.mark.parametrize("name", ["a.jsonl", "A.JSONL", "a.json", "a.csv", "a.tsv", "a.csv.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_marks_and_blank_lines(tmp_path, name, end):
    import gzip

    lines = ['{"id": "a", "mention": "Turkey"}', "", '{"id": "b", "mention": "Ankara"}', ""]
    if ".json" in name and "l" not in name.lower().partition(".json")[2]:
        lines = ["[" + lines[0] + ",", lines[2] + "]"]
    elif ".json" not in name.lower():
        lines = [
            line.replace(",", "\t" if ".tsv" in name else ",") for line in ("id,mention", "a,Turkey", "", "b,Ankara")
        ]
    content = b"\xef\xbb\xbf" + end.join([*lines, ""]).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert [row for row, _ in read_mentions(tmp_path / name)] == [
        {"id": "a", "mention": "Turkey"},
        {"id": "b", "mention": "Ankara"},
    ]


def test_long_cells_and_offsets_of_a_csv(tmp_path):
    long = "x" * 200_000
    (tmp_path / "m.csv").write_text(f"sentence,mention,start,end\nTurkey {long},Turkey,0.0,6.0\nTurkey,Turkey,,\n")
    assert [mention["end"] for _, mention in read_mentions(tmp_path / "m.csv")] == [6, 6]
    (tmp_path / "e.csv").write_text(f"id,name,description\na,Ada,{long}\n")
    (batch,) = kb_rows(tmp_path / "e.csv").batches()
    assert batch["description"].to_pylist() == [long]
    assert [one.description for one in read_entities(str(tmp_path / "e.csv"))] == [long]


def test_a_parquet_file_that_is_damaged_inside_is_refused_in_a_line(tmp_path):
    rows = [{"id": f"e{row}", "name": f"Ada {row % 7}"} for row in range(500)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "whole.parquet")
    whole, refused = (tmp_path / "whole.parquet").read_bytes(), 0
    path = tmp_path / "rows.parquet"
    for place in range(4, len(whole) - 8, len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        lines = [refusal(lambda: list(kb_rows(path).batches())), refusal(lambda: read_entities(str(path)))]
        assert all(line is None or (str(path) in line and "\n" not in line) for line in lines)
        refused += lines[0] is not None
    assert refused


def test_two_spellings_of_an_accent_are_one_id(tmp_path):
    rows = [{"id": "Caf\u00e9", "name": "one"}, {"id": "Cafe\u0301", "name": "two"}]
    with pytest.raises(DIMError, match="line 2: the id 'Caf\u00e9' is also in .*line 1"):
        kb(tmp_path, rows[0]) or list(kb_rows(write(tmp_path / "rows.jsonl", *rows)).batches())
    with pytest.raises(DIMError, match="line 2: the id 'Caf\u00e9' is also in .*line 1"):
        read_entities(str(write(tmp_path / "rows.jsonl", *rows)))
    own = {**TURKEY, "id": "m1", "split": "train", "entity_id": "Cafe\u0301"}
    write(tmp_path / "mentions.jsonl", own)
    write(tmp_path / "entities.jsonl", rows[0])
    (mention,) = read_release("mine", [tmp_path], "jsonl").mentions
    assert mention.entity_id == "Caf\u00e9"


SIGNS = st.sampled_from([*"aZ7 [].|", "\u00e9", "\u0301", "\U0001f983", "\ud83d", "\udc00", "\n", "\r", "\0", "\u202e"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.just(10**30) | st.floats() | st.text(SIGNS, max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(SIGNS, max_size=3), inner, max_size=2),
    max_leaves=4,
)


def refusal(read):
    """The line that refuses a row, and None if it is taken; any other exception than a DIMError is raised."""
    try:
        read()
    except DIMError as error:
        return str(error)
    return None


def written(path):
    for row, _ in read_mentions(path):
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode()


@settings(max_examples=300, deadline=None)
@given(fields=st.dictionaries(st.sampled_from([*FIELDS, "id", "other"]), VALUES, max_size=5))
def test_any_mention_row_is_taken_or_refused_in_a_line(tmp_path_factory, fields):
    row = TURKEY | fields
    path = write(tmp_path_factory.mktemp("rows") / "rows.jsonl", row)
    lines = [refusal(lambda: written(path)), refusal(lambda: checked_mention(row))]
    asked = {name: value for name, value in row.items() if name in FIELDS and name != "image"}
    lines.append(refusal(lambda: service(None, asked)))
    assert all(line is None or "\n" not in line for line in lines)
    if set(fields) <= {"sentence", "mention", "start", "end", "expert_answer"}:
        assert len({line is None for line in lines}) == 1 or "several mentions" in lines[2], lines


@settings(max_examples=300, deadline=None)
@given(fields=st.dictionaries(st.sampled_from([*ENTITY_FIELDS, "colour"]), VALUES, max_size=5))
def test_any_entity_row_is_taken_or_refused_in_a_line(tmp_path_factory, fields):
    row = {"id": "e1", "name": "Ada"} | fields
    path = write(tmp_path_factory.mktemp("rows") / "rows.jsonl", row)
    lines = [refusal(lambda: list(kb_rows(path).batches())), refusal(lambda: read_entities(str(path)))]
    assert all(line is None or ("line 1" in line and "\n" not in line) for line in lines)
    assert (lines[0] is None) == (lines[1] is None) or "images" in fields, lines


def test_every_field_of_an_entity_is_a_door_for_bad_values(tmp_path):
    for field in set(ENTITY_FIELDS) - {"images", "extra", "aliases"}:
        for value in (7, True, ["x"], {"a": 1}, "\udfff"):
            with pytest.raises(DIMError, match=f"line 1, field '{field}'"):
                kb(tmp_path, {"id": "a", "name": "b", field: value})


def test_empty_columns_at_the_end_of_a_csv_are_none(tmp_path):
    (tmp_path / "m.csv").write_text("sentence,mention,,\nTurkey,Turkey,,\n")
    assert [row for row, _ in read_mentions(tmp_path / "m.csv")] == [{"sentence": "Turkey", "mention": "Turkey"}]


def test_files_that_were_joined_with_their_byte_order_marks_are_read(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(2 * b'\xef\xbb\xbf{"mention": "Turkey"}\n')
    assert len(list(read_mentions(tmp_path / "m.jsonl"))) == 2


def test_dates_and_lists_of_pictures_of_a_parquet_file_are_taken(tmp_path):
    pictures = [{"bytes": b"x", "path": "a.png"}, {"bytes": b"y", "path": None}]
    rows = [{"mention": "Turkey", "image": pictures, "seen": datetime(2020, 1, 31), "day": date(2020, 1, 31)}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    ((row, mention),) = read_mentions(tmp_path / "m.parquet")
    written = {"mention": "Turkey", "image": ["a.png", None], "seen": "2020-01-31T00:00:00", "day": "2020-01-31"}
    assert row == written
    assert mention["image"] == pictures


@pytest.mark.parametrize("read", [lambda path: list(kb_rows(path).batches()), lambda path: read_entities(str(path))])
def test_a_column_that_occurs_twice_in_a_parquet_file_is_refused(tmp_path, read):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["id", "name", "name"])
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(DIMError, match="e.parquet: a column occurs twice"):
        read(tmp_path / "e.parquet")


def test_dim_enhance_reads_what_dim_kb_export_writes(tmp_path):
    kb = KnowledgeBase.create(str(tmp_path / "kb"), [{"id": "x" * 300, "name": "Ada"}])
    kb.export(tmp_path / "e.parquet")
    assert [(one.id, one.name) for one in read_entities(str(tmp_path / "e.parquet"))] == [("x" * 300, "Ada")]
