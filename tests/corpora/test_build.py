"""`dim build`: a raw release becomes a folder that `load_dataset` reads, always the same bytes, whole or not there."""

import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import IterableDataset, get_dataset_config_names, load_dataset
from markdown_it import MarkdownIt
from PIL import Image
from raw_release import PEOPLE, PROVENANCE, SENTENCES, python, write_pictures, write_release

from dim.common.cards import read_card
from dim.corpora.build.corpus import Corpus
from dim.corpora.build.dataset import build, summary
from dim.corpora.build.embed import embed
from dim.corpora.build.facts import recalls
from dim.corpora.loading import load_candidates, load_entities, load_mentions
from dim.corpora.release import Mention, Release
from dim.corpora.schema import CONFIGS, FEATURES, MANIFEST

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def raw(tmp_path) -> Path:
    return write_release(tmp_path / "raw")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A build with pictures; read only."""
    folder = tmp_path_factory.mktemp("built")
    images = write_pictures(folder / "images")
    return build("wikimel", [write_release(folder / "raw")], folder / "wikimel", images=[images]).folder


def files_of(folder: Path) -> dict[str, str]:
    """Checksum of each file, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


# ------------------------------------------------------------------------------------------------------------- content


def test_mentions(built, tmp_path):
    rows = load_dataset(str(built), "mentions", cache_dir=str(tmp_path))
    assert {split: len(part) for split, part in rows.items()} == {"train": 5, "validation": 3}
    assert rows["train"].features == FEATURES["mentions"]
    for part in rows.values():
        for row in part:
            assert row["start"] == -1 or row["sentence"][row["start"] : row["end"]]
            assert (row["expert_answer"], row["expert_model"], row["expert_prompt"]) == ("", "", "")
    found = {(row["mention"], row["entity_id"]): row for part in rows.values() for row in part}
    assert set(found) == {pair for _, _, pairs in SENTENCES.values() for pair in pairs}
    holt = found["Mira Holt", "Q11"]
    assert (holt["start"], holt["end"]) == (0, 9)
    assert found["Holt", "Q13"]["start"] == -1
    assert found["José", "Q14"]["sentence"][slice(found["José", "Q14"]["start"], found["José", "Q14"]["end"])] == "Jose"


def test_pictures(built, tmp_path):
    rows = load_dataset(str(built), "mentions", cache_dir=str(tmp_path))
    pictures = {row["mention"]: row["image"] for part in rows.values() for row in part}
    assert {name for name, picture in pictures.items() if picture is not None} == {
        *("Mira Holt", "Tomas", "Vance", "Frey", "Mira")
    }
    assert pictures["Vance"].convert("RGB").getpixel((0, 0)) == (0, 0, 255)
    missing = [json.loads(line) for line in (built / "missing_pictures.jsonl").read_text().splitlines()]
    assert len(missing) == 3
    assert [bool(re.search("damaged|not a picture", entry["reason"])) for entry in missing].count(True) == 1
    assert [entry["reason"] for entry in missing].count("is in none of the folders of pictures") == 2


def test_embedded_bytes_are_those_of_the_file_and_names_are_opaque(built):
    images = built.parent / "images"
    rows = [row for path in built.glob("mentions/*.parquet") for row in pq.read_table(path).to_pylist()]
    cells = {row["mention"]: row["image"] for row in rows if row["image"]}
    assert cells["Mira Holt"]["bytes"] == (images / "7.jpg").read_bytes()
    assert cells["Frey"]["bytes"] == (images / "22.png").read_bytes()
    assert cells["Vance"]["bytes"].startswith(b"\x89PNG")
    for row in rows:
        if row["image"]:
            assert row["image"]["path"].rpartition(".")[0] == row["image_id"]
        assert not re.search(r"Q1\d", row["id"] + row["image_id"])


