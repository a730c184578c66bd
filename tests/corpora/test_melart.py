"""MELArt's layout, in handmade files: the curated annotations alone, all annotations, and the candidates."""

import json

import pytest

from dim.cli.main import main
from dim.corpora.loading import load_entities, load_mentions
from dim.corpora.read import read_release
from dim.corpora.release import Entity
from dim.errors import DIMError

HARBOUR, PORTRAIT = "Q900", "Q901"  # paintings
MIRA, SAINT = "Q11", "Q12"
URL = "http://www.wikidata.org/entity/"
FIRST, SECOND = "Mira rows to the harbour; Mira is tired.", "The Saint Blue was painted in 1601."


def match(text, sentence, qid, after=0):
    start = sentence.index(text, after)
    return {"start": start, "end": start + len(text), "qid": qid, "text": text}


CURATED = {
    HARBOUR: [
        {"text": FIRST, "sentence_type": "visual",
         "entities": [match("Mira", FIRST, MIRA), match("Mira", FIRST, MIRA, 9)]},
        {"text": "The boat is green.", "entities": [], "sentence_type": "visual"},
        {"text": SECOND, "entities": [match("Saint Blue", SECOND, SAINT)], "sentence_type": "contextual"},
    ]
}  # fmt: skip
ALL = {
    HARBOUR: {
        "title": "Harbour", "split": "test", "year": 1601, "img_url": "https://pictures.example/a/H%C3%A4fen.jpg",
        "P180": {URL + MIRA: "Mira Holt"}, "visual_sentences": [FIRST], "contextual_sentences": [],
        "visual_el_matches": [[match("Mira", FIRST, URL + MIRA)]], "contextual_el_matches": [],
    },
    PORTRAIT: {
        "title": "Portrait", "split": "val", "img_url": "https://pictures.example/b/P.jpg", "P180": {},
        "visual_sentences": ["Nobody."], "contextual_sentences": [SECOND],
        "visual_el_matches": [[]], "contextual_el_matches": [[match("Saint Blue", SECOND, URL + SAINT)]],
    },
}  # fmt: skip
CANDIDATES = [
    {"qid": MIRA, "id": 0, "type": "entity", "entity_name": "Mira Holt", "image_list": ["Q11_0.jpg"],
     "desc": "English pilot", "instance": "human", "attr": "Mira Holt. English pilot. Types: human"},
    {"qid": SAINT, "id": 1, "type": "entity", "entity_name": "Saint Blue", "image_list": [], "desc": ""},
    {"qid": "Q13", "id": 2, "type": "entity", "entity_name": "Mira (river)", "image_list": [], "desc": "river"},
]  # fmt: skip


