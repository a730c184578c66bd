"""`read_release` finds the files, picks the layout or says why it cannot, and accounts for every row."""

from __future__ import annotations

import copy
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dim.corpora.read import read_release
from dim.corpora.readers.registry import KINDS, LAYOUTS

ROW = {"id": "1", "sentence": "Ada Roe left", "mentions": ["Ada Roe"], "entities": ["Ada Roe"], "answer": ["Q1"]}
KB = {"qid2ne.json": {"Q1": "Ada Roe"}, "qid2abs.json": {"Q1": "Sex: female."}}
PLAIN = {"id": "Q1", "sentence": "Ada Roe left", "mentions": "Ada Roe", "entities": "Ada Roe", "answer": "Q1"}
URL = "https://a.example/b.jpg"
PAGE = "https://en.wikipedia.org/wiki/Ada_Roe"
RELEASES: dict[tuple[str, str], dict[str, Any]] = {
    ("wikimel", "melbench"): {"Wikidata-MEL.json": {"1": ROW}, "splits.json": {"train": ["1"]}, **KB},
    ("richpediamel", "melbench"): {"Richpedia-MEL.json": {"Q1": PLAIN}, **KB},
    ("wikimel", "ghmfc"): {"train.json": {"1": {**ROW, "imgPath": "a.jpg"}}, **KB},
    ("wikimel", "dim"): {"train.json": {"1": {**ROW, "img_list": ["a.jpg"]}}, **KB},
    ("wikimel", "mimic"): {
        "WIKIMEL_train.json": [{**PLAIN, "imgPath": "a.jpg"}],
        "kb_entity.json": [{"id": 0, "qid": "Q1", "entity_name": "Ada Roe", "attr": "", "image_list": []}],
        "qid2id.json": {"Q1": 0},
    },
    ("wikidiverse", "kgmel"): {
        "WikiDiverse.json": [
            {"id": 1, "sentence": "Ada", "imgPath": "a.jpg", "mention": ["Ada"], "entity": ["Ada"], "answer": ["Q1"],
             "img-url": URL}
        ],
        "ids_split_mappings.json": {"WikiDiverse": {"train": [1]}},
    },
    ("wikidiverse", "wikidiverse"): {"train.json": [["Ada left", URL, "news", [["Ada", "Person", 0, 3, PAGE]]]]},
    ("melart", "melart"): {
        "melart_annotations.json": {
            "Q5": {"split": "train", "img_url": URL, "P180": {"wd/Q1": "Ada Roe"}, "visual_sentences": ["Ada left"],
                   "visual_el_matches": [[{"qid": "wd/Q1", "text": "Ada", "start": 0, "end": 3}]],
                   "contextual_sentences": [], "contextual_el_matches": []}
        },
        "curated_annotations.json": {
            "Q5": [{"text": "Ada left", "sentence_type": "visual",
                    "entities": [{"qid": "Q1", "text": "Ada", "start": 0, "end": 3}]}]
        },
        "kb_entity_desc.json": [{"qid": "Q1", "entity_name": "Ada Roe", "desc": "", "image_list": []}],
    },
    ("mine", "jsonl"): {
        "mentions.jsonl": {"id": "m", "sentence": "Ada left", "mention": "Ada", "split": "train", "entity_id": "e"},
        "entities.jsonl": {"id": "e", "name": "Ada"},
    },
}  # fmt: skip


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("dataset", "layout"), RELEASES)
def test_each_layout_is_recognised(tmp_path, dataset, layout):
    write(tmp_path, RELEASES[dataset, layout])
    release = read_release(dataset, [tmp_path])
    assert release.layout == layout
    assert read_release(dataset, [tmp_path], layout) == release
    assert len(release.mentions) == len(release.entities) == release.rows_in == 1
    if layout != "jsonl":
        assert read_release(f"{dataset}_plus", [tmp_path]) == release