def test_mentions_of_a_sentence_are_neighbours_and_share_their_picture(built):
    for path in built.glob("mentions/*.parquet"):
        rows = pq.read_table(path).to_pylist()
        sentences = [row["sentence"] for row in rows]
        changes = sum(left != right for left, right in itertools.pairwise(sentences))
        assert changes == len(set(sentences)) - 1
        for row in rows:
            assert len({other["image_id"] for other in rows if other["sentence"] == row["sentence"]}) == 1


def test_pictures_and_sentences_are_brought_together():
    """Whatever the order of the release: mentions of a picture first, among them those of a sentence."""
    rows = ["a1 one p1", "a2 two p2", "a3 one p1", "a4 three p1", "a5 four", "a6 two p2", "a7 four", "a8 one p1"]
    mentions = [Mention(name, sentence, "x", "train", image_id="".join(picture))
                for name, sentence, *picture in map(str.split, rows)]  # fmt: skip
    corpus = Corpus(Release("jsonl", mentions, []))
    assert [mention.id for mention in corpus.mentions["train"]] == ["a1", "a3", "a8", "a4", "a2", "a6", "a5", "a7"]
    assert corpus.splits("mentions") == ["train"]
    assert corpus.splits("entities") == corpus.splits("candidates") == []


def test_entities(built, tmp_path):
    rows = load_dataset(str(built), "entities", split="kb", cache_dir=str(tmp_path))
    assert rows.features == FEATURES["entities"]
    assert {row["id"]: (row["name"], row["description"]) for row in rows} == PEOPLE
    for row in rows:
        assert row["images"] == []
        assert [row[name] for name in (*PROVENANCE, "description_original")] == [None] * 7


def test_candidates(built, tmp_path):
    mentions = load_dataset(str(built), "mentions", split="train", cache_dir=str(tmp_path))
    rows = load_dataset(str(built), "candidates", split="train", cache_dir=str(tmp_path))
    assert rows.features == FEATURES["candidates"]
    assert rows["mention_id"][:] == mentions["id"][:]
    lists = dict(zip(mentions["mention"], rows["entity_ids"], strict=True))
    assert lists["Mira Holt"][0] == "Q11"
    assert set(lists["Holt"]) >= {"Q11", "Q13"}
    assert "Q14" not in lists["Holt"]
    assert set(rows["source"]) == {"name search (dim.search), names and aliases"}


def test_the_package_reads_it(built):
    assert len(load_mentions(str(built), "train")) == 5
    assert len(load_entities(str(built))) == 6
    assert len(load_candidates(str(built), "validation")) == 3


def test_a_fresh_process_loads_it_by_config_and_as_a_stream(built, tmp_path):
    code = """
import json, sys
from datasets import load_dataset
folder, cache = sys.argv[1:]
validation = load_dataset(folder, "mentions", split="validation", cache_dir=cache)
default = load_dataset(folder, cache_dir=cache)
stream = load_dataset(folder, "mentions", split="train", streaming=True)
print(json.dumps([len(validation), sorted(default), [row["id"] for row in stream], validation[0]["image"].size]))
"""
    shutil.copytree(built, tmp_path / "moved")  # nothing may depend on where it was built
    counts = json.loads(python(code, tmp_path / "moved", tmp_path / "cache"))
    ids = [row["mention_id"] for row in load_dataset(str(built), "candidates", split="train", cache_dir=str(tmp_path))]
    assert counts == [3, ["train", "validation"], ids, [40, 30]]


def test_streaming_gives_the_same_rows(built):
    rows = load_dataset(str(built), "mentions", split="train", streaming=True)
    assert isinstance(rows, IterableDataset)
    assert [row["image"] and row["image"].size for row in rows].count((40, 30)) == 3


# -------------------------------------------------------------------------------------------------------- what is said


