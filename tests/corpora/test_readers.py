"""MELBench's and GHMFC's layouts are read as documented; rows that do not fit are rejected with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dim.corpora.read import read_release
from dim.corpora.readers.shape import Shape, peek
from dim.corpora.release import Entity, Release

ROE, LANE, FEN = "Q101", "Q102", "Q103"
NAMES = {ROE: "Ada Roe", LANE: "Ben Lane", FEN: "Cy Fen"}
TEXTS = {ROE: "Occupation: doctor.", LANE: "Occupation: singer.", FEN: "Sex: male."}
SENTENCES = {
    "11": {
        "id": "11",
        "sentence": "Roe with Ben Lane in Erie",
        "mentions": ["Roe", "Ben Lane"],
        "entities": ["Ada Roe", "Ben Lane"],
        "answer": [ROE, LANE],
    },
    "12": {"id": "12", "sentence": "Cy Fen", "mentions": ["Cy Fen"], "entities": ["Cy Fen"], "answer": [FEN]},
}
SPLITS = {"train": ["11", "99"], "dev": ["12"]}


def write(folder: Path, **files: Any) -> Path:
    """Writes files as JSON (or text); `__` in a name is a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def wikimel(folder: Path, sentences: Any = SENTENCES, **more: Any) -> Path:
    files = {"splits__json": SPLITS, "qid2ne__json": NAMES, "qid2abs__json": TEXTS, **more}
    return write(folder, **{"Wikidata-MEL__json": sentences}, **files)


def rows(release: Release, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(mention, field) for field in fields) for mention in release.mentions]


def reasons(release: Release, kind: str = "mention") -> dict[str, str]:
    assert release.rows_in == len(release.mentions) + sum(row.kind == "mention" for row in release.rejected)
    return {row.key: row.reason for row in release.rejected if row.kind == kind}


