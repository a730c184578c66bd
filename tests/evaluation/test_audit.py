"""Audit: planted findings, and known counts of the real releases."""

import io
import json
import shutil
from pathlib import Path

import datasets
import pytest
from PIL import Image, ImageDraw

from dim.cli.main import main
from dim.corpora.loading import load_candidates, load_entities, load_mentions
from dim.evaluation.audit.clean import write_clean
from dim.evaluation.audit.findings import _languages, audit
from dim.evaluation.audit.near_duplicates import Pictures, near_duplicates, thumbnail
from dim.evaluation.audit.release import audit_release

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def drawing(seed: int, size: int = 64, quality: int = 95) -> bytes:
    """A JPEG with shapes on it; the same seed draws the same shapes."""
    image = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(image)
    for number in range(6):
        left, top = (seed * 37 + number * 53) % 180, (seed * 71 + number * 29) % 180
        pen.rectangle((left, top, left + 70, top + 50), fill=(number * 40, seed * 31 % 255, 90))
    buffer = io.BytesIO()
    image.resize((size, size)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def mention(name, sentence, text, gold, picture=None, path=None):
    start = sentence.find(text)
    image = {"bytes": picture, "path": path} if picture else None
    return {"id": name, "sentence": sentence, "mention": text, "start": start, "end": start + len(text) if start >= 0
            else -1, "image": image, "image_id": f"i-{name}", "entity_id": gold}  # fmt: skip


SPLITS = {
    "train": [
        mention("t1", "Ada wrote it.", "Ada", "Q1", drawing(1)),
        mention("t2", "They met in Paris.", "Paris", "Q2", drawing(2)),
        mention("t3", "Another Paris.", "Paris", "Q3", b"no picture"),
        mention("t4", "No name here.", "Bob", ""),
        mention("t5", "Only here, Ada.", "Ada", "Q1", drawing(5)),
    ],
    "validation": [
        mention("v1", "ADA wrote it!", "ADA", "Q1", drawing(7)),
        mention("v2", "A new sentence on Paris.", "Paris", "Q2", drawing(2, size=200, quality=70)),
        mention("Q3-0", "Fresh Paris.", "Paris", "Q3", drawing(9), path="pictures/Q3.jpg"),
        mention("v4", "Lost Rome.", "Rome", "Q9"),
    ],
    "test": [mention("e1", "Fresh Paris.", "Paris", "Q3", drawing(11))],
}
ENTITIES = [
    {"id": "Q1", "name": "Ada", "description": "mathematician", "images": []},
    {"id": "Q2", "name": "Paris", "description": "", "images": []},
    {"id": "Q3", "name": "PARIS", "description": "Париж во Франции", "images": []},
]


def write(folder: Path, splits=SPLITS) -> Path:
    configs = []
    tables = {"mentions": splits, "entities": {"kb": ENTITIES}, "candidates": {
        split: [{"mention_id": row["id"], "entity_ids": ["Q1", "Q2"]} for row in rows] for split, rows in splits.items()
    }}  # fmt: skip
    for config, parts in tables.items():
        (folder / config).mkdir(parents=True)
        files = []
        for split, rows in parts.items():
            table = datasets.Dataset.from_list(rows)
            if config == "mentions":
                table = table.cast_column("image", datasets.Image())
            if config == "entities":
                table = table.cast_column("images", datasets.List(datasets.Image()))
            table.to_parquet(str(folder / config / f"{split}.parquet"))
            files.append(f"  - split: {split}\n    path: {config}/{split}.parquet")
        configs.append(f"- config_name: {config}\n  data_files:\n" + "\n".join(files))
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(configs) + "\n---\n\n# Planted\n")
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return write(tmp_path_factory.mktemp("planted") / "data")


@pytest.fixture(scope="module")
def found(planted):
    return audit(str(planted))