def test_the_card_counts_what_is_there(built):
    text = (built / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert get_dataset_config_names(str(built)) == list(CONFIGS)
    for info in front["dataset_info"]:
        listed = {
            split["split"]: split["path"]
            for config in front["configs"]
            for split in config["data_files"]
            if config["config_name"] == info["config_name"]
        }
        for split in info["splits"]:
            tables = [pq.read_table(built / path) for path in listed.pop(split["name"])]
            assert split["num_examples"] == sum(table.num_rows for table in tables)
            assert split["num_bytes"] == pytest.approx(sum(table.nbytes for table in tables), rel=0.1)
        assert not listed
        sizes = [path.stat().st_size for path in built.glob(f"{info['config_name']}/*.parquet")]
        assert info["download_size"] == sum(sizes)
    assert front["size_categories"] == ["n<1K"]
    body = text.split("---\n", 2)[2]
    ids = load_mentions(str(built), "train")["id"][:]
    assert hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest() in body
    assert "| train | 5 | 4 | 2 | 0 | 1 |  |  |" in body  # mentions, sentences, pictures, NIL, equal to the name
    assert "| validation | 3 | 2 | 1 | 0 | 1 | 0 | 2 |" in body  # and in train: sentences, answers
    raw = built.parent / "raw"
    for name, licence in (("Wikidata-MEL.json", "MIT"), ("qid2ne.json", "none")):
        digest = hashlib.sha256((raw / name).read_bytes()).hexdigest()
        assert re.search(rf"^\| {re.escape(name)} \|.*\| {licence} \| {digest} \|$", body, re.MULTILINE)


def test_the_manifest_knows_every_file(built):
    manifest = json.loads((built / MANIFEST).read_text())
    assert manifest["dataset"] == "wikimel"
    files = files_of(built)
    del files[MANIFEST]
    assert manifest["files"] == files
    assert "script/wikimel.py" in files
    for name in files:
        if name.endswith(".parquet"):
            assert re.fullmatch(r"(mentions|candidates)/(train|validation)-00000-of-00001-[0-9a-f]{16}\.parquet|"
                                r"entities/kb-00000-of-00001-[0-9a-f]{16}\.parquet", name)  # fmt: skip
            assert files[name].startswith(name[-24:-8])


def test_nothing_names_the_machine(built):
    for path in built.rglob("*"):
        if path.is_file():
            assert str(built.parent).encode() not in path.read_bytes(), path


def test_rejected_rows_add_up(tmp_path):
    sentences = SENTENCES | {
        "50": ("train", "Who?", [("Ghost", "Q99")]),
        "52": ("dev", "Who else?", [("Ghost", "Q98")]),
        "51": ("none", "Lost.", [("Mira", "Q11")]),
    }
    done = build("wikimel", [write_release(tmp_path / "raw", sentences)], tmp_path / "out")
    (rejected,) = map(json.loads, (done.folder / "rejected.jsonl").read_text().splitlines())
    assert rejected == {"file": "Wikidata-MEL.json", "key": "51", "reason": "it is in no split", "kind": "mention"}
    lines = summary(done).splitlines()
    assert lines[0] == "11 rows in = 10 mentions + 1 rejected (rejected.jsonl)"
    assert lines[1] == "10 mentions (train 6, validation 4), 2 of them NIL"
    assert sum(len(load_mentions(str(done.folder), split)) for split in ("train", "validation")) == 10
    card = (done.folder / "README.md").read_text()
    assert "| it is in no split | 1 |" in card
    assert "| validation | 4 | 3 | 0 | 1 | 1 | 0 | 2 |" in card  # NIL is no answer that train has


def test_the_summary(tmp_path):
    images = write_pictures(tmp_path / "images")
    done = build("wikimel", [write_release(tmp_path / "raw")], tmp_path / "out", images=[images])
    size = sum(path.stat().st_size for path in done.folder.glob("*/*.parquet"))
    lines = summary(done).splitlines()
    assert lines[:3] == [
        "8 rows in = 8 mentions + 0 rejected (rejected.jsonl)",
        "8 mentions (train 5, validation 3), 0 of them NIL",
        "6 entities, 0 rejected",
    ]
    assert lines[4:] == [
        "candidates, train: recall@1 80.00 %, recall@10 100.00 %, recall@100 100.00 %",
        "candidates, validation: recall@1 66.67 %, recall@10 100.00 %, recall@100 100.00 %",
        "6 pictures = 3 embedded + 3 missing (missing_pictures.jsonl)",
        f"{size:,} bytes of Parquet in {done.folder}",
    ]
    counts = re.findall(r"[\d,]+(?=,|$)", lines[3].removeprefix("offsets by rule: "))
    assert sum(map(int, counts)) == 8


def test_the_tables_of_the_card_render(tmp_path):
    odd = {"50": ("train", "Who | what?", [("Ghost | <b>", "Q99")])}
    done = build("wikimel", [write_release(tmp_path / "raw", SENTENCES | odd)], tmp_path / "out")
    _, text = read_card((done.folder / "README.md").read_text())
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    tables = re.findall(r"<table>.*?</table>", html, re.DOTALL)
    assert len(tables) >= 6
    for table in tables:
        widths = {len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)}
        assert len(widths) == 1, table
    assert "|---" not in re.sub(r"<(code|pre)>.*?</\1>", "", html, flags=re.DOTALL)
    assert "| ---" not in html