def test_layouts_are_all_there():
    assert set(LAYOUTS) == {layout for _, layout in RELEASES}
    assert {kind for layout in LAYOUTS.values() for kind in layout.kinds} == set(KINDS)
    assert all(set(layout.texts) <= set(layout.kinds) and name in layout.names for name, layout in LAYOUTS.items())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from(["", " ", "x", "Q1", "nil", "\ud800"]),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.sampled_from("ab"), children, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize(("dataset", "layout"), RELEASES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_damage_is_an_error_or_a_rejected_row(dataset, layout, data):
    """Some value of a release, at any depth, becomes something else."""
    files = copy.deepcopy(RELEASES[dataset, layout])
    name = data.draw(st.sampled_from(sorted(files)))
    holder: Any = files
    key: Any = name
    while isinstance(holder[key], dict | list) and holder[key] and (key == name or data.draw(st.booleans())):
        holder = holder[key]
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[key] = data.draw(JSON)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files)
        try:
            release = read_release(dataset, [Path(folder)])
        except ValueError as error:
            message = str(error)
            release = None
    if release is None:
        assert "\n" not in message
        return
    assert release.rows_in == len(release.mentions) + sum(row.kind == "mention" for row in release.rejected)
    known = {entity.id for entity in release.entities}
    for mention in release.mentions:
        assert mention.entity_id in known | {""}
        assert mention.sentence.strip()
        assert mention.mention.strip()
        mention.sentence.encode()


class TestFiles:
    def test_one_folder_may_hold_all_datasets(self, tmp_path):
        write(tmp_path / "ghmfc" / "WikiMEL", {**KB, "splits.json": {"train": ["1"]}})
        write(tmp_path / "ghmfc" / "Richpedia-MEL", {"qid2ne.json": {"Q1": "Else"}, "qid2abs.json": {}})
        write(tmp_path / "texts", {"Wikidata-MEL.json": {"1": ROW}, "Richpedia-MEL.json": {"Q1": PLAIN}})
        assert read_release("wikimel", [tmp_path]).entities[0].name == "Ada Roe"
        with pytest.raises(ValueError, match="no description|short descriptions .* missing"):
            read_release("richpediamel", [tmp_path])

    def test_the_nearest_name_of_a_dataset_counts(self, tmp_path):
        write(tmp_path / "richpedia-and-more" / "wikimel", RELEASES["wikimel", "melbench"])
        assert read_release("wikimel", [tmp_path]).layout == "melbench"
        with pytest.raises(ValueError, match=re.escape("No layout fits richpediamel: give its files with --raw")):
            read_release("richpediamel", [tmp_path])

    def test_single_files_may_be_given(self, tmp_path):
        write(tmp_path, RELEASES["wikimel", "melbench"])
        assert len(read_release("wikimel", sorted(tmp_path.iterdir())).mentions) == 1

    def test_folders_of_pictures_and_hidden_ones_are_not_searched(self, tmp_path):
        write(tmp_path, RELEASES["wikimel", "melbench"])
        for name in ("images", "mention_image", "imgs", ".git", "Pictures"):
            write(tmp_path / name, {"qid2ne.json": {"Q1": "Other"}})
        assert read_release("wikimel", [tmp_path]).entities[0].name == "Ada Roe"

    def test_links_to_folders_are_followed_once(self, tmp_path):
        write(tmp_path / "elsewhere", RELEASES["wikimel", "melbench"])
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "raw")
        assert len(read_release("wikimel", [tmp_path / "raw"]).sources) == 4

    def test_copies_count_once_and_different_files_are_an_error(self, tmp_path):
        write(tmp_path, RELEASES["wikimel", "melbench"])
        shutil.copytree(tmp_path, tmp_path / "copy")
        assert len(read_release("wikimel", [tmp_path, tmp_path / "copy"]).sources) == 4
        write(tmp_path / "copy", {"qid2ne.json": {"Q1": "Other"}})
        with pytest.raises(ValueError, match="are different files of GHMFC's names: give --raw only the folder"):
            read_release("wikimel", [tmp_path])

    def test_two_files_of_a_split_are_an_error(self, tmp_path):
        write(
            tmp_path, {**RELEASES["wikimel", "mimic"], "WIKIMEL_dev.json": [PLAIN], "other_valid.json": [PLAIN, PLAIN]}
        )
        with pytest.raises(ValueError, match="are different files of MIMIC's mentions, split validation"):
            read_release("wikimel", [tmp_path])

    def test_what_is_not_known_is_told(self, tmp_path):
        unknown = {
            "notes.json": {"a": True},
            "texts.json": {"1": ROW},
            "kb_entity.json": {"a": "b"},
            "broken.json": "{",
        }
        write(tmp_path, {**RELEASES["wikimel", "melbench"], **unknown})
        release = read_release("wikimel", [tmp_path])
        found = {(row.file, row.key, row.kind): row.reason for row in release.rejected}
        assert found.pop(("broken.json", "-", "file")).startswith("no reader knows it: not valid JSON (")
        assert found == {
            (
                "kb_entity.json",
                "a",
                "file",
            ): "named like MIMIC's entities, but its content differs: object that begins with a string",
            ("notes.json", "a", "file"): "no reader knows it: object that begins with a boolean",
            ("texts.json", "1", "file"): "looks like MELBench's WikiMEL texts, which are called Wikidata-MEL.json",
        }
        note = next(note for note in release.notes if "no reader knows them" in note)
        assert all(name in note for name in unknown)