class TestMELBench:
    def test_wikimel(self, tmp_path):
        release = read_release("wikimel", [wikimel(tmp_path)])
        assert release.layout == "melbench"
        assert rows(release, "id", "mention", "split", "entity_id", "start", "end", "image") == [
            ("11-0", "Roe", "train", ROE, 0, 3, "11.jpg"),
            ("11-1", "Ben Lane", "train", LANE, 9, 17, "11.jpg"),
            ("12-0", "Cy Fen", "validation", FEN, 0, 6, "12.jpg"),
        ]
        first, second, third = release.mentions
        assert first.image_id == second.image_id != third.image_id
        assert release.entities[0] == Entity(ROE, "Ada Roe", "Occupation: doctor.")
        assert len(release.entities) == 3
        assert release.offsets == {"verbatim": 3}
        assert "Sentence ids in splits.json that are not in the texts: 1 of 3." in release.notes
        assert reasons(release) == {}

    def test_sources_have_checksum_and_licence(self, tmp_path):
        import hashlib

        release = read_release("wikimel", [wikimel(tmp_path)])
        content = (tmp_path / "splits.json").read_bytes()
        found = {source.name: source for source in release.sources}
        assert set(found) == {"Wikidata-MEL.json", "splits.json", "qid2ne.json", "qid2abs.json"}
        assert found["splits.json"].sha256 == hashlib.sha256(content).hexdigest()
        assert (found["splits.json"].source, found["splits.json"].licence) == ("seukgcode/MEL-GHMFC", "")
        texts = found["Wikidata-MEL.json"]
        assert (texts.source, texts.licence) == ("seukgcode/MELBench", "MIT")

    def test_every_kind_of_bad_row_is_rejected_with_its_reason(self, tmp_path):
        good = {"id": "11", "sentence": "Roe", "mentions": ["Roe"], "entities": ["Ada Roe"], "answer": [ROE]}
        bad = {
            "1": {**good, "sentence": " "},
            "2": {key: value for key, value in good.items() if key != "answer"},
            "3": {**good, "mentions": ["Roe", "Lane"]},
            "4": {**good, "sentence": 5},
            "5": [good],
            "6": {**good, "mentions": [], "entities": [], "answer": []},
            "7": {**good, "mentions": ["Roe", 7], "entities": ["", ""], "answer": [ROE, ROE]},
            "8": {**good, "mentions": [" "], "entities": [" "]},
            "9": {**good, "answer": [["Q1"]]},
            "10": {**good, "sentence": "half \ud83d"},
            "77": good,
        }
        text = json.dumps({"11": good, **bad})[:-1] + f', "11": {json.dumps({**good, "mentions": ["a", "b"]})}, '
        text += '"13": {"sentence": "a", "sentence": "b"}}'
        splits = {"train": ["11", *(str(number) for number in range(1, 14))]}
        release = read_release("wikimel", [wikimel(tmp_path, text, splits__json=splits)])
        assert [mention.id for mention in release.mentions] == ["11-0", "7-0"]
        assert reasons(release) == {
            "1": "'sentence' is blank",
            "2": "it has no 'answer'",
            "3-0": "'mentions', 'answer' and 'entities' differ in length: 2, 1, 1",
            "3-1": "'mentions', 'answer' and 'entities' differ in length: 2, 1, 1",
            "4": "'sentence' is a number, not a string",
            "5": "it is a list, not an object",
            "6": "'mentions' is empty",
            "7-1": "the mention is a number, not a string",
            "8-0": "the mention is blank, and the name of its answer is blank",
            "9-0": "the answer is a list, not a string",
            "10": "'sentence' holds half a character (U+D800-U+DFFF)",
            "77": "it is in no split",
            "11-0": "its key occurs a second time; the first row was kept",
            "11-1": "its key occurs a second time; the first row was kept",
            "13": "one of its keys occurs twice",
        }

    def test_an_id_in_several_splits_goes_to_the_last(self, tmp_path):
        splits = {"train": ["11", "12"], "dev": ["12"]}
        release = read_release("wikimel", [wikimel(tmp_path, splits__json=splits)])
        assert [mention.split for mention in release.mentions] == ["train", "train", "validation"]
        assert "Sentence ids in several splits, which went to the last one: 1 (12)." in release.notes

    @pytest.mark.parametrize("splits", [{"train": ["11"], "all": ["12"]}, {"dev": ["11"], "val": ["12"]}])
    def test_unknown_or_repeated_splits_are_refused(self, tmp_path, splits):
        with pytest.raises(ValueError, match=r"splits.json, key '(all|val)': expected a list of ids for each of train"):
            read_release("wikimel", [wikimel(tmp_path, splits__json=splits)])

    def test_entities_are_rejected_with_their_reason(self, tmp_path):
        names = json.dumps({**NAMES, "Q7": " ", "Q8": "Di", "Q9": 4})[:-1] + f', "{ROE}": "Else"}}'
        texts = {**TEXTS, "Q8": ["x"], "Q55": "nobody's"}
        release = read_release("wikimel", [wikimel(tmp_path, qid2ne__json=names, qid2abs__json=texts)])
        assert reasons(release, "entity") == {
            "Q7": "its name is blank",
            "Q8": "its description is a list, not a string",
            "Q9": "its name is a number, not a string",
            ROE: "its id occurs a second time; the first was kept",
        }
        assert [entity.name for entity in release.entities] == list(NAMES.values())
        assert "Descriptions of qid2abs.json that belong to no entity of qid2ne.json: 1." in release.notes

    def test_nil_and_answers_without_entity(self, tmp_path):
        sentence = {"sentence": "A and B and C and D and E", "mentions": list("ABCDE"), "entities": list("ABCDE")}
        release = read_release(
            "wikimel", [wikimel(tmp_path, {"11": {"id": "11", **sentence, "answer": [ROE, "nil", None, "Q999", LANE]}})]
        )
        assert [mention.entity_id for mention in release.mentions] == [ROE, "", "", "", LANE]
        assert "Mentions that are NIL in the release: 2." in release.notes
        assert "Mentions made NIL, because their answers have no entity: 1 (Q999)." in release.notes

    def test_richpedia_gets_new_ids_and_disjoint_splits(self, tmp_path):
        people = [f"Q{number}" for number in range(1, 41)]
        texts = {
            qid: {"id": qid, "sentence": f"{qid}x was there", "mentions": f"{qid}x", "entities": "a", "answer": qid}
            for qid in people
        }
        names = dict.fromkeys(people, "Somebody")
        files = {"Richpedia-MEL__json": texts, "qid2ne__json": names, "qid2abs__json": names}
        write(tmp_path, **files, qid2abs_long__json=dict.fromkeys(people, "longer"))
        release = read_release("richpediamel", [tmp_path])
        assert [mention.id for mention in release.mentions] == [f"m{number:02}" for number in range(1, 41)]
        order = [mention.entity_id for mention in release.mentions]
        assert sorted(order) == sorted(people)
        assert order != people
        assert [mention.image_id[1:] for mention in release.mentions] != [
            mention.id[1:] for mention in release.mentions
        ]
        for mention in release.mentions:
            assert mention.image == f"{mention.entity_id}.jpg"
            assert mention.entity_id not in (mention.id, mention.image_id)
        counts = [
            sum(mention.split == split for mention in release.mentions) for split in ("train", "validation", "test")
        ]
        assert counts == [32, 4, 4]
        assert {entity.description for entity in release.entities} == {"longer"}
        assert rows(read_release("richpediamel", [tmp_path], seed=1), "entity_id") != rows(release, "entity_id")
        shuffled = dict(reversed(list(texts.items())))
        write(tmp_path, **{"Richpedia-MEL__json": shuffled})
        assert rows(read_release("richpediamel", [tmp_path]), "id", "entity_id", "split", "image_id") == rows(
            release, "id", "entity_id", "split", "image_id"
        )

    def test_a_blank_mention_gets_the_name_of_its_answer(self, tmp_path):
        row = {"id": ROE, "sentence": "She, Ada, left", "mentions": "\n\n", "entities": "Ada Roe", "answer": ROE}
        write(tmp_path, **{"Richpedia-MEL__json": {ROE: row}, "qid2ne__json": NAMES, "qid2abs__json": TEXTS})
        release = read_release("richpediamel", [tmp_path])
        assert rows(release, "mention", "start", "end") == [("Ada Roe", 5, 8)]
        assert "Mentions that are blank in the release and got the name of their answer: 1." in release.notes