def test_a_split_without_rows_is_not_listed(tmp_path):
    sentences = {key: row for key, row in SENTENCES.items() if row[0] == "train"}
    done = build("wikimel", [write_release(tmp_path / "raw", sentences)], tmp_path / "out")
    assert list(load_dataset(str(done.folder), cache_dir=str(tmp_path / "cache"))) == ["train"]
    assert "validation" not in (done.folder / "README.md").read_text().split("---\n")[1]


# --------------------------------------------------------------------------------------------------------- determinism


BUILD = """
import sys
from pathlib import Path
from dim.corpora.build.dataset import build
raw, images, out = map(Path, sys.argv[1:])
build("wikimel", [raw], out, images=[images])
"""


def test_the_same_input_gives_the_same_bytes(built, tmp_path):
    """In another process, with another hash seed, from copies with other times at other places."""
    shutil.copytree(built.parent / "raw", tmp_path / "raw", copy_function=shutil.copy)
    shutil.copytree(built.parent / "images", tmp_path / "images", copy_function=shutil.copy)
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    python(BUILD, tmp_path / "raw", tmp_path / "images", tmp_path / "out", PYTHONHASHSEED=seed)
    assert files_of(tmp_path / "out") == files_of(built)


def test_other_content_at_the_same_place_is_seen(raw, tmp_path):
    """`datasets` takes the card of a local folder for its content: files with new content need names of their own."""
    cache = str(tmp_path / "cache")
    for word in ("harbour", "village"):
        sentences = {key: (split, text.replace("harbour", word), pairs)
                     for key, (split, text, pairs) in SENTENCES.items()}  # fmt: skip
        shutil.rmtree(raw)
        write_release(raw, sentences)
        out = build("wikimel", [raw], tmp_path / "out").folder
        rows = load_dataset(str(out), "mentions", split="train", cache_dir=cache)
        assert any(word in row["sentence"] for row in rows)


# -------------------------------------------------------------------------------------------------------------- resume