def test_leaks(found):
    shared = found["leaks"]["validation in train"]
    touched = {kind: one["mentions"]["first"] for kind, one in shared.items()}
    assert touched == {
        "sentence, verbatim": [],
        "sentence, by its words": ["v1"],
        "entity": ["v1", "v2", "Q3-0"],
        "mention and answer": ["v1", "v2", "Q3-0"],
        "picture, by content": [],
        "picture, by its looks": ["v2"],
    }
    assert found["leaks"]["test in validation"]["sentence, verbatim"] == {
        "different": 1, "of": 1, "mentions": {"count": 1, "first": ["e1"]},
    }  # fmt: skip
    assert shared["entity"]["different"] == 3
    assert set(found["leaks"]) == {"validation in train", "test in train", "test in validation"}


def test_revealed_answers(found):
    away = found["given_away"]
    assert away["validation"] == {
        "id": {"count": 1, "first": ["Q3-0"]},
        "file name of the picture": {"count": 1, "first": ["Q3-0"]},
        "image_id": {"count": 1, "first": ["Q3-0"]},
    }
    assert all(one["count"] == 0 for one in away["train"].values())


def test_findings_of_splits(found):
    train, validation = found["splits"]["train"], found["splits"]["validation"]
    assert train["mention not verbatim in its sentence"]["first"] == ["t4"]
    assert train["mention not found in its sentence"]["first"] == ["t4"]
    assert train["NIL"]["first"] == ["t4"]
    assert train["pictures that do not load"]["first"] == ["t3"]
    assert train["without picture"] == 1
    assert validation["gold not in the knowledge base"]["first"] == ["v4"]
    assert train["words of a sentence"]["median"] == 3
    assert sum(train["languages"].values()) == 5


def test_languages():
    long = "Der Hund läuft heute durch den großen Wald und sucht dort seinen Knochen."
    assert _languages([long, long, "The quick brown fox jumps over the lazy dog in the garden.", "x"]) == {
        "de": 2, "en": 1, "not sure": 1,
    }  # fmt: skip


def test_the_knowledge_base(found):
    base = found["knowledge_base"]
    assert base["without description"] == {"count": 1, "first": ["Q2"]}
    assert base["names that several entities share"] == {"names": 1, "entities": 2, "first": ["Q2"]}
    assert base["scripts of descriptions"] == {"Latin": 1, "none of these": 1, "Cyrillic": 1}


def test_near_duplicates_are_found_and_other_pictures_are_not():
    def pictures(**data):
        return Pictures(thumbnails={name: thumbnail(Image.open(io.BytesIO(one))) for name, one in data.items()})

    known = pictures(**{f"p{seed}": drawing(seed) for seed in range(12)})
    copies = pictures(small=drawing(3, size=40), rough=drawing(4, size=190, quality=60), other=drawing(99))
    assert near_duplicates(copies, known) == {"small", "rough"}
    for name, one in known.thumbnails.items():
        rest = {other: two for other, two in known.thumbnails.items() if other != name}
        assert near_duplicates(Pictures(thumbnails={name: one}), Pictures(thumbnails=rest)) == set()
    assert near_duplicates(known, Pictures()) == set()


def test_clean_shares_nothing_and_keeps_the_later_split(planted, tmp_path, capsys):
    clean = tmp_path / "clean"
    assert main(["audit", str(planted), "--out", str(tmp_path / "report"), "--write-clean", str(clean)]) == 0
    kept = {split: load_mentions(str(clean), split)["id"][:] for split in SPLITS}
    assert kept == {"train": ["t3", "t4", "t5"], "validation": ["v1", "v2", "v4"], "test": ["e1"]}
    leaks = audit(str(clean))["leaks"].values()
    kinds = ("sentence, verbatim", "sentence, by its words", "picture, by content", "picture, by its looks")
    assert all(one[kind]["mentions"]["count"] == 0 for one in leaks for kind in kinds)
    assert load_entities(str(clean))["id"][:] == ["Q1", "Q2", "Q3"]
    assert list(load_candidates(str(clean), "train")) == ["t3", "t4", "t5"]
    first = load_mentions(str(clean), "train")[2]
    assert first["image"]["bytes"] == drawing(5)
    assert "train: 3 kept, 2 dropped" in (clean / "README.md").read_text()
    assert "train: 3 kept, 2 dropped" in capsys.readouterr().out
    assert json.loads((tmp_path / "report" / "audit.json").read_text())["dataset"] == str(planted)
    assert "| sentence, by its words | 1 | 4 | 1 | v1 |" in (tmp_path / "report" / "audit.md").read_text()
    assert main(["audit", str(planted), "--write-clean", str(clean)]) == 2
    assert "exists: give a new folder" in capsys.readouterr().err


