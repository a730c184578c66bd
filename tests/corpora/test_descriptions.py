"""The JSONL of descriptions: what is wrong in it is told with its line, and nothing is taken over by half."""

import json

import pytest

from dim.corpora.build.descriptions import KEYS, read_descriptions
from dim.corpora.schema import ENTITIES

ORIGINALS = {"e1": "a mathematician", "e2": "", "e3": "a river"}
GOOD = {
    "id": "e1",
    "description": "She wrote the first program.",
    "description_source": "llm",
    "description_model": "some-model",
    "description_prompt": "Who is {name}?",
    "description_created_at": "2026-11-22T10:00:00Z",
    "description_usage": '{"total_tokens": 42}',
    "description_finish_reason": "stop",
}


@pytest.fixture
def read(tmp_path):
    def read_lines(*lines: object):
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (tmp_path / "d.jsonl").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return read_descriptions(tmp_path / "d.jsonl", ORIGINALS)

    return read_lines


def test_columns_are_those_of_the_schema(read):
    found = read(GOOD, {**GOOD, "id": "e2", "description_model": None})
    assert list(found) == ["e1", "e2"]
    assert found["e1"]["description"] == "She wrote the first program."
    assert found["e1"]["description_original"] == "a mathematician"
    assert found["e2"]["description_original"] == ""
    assert found["e2"]["description_model"] is None
    assert set(found["e1"]) <= set(ENTITIES)
    assert set(found["e1"]) == set(KEYS) - {"id"}
    assert list(read(GOOD, "", {**GOOD, "id": "e2"})) == ["e1", "e2"]  # blank lines are skipped


def test_the_original_may_be_given(read):
    assert read({**GOOD, "description_original": "a mathematician"})["e1"]["description_original"] == "a mathematician"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**GOOD, "id": "e9"}, "the entity 'e9' is not in the knowledge base"),
        ({**GOOD, "description": " "}, "'description' is blank"),
        ({**GOOD, "description": 3}, "'description' is a number, not a string"),
        ({**GOOD, "description": None}, "'description' is null, not a string"),
        ({**GOOD, "description_source": None}, "'description_source' is null, not a string"),
        ({**GOOD, "description_usage": {"tokens": 3}}, "'description_usage' is an object, not a string"),
        ({**GOOD, "description_orignal": ""}, "it has the unknown key 'description_orignal'"),
        (
            {**GOOD, "description_original": "a poet"},
            "'description_original' is not the description of 'e1' in",
        ),
        (
            {key: value for key, value in GOOD.items() if key != "description_model"},
            "it has no 'description_model'",
        ),
        ({**GOOD, "description": "half \ud800"}, "'description' holds half a character"),
        ([GOOD], "not a JSON object but a list"),
        ("{'id': 'e1'}", "not valid JSON"),
        ('{"id": "e1", "id": "e2"}', "the key 'id' occurs twice"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_bad_line_is_named(read, line, message):
    with pytest.raises(ValueError, match=rf"d.jsonl, line 2: .*{message}" if message != "line 2" else message):
        read({**GOOD, "id": "e3"}, line)


def test_a_repeated_entity_names_both_lines(read):
    with pytest.raises(ValueError, match="line 3: the entity 'e1' is already in .*d.jsonl, line 1"):
        read(GOOD, {**GOOD, "id": "e2"}, GOOD)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "d.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(ValueError, match="line 1: not valid UTF-8"):
        read_descriptions(tmp_path / "d.jsonl", ORIGINALS)


def test_no_file_and_no_line(tmp_path, read):
    with pytest.raises(ValueError, match="There is no file .*none.jsonl"):
        read_descriptions(tmp_path / "none.jsonl", ORIGINALS)
    with pytest.raises(ValueError, match=r"d.jsonl has no lines"):
        read()


def test_a_last_line_without_an_end(tmp_path):
    (tmp_path / "d.jsonl").write_text(json.dumps(GOOD))
    assert list(read_descriptions(tmp_path / "d.jsonl", ORIGINALS)) == ["e1"]
