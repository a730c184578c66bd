"""The layouts of MIMIC, WikiDiverse, KGMEL and of a user's own data; the files are written from their documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dim.corpora.read import read_release
from dim.corpora.release import Entity, Release


def write(folder: Path, name: str, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def rows(release: Release, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(mention, field) for field in fields) for mention in release.mentions]


def reasons(release: Release, kind: str = "mention") -> dict[str, str]:
    assert release.rows_in == len(release.mentions) + sum(row.kind == "mention" for row in release.rejected)
    return {f"{row.file} {row.key}": row.reason for row in release.rejected if row.kind == kind}


class TestMIMIC:
    KB = (
        {
            "id": 0,
            "qid": "Q1",
            "entity_name": "Ada%20Roe",
            "attr": "Sex: female.",
            "image_list": ["Q1_0.jpg"],
            "type": "entity",
        },
        {"id": 1, "qid": "Q2", "entity_name": "100% Lane", "attr": "", "image_list": [], "type": "entity"},
        {"id": 2, "qid": "Q2", "entity_name": "again", "attr": "", "image_list": []},
        {"id": 3, "qid": "Q4", "attr": ""},
        {"id": 4, "qid": "Q5", "entity_name": "Di", "image_list": "a.jpg"},
        [],
    )

    @staticmethod
    def mention(answer: Any, text: str = "Ada%20Roe", **more: Any) -> dict[str, Any]:
        row = {"id": "7", "sentence": "Ada Roe left", "mentions": text, "entities": "x", "answer": answer, "type": "t"}
        return {**row, "imgPath": "a/St. Ives.png", **more}

    def test_names_are_unquoted_and_nil_is_nil(self, tmp_path):
        write(tmp_path, "kb_entity.json", self.KB)
        write(tmp_path, "qid2id.json", {"Q1": 0, "Q2": 1, "Q8": 1})
        train = [
            self.mention("Q1"),
            self.mention("nil", imgPath=""),
            self.mention("Q8"),
            [],
            self.mention("Q1", mentions=3),
        ]
        write(tmp_path, "WIKIMEL_train.json", train)
        write(tmp_path, "WIKIMEL_dev.json", [self.mention("Q2", "100% left", sentence="100% left")])
        release = read_release("wikimel", [tmp_path])
        assert release.layout == "mimic"
        assert rows(release, "id", "mention", "split", "entity_id", "start", "image", "image_keys") == [
            ("train-0-0", "Ada Roe", "train", "Q1", 0, "a/St. Ives.png", ("St",)),
            ("train-1-0", "Ada Roe", "train", "", 0, "", ()),
            ("train-2-0", "Ada Roe", "train", "Q2", 0, "a/St. Ives.png", ("St",)),
            ("validation-0-0", "100% left", "validation", "Q2", 0, "a/St. Ives.png", ("St",)),
        ]
        assert release.entities == [
            Entity("Q1", "Ada Roe", "Sex: female.", images=["Q1_0.jpg"]),
            Entity("Q2", "100% Lane"),
        ]
        assert reasons(release) == {
            "WIKIMEL_train.json 3": "it is a list, not an object",
            "WIKIMEL_train.json 4": "'mentions' is a number, not a string",
        }
        assert reasons(release, "entity") == {
            "kb_entity.json row 2": "the qid Q2 occurs a second time; the first was kept",
            "kb_entity.json row 3": "it has no 'entity_name'",
            "kb_entity.json row 4": "'image_list' is a string, not a list",
            "kb_entity.json row 5": "it is a list, not an object",
        }
        assert "Mentions that are NIL in the release: 1." in release.notes


PAGE = "https://en.wikipedia.org/wiki/"
URL = "https://upload.example.org/a/ab/Roe_%26_Lane.svg"


class TestWikiDiverse:
    SENTENCES = (
        ["Roe met Lane.", URL, "sports", [["Roe", "Person", 0, 3, PAGE + "Ada_Roe"], ["Lane", "Person", 9, 13, "nil"]]],
        ["Roe left.", "", "", [["Roe", "", 0, 3, "h" + PAGE + "Caf%C3%A9#History"], ["left", "", 4, 8, "nowhere"]]],
        ["Nobody.", URL, "sports", []],
        ["Roe.", URL, "sports", [["Roe", "Person", 0, 3]]],
        ["Roe."],
        ["Lane.", URL, None, [["Lane", None, 0, 4, "https://fr.m.wikipedia.org/wiki/Ben_Lane"]]],
    )

    def test_sentences(self, tmp_path):
        write(tmp_path, "train.json", self.SENTENCES)
        write(tmp_path, "valid.json", self.SENTENCES[:1])
        release = read_release("wikidiverse", [tmp_path])
        assert release.layout == "wikidiverse"
        assert rows(release, "id", "split", "entity_id", "start", "end", "entity_type", "topic") == [
            ("train-0-0", "train", "Ada_Roe", 0, 3, "Person", "sports"),
            ("train-0-1", "train", "", 8, 12, "Person", "sports"),
            ("train-1-0", "train", "Café", 0, 3, "", ""),
            ("train-5-0", "train", "fr:Ben_Lane", 0, 4, "", ""),
            ("validation-0-0", "validation", "Ada_Roe", 0, 3, "Person", "sports"),
            ("validation-0-1", "validation", "", 8, 12, "Person", "sports"),
        ]
        assert release.mentions[0].image == URL
        assert release.mentions[0].image_id == release.mentions[4].image_id
        assert release.mentions[2].image_id == ""
        assert release.entities == [
            Entity("Ada_Roe", "Ada Roe"),
            Entity("Café", "Café"),
            Entity("fr:Ben_Lane", "fr:Ben Lane"),
        ]
        assert release.offsets == {"given": 4, "verbatim": 2}
        assert "Mentions not at their published offsets, searched in the sentence instead: 2." in release.notes
        assert reasons(release) == {
            "train.json 1-1": "'nowhere' is not a page of Wikipedia",
            "train.json 2": "it has no list of mentions",
            "train.json 3-0": "it is not a list of mention, type, start, end and url",
            "train.json 4": "it is not like WikiDiverse's sentences",
        }

    def test_mentions_with_candidates(self, tmp_path):
        row = ["Roe left.", URL, "Roe", "Person", "", " left.", PAGE + "Ada_Roe", [PAGE + "Roe_(fish)"], "sports", 0, 3]
        write(tmp_path, "train_w_10cands.json", [row, row[:5], [*row[:7], "x", *row[8:]]])
        release = read_release("wikidiverse", [tmp_path])
        assert rows(release, "id", "entity_id", "start") == [("train-0", "Ada_Roe", 0)]
        assert [entity.name for entity in release.entities] == ["Ada Roe", "Roe (fish)"]
        assert reasons(release) == {
            "train_w_10cands.json 1": "it is not like WikiDiverse's mentions with candidates",
            "train_w_10cands.json 2": "'x' is not a page of Wikipedia",
        }
        write(tmp_path, "train.json", self.SENTENCES)
        with pytest.raises(ValueError, match="as sentences and as mentions with candidates: give --raw one"):
            read_release("wikidiverse", [tmp_path])


class TestKGMEL:
    @staticmethod
    def row(number: int, answer: str, name: str, path: str, url: str | None = None) -> dict[str, Any]:
        row = {"id": number, "sentence": f"{name} left", "imgPath": path, "mention": [name], "entity": [name]}
        return {**row, "answer": [answer], **({"img-url": url} if url else {})}

    def test_knowledge_base_splits_and_lost_pictures(self, tmp_path):
        texts = [
            self.row(0, "Q1", "Roe", "mention_0.jpg", "https://a.example/1.jpg"),
            self.row(1, "Q1", "Ada Roe", "mention_1.jpg", "https://a.example/1.jpg"),
            self.row(2, "Q2", "Lane", "lost.jpg", "https://a.example/2.jpg"),
            self.row(3, "Q2", "Lane", "lost.jpg", "https://a.example/3.jpg"),
            self.row(4, "Q2", "Lane", "lost.jpg"),
            self.row(5, "Q3", "Fen", "mention_5.jpg"),
            self.row(5, "Q3", "Fen", "mention_5.jpg"),
            {key: value for key, value in self.row(6, "Q4", "Di", "").items() if key != "id"},
            {key: value for key, value in self.row(7, "Q4", "Di", "").items() if key != "answer"},
            self.row(8, "Q4", "Di", 8),
        ]
        splits = {"WikiMEL": {"train": [5]}, "WikiDiverse": {"train": [0, 1, 2, 3, 4, 7, 8, 9], "val": [1, 5]}}
        write(write(tmp_path, "WikiDiverse.json", texts), "ids_split_mappings.json", splits)
        release = read_release("wikidiverse", [tmp_path])
        assert release.layout == "kgmel"
        assert rows(release, "id", "split", "image", "image_keys") == [
            ("0-0", "train", "https://a.example/1.jpg", ("mention_0.jpg",)),
            ("1-0", "validation", "https://a.example/1.jpg", ("mention_1.jpg",)),
            ("2-0", "train", "https://a.example/2.jpg", ()),
            ("3-0", "train", "https://a.example/3.jpg", ()),
            ("4-0", "train", "", ()),
            ("5-0", "validation", "mention_5.jpg", ()),
        ]
        pictures = [mention.image_id for mention in release.mentions]
        assert pictures[0] == pictures[1] != pictures[2] != pictures[3]
        assert pictures[4] == ""
        assert release.entities == [Entity("Q1", "Roe", aliases=["Ada Roe"]), Entity("Q2", "Lane"), Entity("Q3", "Fen")]
        assert reasons(release) == {
            "WikiDiverse.json row 6": "the id '5' occurs a second time; the first row was kept",
            "WikiDiverse.json row 7": "it has no id",
            "WikiDiverse.json 7": "it has no 'answer'",
            "WikiDiverse.json 8": "'imgPath' is a number, not a string",
        }
        assert "lost.jpg is a placeholder for lost pictures: sentences left without a picture: 1." in release.notes
        assert {source.licence for source in release.sources} == {"CC BY-SA 4.0"}

    def test_splits_of_another_dataset_are_refused(self, tmp_path):
        write(tmp_path, "WikiDiverse.json", [self.row(0, "Q1", "Roe", "")])
        write(tmp_path, "ids_split_mappings.json", {"WikiMEL": {"train": [0]}})
        with pytest.raises(ValueError, match="ids_split_mappings.json has no splits of WikiDiverse; it has 'WikiMEL'"):
            read_release("wikidiverse", [tmp_path])


class TestOwnData:
    GOOD = {"id": "m1", "sentence": "Ada left", "mention": "Ada", "split": "train", "entity_id": "e1"}
    ENTITY = {"id": "e1", "name": "Ada Roe"}

    def read(self, folder: Path, mentions: list[Any], entities: list[Any]) -> Release:
        for name, lines in (("mentions.jsonl", mentions), ("entities.jsonl", entities)):
            text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
            write(folder, name, text + "\n")
        return read_release("mine", [folder])

    def test_all_keys(self, tmp_path):
        whole = {**self.GOOD, "id": "m2", "split": "dev", "start": 0, "end": 3, "image": "a.jpg", "image_id": "x"}
        whole |= {"entity_type": "person", "topic": "news", "expert_answer": None, "expert_model": ""}
        nil = {**self.GOOD, "id": "m3", "entity_id": None, "start": -1, "end": -1, "image": "a.jpg"}
        entity = {**self.ENTITY, "aliases": ["A."], "description": "doctor", "images": ["b.jpg"], "type": "person"}
        release = self.read(tmp_path, [self.GOOD, "", whole, nil], [{**entity, "description_source": None}])
        assert rows(release, "id", "split", "entity_id", "start", "end", "image") == [
            ("m1", "train", "e1", 0, 3, ""),
            ("m2", "validation", "e1", 0, 3, "a.jpg"),
            ("m3", "train", "", 0, 3, "a.jpg"),
        ]
        assert (release.mentions[1].entity_type, release.mentions[1].topic) == ("person", "news")
        assert release.offsets == {"given": 1, "verbatim": 2}
        assert release.entities == [Entity("e1", "Ada Roe", "doctor", ["A."], ["b.jpg"], "person")]
        assert reasons(release) == {}

    def test_bad_lines_are_rejected_with_their_number(self, tmp_path):
        bad = [
            {**self.GOOD, "id": "a", "colour": "red"},
            {key: value for key, value in self.GOOD.items() if key != "entity_id"},
            {**self.GOOD, "id": "b", "split": "all"},
            {**self.GOOD, "id": "c", "start": 1, "end": 4},
            {**self.GOOD, "id": "d", "start": 0},
            {**self.GOOD, "id": "e", "expert_answer": "a doctor"},
            "{oops",
            "[1]",
            self.GOOD,
            '{"id": "f", "id": "g"}',
            {**self.GOOD, "id": "h", "image": {"path": "a.jpg"}},
            {**self.GOOD, "id": "i", "start": True, "end": 3},
        ]
        entities = [self.ENTITY, self.ENTITY, {"id": "e2"}, {"id": "e3", "name": "B", "aliases": "C"}]
        release = self.read(tmp_path, [self.GOOD, *bad], entities)
        found = reasons(release)
        known = "end, entity_id, entity_type, id, image, image_id, image_license, mention, region, sentence, split"
        known += ", start, topic"
        assert found.pop("mentions.jsonl line 8").startswith("not valid JSON (")
        assert found == {
            "mentions.jsonl line 2": f"it has the unknown key 'colour'; there are {known}",
            "mentions.jsonl line 3": "it has no 'entity_id' (\"\" for NIL)",
            "mentions.jsonl line 4": "the split 'all' is none of train, validation (dev, val) and test",
            "mentions.jsonl line 5": "'start' 1 and 'end' 4 do not give the mention 'Ada'",
            "mentions.jsonl line 6": "'start' and 'end' must both be whole numbers",
            "mentions.jsonl line 7": "'expert_answer' is written by a later step: leave it out",
            "mentions.jsonl line 9": "not a JSON object but a list",
            "mentions.jsonl line 10": "the id 'm1' occurs a second time; the first row was kept",
            "mentions.jsonl line 11": "the key 'id' occurs twice",
            "mentions.jsonl line 12": "'image' is an object, not a string",
            "mentions.jsonl line 13": "'start' and 'end' must both be whole numbers",
        }
        assert reasons(release, "entity") == {
            "entities.jsonl line 2": "the id 'e1' occurs a second time; the first row was kept",
            "entities.jsonl line 3": "it has no 'name'",
            "entities.jsonl line 4": "'aliases' is a string, not a list",
        }

    def test_ids_that_tell_are_told_and_kept(self, tmp_path):
        release = self.read(tmp_path, [{**self.GOOD, "id": "e1-0"}], [self.ENTITY])
        assert release.mentions[0].id == "e1-0"
        assert "Ids of mentions that hold the id of their answer: 1 (e1-0). Rename them." in release.notes