def test_files_of_a_killed_run_are_removed(planted, tmp_path):
    left = tmp_path / ".clean.building" / "mentions" / "old.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"old")
    write_clean(str(planted), tmp_path / "clean")
    assert not (tmp_path / "clean" / "mentions" / "old.parquet").exists()


def test_a_broken_split_is_an_error_and_a_missing_one_is_not(planted, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(planted, folder)
    path = folder / "mentions" / "test.parquet"
    datasets.Dataset.from_parquet(str(path)).select([]).to_parquet(str(path))
    with pytest.raises(ValueError, match="cannot give the split 'test' of its config 'mentions'"):
        audit(str(folder))
    path.unlink()
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("  - split: test\n    path: mentions/test.parquet\n", ""))
    assert set(audit(str(folder))["splits"]) == {"train", "validation"}


def test_raw_release_whose_ids_are_the_answers(tmp_path, capsys):
    raw = tmp_path / "Richpedia"
    raw.mkdir()
    rows = {f"Q{n}": {"id": f"Q{n}", "sentence": f"Here is Name{n}.", "mentions": f"Name{n}" if n else "Other",
                      "entities": f"Name{n}", "answer": f"Q{n}"} for n in range(12)}  # fmt: skip
    (raw / "Richpedia-MEL.json").write_text(json.dumps(rows))
    (raw / "qid2ne.json").write_text(json.dumps({key: row["entities"] for key, row in rows.items()}))
    (raw / "qid2abs.json").write_text(json.dumps(dict.fromkeys(rows, "Sex: male.")))
    assert main(["audit", "richpediamel", "--raw", str(raw)]) == 0
    text = capsys.readouterr().out
    assert "| sample id is the answer | 12 |" in text
    assert "| file name of the picture holds the answer | 12 |" in text
    assert "| mention not verbatim in its sentence | 1 | Q0-0 |" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["./nothing"], "There is no dataset folder"),
        (["wikimel", "--raw", "./nothing"], "There is no file or folder"),
        (["wikimel", "--raw", ".", "--write-clean", "x"], "--write-clean needs a dataset"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(["audit", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name, folders, rows, verbatim, blank, telling, shared",
    [
        ("wikimel", ["melbench", "ghmfc/WikiMEL"], 20_715, 584, 0, 0, 9),
        ("richpediamel", ["melbench", "ghmfc/Richpedia-MEL"], 14_244, 502, 1, 14_244, 9),
    ],
)
def test_real_releases(name, folders, rows, verbatim, blank, telling, shared):
    """In Richpedia, one mention is blank, and 502 others are not in their sentence."""
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data")
    found = audit_release(name, [DATA / folder for folder in folders])
    assert found["mentions"] == rows
    assert found["mention not verbatim in its sentence"]["count"] == verbatim
    assert found["blank mentions, for which the name of the answer stands"]["count"] == blank
    assert found["sample id is the answer"]["count"] == telling
    assert found["file name of the picture holds the answer"]["count"] == telling
    assert found["sentences also in train"]["validation"] == shared


@pytest.mark.real_data
def test_real_wikimel_as_a_dataset(tmp_path):
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data")
    raw = [f"--raw={DATA / folder}" for folder in ("melbench", "ghmfc/WikiMEL")]
    assert main(["build", "wikimel", *raw, "--out", str(tmp_path / "wikimel")]) == 0
    found = audit(str(tmp_path / "wikimel"))
    assert sum(one["mention not verbatim in its sentence"]["count"] for one in found["splits"].values()) == 584
    assert found["leaks"]["validation in train"]["sentence, verbatim"]["different"] == 8
    assert all(one["count"] == 0 for columns in found["given_away"].values() for one in columns.values())