KILLED = """
import os, signal, sys
from pathlib import Path
from dim.corpora.build import embed
from dim.corpora.build import shards
from dim.corpora.build.dataset import build
raw, images, out = map(Path, sys.argv[1:])
shards.SHARD_BYTES = 1
whole, calls = embed.embed, []
def embed_some(picture):
    calls.append(picture)
    if len(calls) > 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(picture)
embed.embed = embed_some
build("wikimel", [raw], out, images=[images])
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with a release of twelve sentences, a noisy picture each, and a build that was killed at the ninth."""
    folder = tmp_path_factory.mktemp("killed")
    sentences = {str(n): ("train", f"Mira Holt on day {n}.", [("Mira Holt", "Q11")]) for n in range(12)}
    raw, images = write_release(folder / "raw", sentences), folder / "images"
    images.mkdir()
    for n in range(12):
        noise = random.Random(n).randbytes(60 * 40 * 3)
        Image.frombytes("RGB", (60, 40), noise).save(images / f"{n}.png")
    command = [sys.executable, "-c", KILLED, str(raw), str(images), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return folder


@pytest.fixture
def go_on(killed, tmp_path, monkeypatch):
    """Builds in this process with a picture a shard, after the kill or from the start; counts the loaded pictures."""
    monkeypatch.setattr("dim.corpora.build.shards.SHARD_BYTES", 1)

    def run(name: str, after_the_kill: bool) -> tuple[Path, int]:
        loaded = []

        def counted(picture):
            loaded.append(picture)
            return embed(picture)

        monkeypatch.setattr("dim.corpora.build.embed.embed", counted)
        if after_the_kill:
            shutil.copytree(killed / ".out.building", tmp_path / f".{name}.building")
        done = build("wikimel", [killed / "raw"], tmp_path / name, images=[killed / "images"])
        return done.folder, len(loaded)

    return run


def test_a_killed_build_goes_on(killed, go_on):
    assert not (killed / "out").exists(), "a build that was cut short looks like a finished one"
    finished = len(list((killed / ".out.building" / "mentions").glob("train-*-of-00012-*.parquet")))
    assert 3 <= finished <= 8
    whole, loaded = go_on("whole", after_the_kill=False)
    assert loaded == 12
    out, loaded = go_on("out", after_the_kill=True)
    assert loaded == 12 - finished
    assert files_of(out) == files_of(whole)
    assert {path.name for path in out.parent.iterdir()} == {"out", "whole"}
    assert len(load_mentions(str(out), "train")) == 12


def test_shards_of_other_input_are_not_taken_over(killed, go_on, tmp_path):
    for picture in (killed / "images").iterdir():  # one of them is in a finished shard, whichever these are
        shutil.copy2(picture, tmp_path / picture.name)
        Image.new("RGB", (60, 40), "green").save(picture)
    try:
        out, loaded = go_on("out", after_the_kill=True)
    finally:
        for picture in (killed / "images").iterdir():
            shutil.copy2(tmp_path / picture.name, picture)
    assert loaded == 12
    pixels = [row["image"].getpixel((0, 0)) for row in load_dataset(str(out), split="train", streaming=True)]
    assert pixels == [(0, 128, 0)] * 12
    assert len(list(out.glob("mentions/*.parquet"))) == 12


def test_a_shard_that_was_cut_short_is_written_again(killed, go_on, tmp_path):
    shard = sorted((killed / ".out.building" / "mentions").glob("train-*"))[0]
    content = shard.read_bytes()
    shard.write_bytes(content[:100])
    try:
        out, _ = go_on("out", after_the_kill=True)
    finally:
        shard.write_bytes(content)
    assert (out / "mentions" / shard.name).read_bytes() == content


# ----------------------------------------------------------------------------------------------- what is already there


def test_an_earlier_build_is_replaced(raw, tmp_path):
    out = build("wikimel", [raw], tmp_path / "out").folder
    before = files_of(out)
    sentences = {key: row for key, row in SENTENCES.items() if key != "9"}
    shutil.rmtree(raw)
    assert len(load_mentions(str(build("wikimel", [write_release(raw, sentences)], out).folder), "train")) == 4
    assert len(list(out.glob("mentions/train-*"))) == 1
    assert files_of(out) != before
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out"}


def test_an_empty_folder_is_taken(raw, tmp_path):
    (tmp_path / "out").mkdir()
    assert (build("wikimel", [raw], tmp_path / "out").folder / MANIFEST).is_file()


@pytest.mark.parametrize("manifest", [None, "{}", "no json", '{"made_by": "someone", "dataset": "wikimel"}', "[]"])
def test_a_folder_of_somebody_else_is_refused(manifest, raw, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (out / MANIFEST).write_text(manifest)
    with pytest.raises(ValueError, match="out exists and was not built by dim: choose another --out"):
        build("wikimel", [raw], out)
    assert (out / "thesis.tex").read_text() == "years of work"


def test_a_file_that_was_put_into_a_build_is_not_removed(raw, tmp_path):
    out = build("wikimel", [raw], tmp_path / "out").folder
    (out / "mentions" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out/mentions/notes.txt does not belong to the build that would be replaced"):
        build("wikimel", [raw], out)
    assert (out / "mentions" / "notes.txt").read_text() == "mine"


def test_a_build_of_another_dataset_is_refused(raw, tmp_path):
    out = build("wikimel", [raw], tmp_path / "out").folder
    with pytest.raises(ValueError, match="out holds a build of wikimel"):
        build("mydata", [raw], out, layout="melbench")


def test_paths_that_contain_one_another_are_refused(raw, tmp_path):
    with pytest.raises(ValueError, match=r"raw lies in .*, which the build replaces"):
        build("wikimel", [raw], tmp_path)
    with pytest.raises(ValueError, match=r"out lies in .*, which is searched"):
        build("wikimel", [tmp_path], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file: choose another --out"):
        build("wikimel", [raw], tmp_path / "file")


# --------------------------------------------------------------------------------------------------- names and options


def test_an_unknown_name_is_no_dataset_of_ones_own(raw, tmp_path):
    with pytest.raises(ValueError, match=r"There is no dataset 'wikimell'; the published ones are wikimel, .*--layout"):
        build("wikimell", [raw], tmp_path / "out")
    with pytest.raises(ValueError, match="'../x' cannot be the name of a dataset"):
        build("../x", [raw], tmp_path / "out", layout="jsonl")


def test_a_wheel_without_the_cards_says_so(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("dim.corpora.build.dataset.PUBLISHED", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="script and the card of wikimel are not installed: run this from a clone"):
        build("wikimel", [raw], tmp_path / "out")


def test_plus_needs_descriptions_and_nothing_else_takes_them(raw, tmp_path):
    with pytest.raises(ValueError, match="wikimel_plus needs --descriptions FILE"):
        build("wikimel_plus", [raw], tmp_path / "out")
    (tmp_path / "d.jsonl").write_text("{}")
    with pytest.raises(ValueError, match="wikimel keeps its own descriptions: leave out --descriptions"):
        build("wikimel", [raw], tmp_path / "out", descriptions=tmp_path / "d.jsonl")


def test_plus(raw, tmp_path):
    lines = [{"id": key, "description": f"About {key}.", **PROVENANCE} for key in ("Q11", "Q15")]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = build("wikimel_plus", [raw], tmp_path / "plus", descriptions=tmp_path / "d.jsonl")
    rows = {row["id"]: row for row in load_entities(str(done.folder))}
    assert rows["Q11"]["description"] == "About Q11."
    assert rows["Q11"]["description_original"] == "Occupation: pilot."
    assert {name: rows["Q11"][name] for name in PROVENANCE} == PROVENANCE
    assert rows["Q15"]["description_original"] == ""
    assert rows["Q12"]["description"] == "Occupation: painter."
    assert [rows["Q12"][name] for name in (*PROVENANCE, "description_original")] == [None] * 7
    assert "2 descriptions replaced, 4 kept" in summary(done)
    assert "4 entities keep their own" in (done.folder / "README.md").read_text()
    plain = build("wikimel", [raw], tmp_path / "plain")
    for config in ("mentions", "candidates"):
        assert [path.read_bytes() for path in sorted(done.folder.glob(f"{config}/*"))] == [
            path.read_bytes() for path in sorted(plain.folder.glob(f"{config}/*"))
        ]


def test_clean_drops_what_splits_share(tmp_path):
    sentences = SENTENCES | {"60": ("train", "A painting by Mira Vance.", [("Mira Vance", "Q12")])}
    raw = write_release(tmp_path / "raw", sentences)
    images = write_pictures(tmp_path / "images")
    shutil.copy(images / "22.png", images / "30.png")  # the same picture in train and validation
    kept = build("wikimel", [raw], tmp_path / "kept", images=[images])
    assert len(load_mentions(str(kept.folder), "train")) == 6
    assert "| validation | 3 | 2 | 1 | 0 | 1 | 1 | 2 |" in (kept.folder / "README.md").read_text()
    done = build("wikimel", [raw], tmp_path / "clean", images=[images], clean=True)
    assert len(load_mentions(str(done.folder), "train")) == 4
    assert len(load_mentions(str(done.folder), "validation")) == 3
    assert summary(done).splitlines()[0] == "9 rows in = 7 mentions + 2 rejected (rejected.jsonl)"
    reasons = [json.loads(line)["reason"] for line in (done.folder / "rejected.jsonl").read_text().splitlines()]
    assert sorted(reasons) == ["its picture is also in validation", "its sentence is also in validation"]


# ----------------------------------------------------------------------------------------------------------- real texts


WIKIMEL = [DATA / "melbench", DATA / "ghmfc" / "WikiMEL"]
REAL = {
    "wikimel": (WIKIMEL, {"train": 18_088, "validation": 2_627}, 18_880, 99.5),
    "richpediamel": ([DATA / "melbench", DATA / "ghmfc" / "Richpedia-MEL"], 14_244, 17_805, 98.5),
    "wikidiverse": ([DATA / "kgmel"], {"train": 11_151, "validation": 1_656}, 6_898, 92.5),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_texts(name, tmp_path):
    raw, counts, entities, least_recall = REAL[name]
    if not DATA.is_dir():
        pytest.skip(f"needs the raw releases in {DATA}")
    images = DATA / "images" / "wikimel"
    done = build(name, raw, tmp_path / "out", images=[images] if name == "wikimel" else [])
    sizes = {split: len(load_mentions(str(done.folder), split)) for split in done.corpus.mentions}
    assert (sizes if isinstance(counts, dict) else sum(sizes.values())) == counts
    kb = set(load_entities(str(done.folder))["id"])
    assert len(kb) == entities
    rows = [row for split in sizes for row in load_mentions(str(done.folder), split).remove_columns("image")]
    nil = sum(row["entity_id"] == "" for row in rows)
    assert all(row["entity_id"] in kb for row in rows if row["entity_id"])
    assert f"{len(rows):,} mentions" in summary(done)
    assert f"{nil:,} of them NIL" in summary(done)
    assert len({row["id"] for row in rows}) == len(rows)
    pictures = {split: len({m.image_id for m in found}) for split, found in done.corpus.mentions.items()}
    if name == "wikimel":
        assert pictures == {"train": 15_511, "validation": 2_213}, "a sentence has a picture of its own"
        texts = json.loads((DATA / "melbench" / "Wikidata-MEL.json").read_text())
        photographs = {path.read_bytes() for path in images.glob("*.jpg") if path.stem in texts}
        tables = [pq.read_table(path, columns=["image"]) for path in done.folder.glob("mentions/*.parquet")]
        embedded = {row["image"]["bytes"] for table in tables for row in table.to_pylist() if row["image"]}
        assert embedded == photographs
        assert len(embedded) >= 30
    if name == "richpediamel":
        assert not any(row["entity_id"] in row["id"] + row["image_id"] for row in rows)
    for found in recalls(done.corpus).values():
        assert found[100] > least_recall