class TestLayout:
    def test_nothing_that_fits(self, tmp_path):
        write(tmp_path, {**KB, "train.json": {"1": [2]}})
        with pytest.raises(ValueError, match="No layout fits wikimel") as caught:
            read_release("wikimel", [tmp_path])
        message = str(caught.value)
        assert "one of melbench, ghmfc, dim, mimic, jsonl as --layout" in message
        assert "qid2ne.json (GHMFC's names)" in message
        unlike = "named like GHMFC's or DIM's texts, but its content differs: object that begins with a list"
        assert f"train.json, key '1' ({unlike}" in message

    def test_more_than_one_that_fits(self, tmp_path):
        write(tmp_path, {**RELEASES["wikimel", "melbench"], "train.json": {"1": ROW}})
        with pytest.raises(
            ValueError, match="Layouts melbench and ghmfc fit wikimel: .* one of melbench, ghmfc as --layout"
        ):
            read_release("wikimel", [tmp_path])
        assert read_release("wikimel", [tmp_path], "ghmfc").layout == "ghmfc"

    def test_of_two_richpedias_melbench_is_taken_and_told(self, tmp_path):
        other = {**PLAIN, "sentence": "Then Ada Roe left"}
        write(tmp_path, {**RELEASES["richpediamel", "melbench"], "train.json": {"Q1": other}})
        release = read_release("richpediamel", [tmp_path])
        assert release.mentions[0].sentence == "Ada Roe left"
        assert release.notes[0].startswith("The Richpedias of MELBench and GHMFC are both there")
        assert read_release("richpediamel", [tmp_path], "ghmfc").mentions[0].sentence == "Then Ada Roe left"

    @pytest.mark.parametrize("missing", ["splits.json", "qid2ne.json", "qid2abs.json"])
    def test_a_file_that_is_missing_is_named(self, tmp_path, missing):
        write(tmp_path, {name: content for name, content in RELEASES["wikimel", "melbench"].items() if name != missing})
        with pytest.raises(
            ValueError, match=rf"\({missing}\) are missing: give their folder with --raw. Found: Wikidata"
        ):
            read_release("wikimel", [tmp_path])

    @pytest.mark.parametrize(
        ("dataset", "layout", "message"),
        [
            ("wikimel", "csv", "There is no layout 'csv'; there are auto, melbench"),
            (
                "mine",
                "melbench",
                "The layout melbench has wikimel, richpediamel, not 'mine'; data of your own has the layout jsonl",
            ),
            ("mine", "auto", "No layout fits mine: give its files with --raw, or one of jsonl as --layout"),
            ("wikidiverse", "melbench", "The layout melbench has wikimel, richpediamel, not 'wikidiverse'"),
        ],
    )
    def test_what_cannot_be(self, tmp_path, dataset, layout, message):
        write(tmp_path, RELEASES["wikimel", "melbench"])
        with pytest.raises(ValueError, match=message):
            read_release(dataset, [tmp_path], layout)

    def test_paths(self, tmp_path):
        with pytest.raises(ValueError, match="There is no file or folder .*nowhere"):
            read_release("wikimel", [tmp_path / "nowhere"])
        with pytest.raises(ValueError, match="There is no .json or .jsonl file under"):
            read_release("wikimel", [tmp_path])


def test_a_knowledge_base_of_another_release_is_an_error(tmp_path):
    write(tmp_path, {**RELEASES["wikimel", "melbench"], "qid2ne.json": {"Q9": "Else"}})
    with pytest.raises(
        ValueError, match=r"lacks the answers of 1 of 1 mentions \(the first: 'Q1'\): it is another release's"
    ):
        read_release("wikimel", [tmp_path])


def test_nothing_left_is_an_error(tmp_path):
    write(tmp_path, {**RELEASES["wikimel", "melbench"], "splits.json": {"dev": ["2"]}})
    with pytest.raises(ValueError, match="No mention is left of 1; the first: Wikidata-MEL.json, 1: it is in no split"):
        read_release("wikimel", [tmp_path])