def write(folder, **files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def rows(release, *fields):
    return [tuple(getattr(mention, field) for field in fields) for mention in release.mentions]


def reasons(release):
    assert release.rows_in == len(release.mentions) + sum(row.kind == "mention" for row in release.rejected)
    return {row.key: row.reason for row in release.rejected if row.kind != "file"}


def test_the_curated_annotations_are_the_test_split(tmp_path):
    release = read_release("melart", [write(tmp_path, curated_annotations=CURATED)])
    assert release.layout == "melart"
    assert rows(release, "id", "mention", "split", "entity_id", "start", "end", "topic", "image") == [
        ("Q900-0", "Mira", "test", MIRA, 0, 4, "visual", "Q900.jpg"),
        ("Q900-1", "Mira", "test", MIRA, 26, 30, "visual", "Q900.jpg"),
        ("Q900-2", "Saint Blue", "test", SAINT, 4, 14, "contextual", "Q900.jpg"),
    ]
    assert release.entities == [Entity(MIRA, "Mira"), Entity(SAINT, "Saint Blue")]
    assert "the knowledge base holds the 2 answers alone, 0 by their labels and 2" in " ".join(release.notes)
    assert [(source.name, source.source) for source in release.sources] == [
        ("curated_annotations.json", "HPI-Information-Systems/MELArt")
    ]
    assert reasons(release) == {}


def test_all_annotations_have_the_splits_of_the_release(tmp_path):
    raw = write(tmp_path, melart_annotations=ALL, curated_annotations=CURATED)
    release = read_release("melart", [raw], "melart")
    assert rows(release, "mention", "split", "entity_id", "topic", "image", "image_keys") == [
        ("Mira", "test", MIRA, "visual", "https://pictures.example/a/H%C3%A4fen.jpg", ("Q900.jpg",)),
        ("Saint Blue", "validation", SAINT, "contextual", "https://pictures.example/b/P.jpg", ("Q901.jpg",)),
    ]
    assert release.entities == [Entity(MIRA, "Mira Holt"), Entity(SAINT, "Saint Blue")]
    assert any("curated_annotations.json" in note for note in release.notes if note.startswith("Not read"))


def test_the_candidates_are_the_knowledge_base(tmp_path):
    release = read_release("melart", [write(tmp_path, curated_annotations=CURATED, kb_entity_desc=CANDIDATES)])
    assert release.entities == [
        Entity(MIRA, "Mira Holt", "English pilot", images=["Q11_0.jpg"], type="human"),
        Entity(SAINT, "Saint Blue"),
        Entity("Q13", "Mira (river)", "river"),
    ]
    assert not any("answers alone" in note for note in release.notes)


def test_ids_do_not_reveal_that_the_answer_is_the_painting(tmp_path):
    own = {SAINT: CURATED[HARBOUR]}
    release = read_release("melart", [write(tmp_path, curated_annotations=own)])
    assert not any(SAINT in mention.id for mention in release.mentions)
    assert any("Ids of the release revealed the answer" in note for note in release.notes)


def test_every_kind_of_bad_row_is_rejected_with_its_reason(tmp_path):
    good = match("Mira", FIRST, MIRA)
    curated = {
        HARBOUR: [
            {"text": FIRST, "entities": [good]},
            7,
            {"text": " ", "entities": [good]},
            {"text": FIRST, "entities": "Mira"},
            {
                "text": FIRST,
                "entities": [{**good, "start": 1}, {**good, "end": True}, {**good, "qid": ""}, [good], good],
            },
            {"text": FIRST, "entities": [good], "sentence_type": 3},
        ],
        PORTRAIT: {"text": FIRST},
    }
    text = json.dumps(curated)[:-1] + f', "{HARBOUR}": []}}'
    candidates = [*CANDIDATES, CANDIDATES[0], 5, {**CANDIDATES[0], "qid": "Q14", "entity_name": ""}]
    release = read_release("melart", [write(tmp_path, curated_annotations=text, kb_entity_desc=candidates)])
    assert [mention.id for mention in release.mentions] == ["Q900-0", "Q900-5"]
    assert reasons(release) == {
        "Q900-1": "it is a number, not an object",
        "Q900-2": "the sentence is blank",
        "Q900-3": "the list of its entities is a string, not a list",
        "Q900-4-0": "the sentence does not have 'Mira' from 1 to 4",
        "Q900-4-1": "the sentence does not have 'Mira' from 0 to True",
        "Q900-4-2": "'qid' is blank",
        "Q900-4-3": "it is a list, not an object",
        "Q900-5": "'sentence_type' is a number, not a string",
        "Q901": "it is an object, not a list",
        "Q900": "its key occurs a second time; the first was kept",
        "row 3": f"the qid {MIRA} occurs a second time; the first was kept",
        "row 4": "it is a number, not an object",
        "row 5": "'entity_name' is blank",
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split": "unknown"}, "it is in no split"),
        ({"visual_sentences": FIRST}, "'visual_sentences' is a string, not a list"),
        ({"contextual_el_matches": [[]]}, "'contextual_sentences' and 'contextual_el_matches' differ in length: 0, 1"),
        ({"img_url": 5}, "'img_url' is a number, not a string"),
    ],
)
def test_a_painting_that_does_not_fit_is_rejected_with_the_reason(change, reason, tmp_path):
    annotations = {PORTRAIT: ALL[PORTRAIT], HARBOUR: {**ALL[HARBOUR], **change}}
    release = read_release("melart", [write(tmp_path, melart_annotations=annotations)])
    assert reasons(release) == {HARBOUR: reason}


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(DIMError, match="No layout fits melart"):
        read_release("melart", [write(tmp_path, kb_entity_desc=CANDIDATES)])


def test_dim_build_needs_no_layout(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    write(raw, melart_annotations=ALL, kb_entity_desc=CANDIDATES)
    assert main(["build", "melart", "--raw", str(raw), "--out", str(tmp_path / "melart")]) == 0
    assert "2 mentions (validation 1, test 1), 0 of them NIL" in capsys.readouterr().out
    assert load_mentions(str(tmp_path / "melart"), "test")["mention"][:] == ["Mira"]
    assert len(load_entities(str(tmp_path / "melart"))) == 3