class TestGHMFC:
    @staticmethod
    def row(qid: str, **more: Any) -> dict[str, Any]:
        return {"sentence": f"{NAMES[qid]} was there", "mentions": NAMES[qid], "answer": qid, **more}

    def write(self, folder: Path, **texts: Any) -> Path:
        return write(folder, qid2ne__json=NAMES, qid2abs__json=TEXTS, **texts)

    def test_one_file_a_split(self, tmp_path):
        train = {"1": self.row(ROE, imgPath="raw_data/imgs/1.jpg"), "2": self.row(LANE)}
        self.write(
            tmp_path, train__json=train, dev__json={"1": self.row(FEN, imgPath="")}, test__json={"5": self.row(ROE)}
        )
        release = read_release("wikimel", [tmp_path])
        assert release.layout == "ghmfc"
        assert rows(release, "id", "split", "entity_id", "image") == [
            ("train-1-0", "train", ROE, "raw_data/imgs/1.jpg"),
            ("train-2-0", "train", LANE, "2.jpg"),
            ("validation-1-0", "validation", FEN, ""),
            ("test-5-0", "test", ROE, "5.jpg"),
        ]
        assert release.mentions[2].image_id == ""

    def test_dim_has_lists_of_pictures(self, tmp_path):
        rows_in = {
            "1": self.row(ROE),
            "2": self.row(LANE, img_list=["a.png", "b.jpg"]),
            "3": self.row(FEN, img_list=[]),
            "4": self.row(FEN, img_list="c.jpg"),
            "5": self.row(FEN, img_list=[3]),
        }
        release = read_release("wikimel", [self.write(tmp_path, train__json=rows_in)])
        assert release.layout == "dim"
        assert rows(release, "image") == [("1.jpg",), ("a.png",), ("",)]
        assert "Sentences that name several pictures, of which the first was taken: 1." in release.notes
        assert reasons(release) == {
            "4": "'img_list' is a string, not a list",
            "5": "a name in 'img_list' is a number, not a string",
        }
        assert release.sources[0].source == "season1blue/DIM"
        assert {source.source for source in release.sources[1:]} == {"seukgcode/MEL-GHMFC"}

    def test_a_missing_validation_split_is_made_of_train(self, tmp_path):
        people = {f"Q{number}": f"Person {number}" for number in range(30)}
        train = {key: {"sentence": name, "mentions": name, "answer": key} for key, name in people.items()}
        test = {"Q0": train.pop("Q0")}
        write(tmp_path, qid2ne__json=people, qid2abs__json={"Q0": "x"}, train__json=train, test__json=test)
        release = read_release("richpediamel", [tmp_path])
        splits = {mention.entity_id: mention.split for mention in release.mentions}
        assert splits["Q0"] == "test"
        assert list(splits.values()).count("validation") == 2
        assert list(splits.values()).count("train") == 27
        made = (
            "The release has no validation: each got one tenth of train's entities, with all their mentions (seed 0)."
        )
        assert made in release.notes


class TestPeek:
    @pytest.mark.parametrize(
        ("text", "shape"),
        [
            ('{"a": {"b": 1}, "c": oops', Shape("object", "a", {"b": 1})),
            ("\ufeff [ [1, 2], 3]", Shape("array", "row 0", [1, 2])),
            ("{}", Shape("empty list or object")),
            ("[]", Shape("empty list or object")),
            (" \n", Shape("empty file")),
            ('"text"', Shape("single value")),
        ],
    )
    def test_the_beginning_is_enough(self, tmp_path, text, shape):
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        assert peek(tmp_path / "a.json") == shape

    @pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 5, 1 << 18])
    def test_a_long_first_value_is_read_to_its_end(self, tmp_path, size):
        (tmp_path / "a.json").write_text(json.dumps({"key": {"text": "x" * size}, "b": 0}))
        assert len(peek(tmp_path / "a.json").value["text"]) == size

    @pytest.mark.parametrize("content", [b"{oops", b'["a', b"\xff\xfe{}", b'{"a"', b"[" * 100_000])
    def test_what_is_no_json_says_so(self, tmp_path, content):
        (tmp_path / "a.json").write_bytes(content)
        assert peek(tmp_path / "a.json").top.startswith("not valid JSON (")
