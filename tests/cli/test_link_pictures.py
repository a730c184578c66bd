"""`dim link` with a picture alone, or a region of one."""

import json

import pytest
from PIL import Image

from dim import DIMModel, DIMProcessor
from dim.cli.main import main


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """`red.png`, and `two.png` with the same on its left and blue on its right."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.new("RGB", (20, 20), "red").save(folder / "red.png")
    both = Image.new("RGB", (40, 20), "red")
    both.paste("blue", (20, 0, 40, 20))
    both.save(folder / "two.png")
    (folder / "text.png").write_text("hello")
    return folder


def printed(capsys, words) -> dict:
    assert main(words) == 0
    return json.loads(capsys.readouterr().out)


def scores(found) -> dict:
    return {one["id"]: pytest.approx(one["score"], abs=1e-5) for one in found["entities"]}


def test_a_picture_alone_and_a_region(link, pictures, capsys):
    alone = printed(capsys, [*link, "--image", str(pictures / "red.png"), "--json"])
    assert (alone["mention"], len(alone["entities"])) == ("", 5)
    for left, same in ((0, True), (20, False)):
        region = ["--region", *map(str, (left, 0, left + 20, 20))]
        found = printed(capsys, [*link, "--image", str(pictures / "two.png"), *region, "--json", "--why"])
        assert (scores(found) == scores(alone)) is same
        assert all(one["why"]["found_by"] == ["dense"] for one in found["entities"])
        nearest = [one["why"]["nearest_picture"] for one in found["entities"]]
        assert {one["index"] for one in nearest} == {0}
    sentence = [
        "--sentence",
        "See the [[gem]].",
        "--image",
        str(pictures / "two.png"),
        "--region",
        "0",
        "0",
        "20",
        "20",
    ]
    whole = printed(capsys, [*link, "--sentence", "See the [[gem]].", "--image", str(pictures / "red.png"), "--json"])
    assert scores(printed(capsys, [*link, *sentence, "--json"])) == scores(whole)
    only = printed(capsys, [*link, "--mention", "gem", "--json"])
    assert scores(only) == scores(printed(capsys, [*link, "--sentence", "[[gem]]", "--json"]))


def test_the_table_names_the_picture_and_the_nearest_one(link, pictures, capsys):
    assert main([*link, "--image", str(pictures / "red.png"), "--why", "-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("the picture: gem ")
    assert sum("nearest_picture: {'index': 0, 'similarity': " in line for line in lines) == 2


def test_a_table_of_pictures_alone(link, pictures, capsys, tmp_path):
    rows = [{"image": str(pictures / "two.png"), "region": [0, 0, 20, 20]}, {"image": str(pictures / "red.png")}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    csv = "image,region\n" + "\n".join(f"{row['image']},{'|'.join(map(str, row.get('region', [])))}" for row in rows)
    (tmp_path / "m.csv").write_text(csv)
    for name in ("m.jsonl", "m.csv"):
        assert main([*link, "--input", str(tmp_path / name)]) == 0
        first, second = map(json.loads, capsys.readouterr().out.splitlines())
        assert first["region"] == [0, 0, 20, 20]
        assert scores(first["links"]) == scores(second["links"])


def test_a_dataset_of_pictures_alone_from_build_to_evaluation(pictures, tiny_clip_dir, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    red, blue = ({"image": "two.png", "region": box} for box in ([0, 0, 20, 20], [20, 0, 40, 20]))
    rows = [{**half, "id": f"m{n}", "split": split, "entity_id": answer}
            for n, (half, split, answer) in enumerate([(red, "train", "k1"), (blue, "train", "k2"),
                                                       (red, "validation", "k1"), (blue, "test", "k2")])]  # fmt: skip
    (raw / "mentions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entities = [{"id": "k1", "name": "ruby", "images": ["red.png"]}, {"id": "k2", "name": "sapphire"}]
    (raw / "entities.jsonl").write_text("\n".join(map(json.dumps, entities)))
    data = str(tmp_path / "data")
    assert main(["build", "own", "--layout", "jsonl", "--raw", str(raw), "--images", str(pictures), "--out", data]) == 0
    run = ["--text_tower", str(tiny_clip_dir), "--output_dir", str(tmp_path / "run"), "--num_train_epochs", "1",
           "--per_device_train_batch_size", "2", "--lexical_prior", "true", "--picture_dropout", "0.9",
           "--mention_masking", "0.5", "--report_to", "none"]  # fmt: skip
    assert main(["train", "--dataset", data, *run]) == 0
    out = ["--out", str(tmp_path / "report"), "--baselines", "bm25", "fuzzy", "ngrams", "popularity"]
    assert main(["eval", "--dataset", data, "--model", str(tmp_path / "run"), *out]) == 0
    numbers = json.loads((tmp_path / "report" / "report.json").read_text())
    mrr = {one["name"]: one["metrics"]["full_kb"]["MRR"]["value"] for one in numbers["systems"]}
    assert mrr["DIM"] == mrr["DIM without prior"] == mrr["DIM without sentence"]
    blind = ["DIM without picture", "BM25", "fuzzy name", "character n-grams", "popularity in train"]
    assert [mrr[name] for name in blind] == [pytest.approx(200 / 3)] * 5  # both entities tie at the rank 1.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "There is nothing to link: give --sentence, --mention, --image or --input."),
        (
            "--image {}/two.png --region 0 0 41 20",
            "it is (0, 0, 41, 20), outside of the picture, which has 40 x 20 pixels",
        ),
        ("--image {}/two.png --region -1 0 40 20", "--region must be at least 0, got -1."),
        ("--image {}/two.png --region 9 0 9 20", "it is (9, 0, 9, 20), which is empty: left must be below right, and"),
        ("--image {}/two.png --region 0 0 9 9 --region 0 0 9 9", "Give --region once."),
        ("--image {0}/two.png {0}/red.png --region 0 0 9 9", "'region': it needs one picture, and the mention has 2"),
        ("--sentence [[gem]] --region 0 0 9 9", "--region does nothing without --image."),
        ("--image {}/none.png", "picture '{}/none.png': there is no such file"),
        ("--image {}/text.png", "picture '{}/text.png': is not a picture, or its header is damaged"),
    ],
)
def test_bad_pictures_and_regions_are_refused_before_the_model_is_loaded(pictures, words, message, capsys):
    words = [word.format(pictures) for word in words.split()]
    assert main(["link", "--model", "./nothing", "--kb", "./nothing", *words]) == 2
    error = capsys.readouterr().err
    assert message.format(pictures) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"image": "two.png", "region": [0, 0, 41, 20]},
            "line 2: field 'region': it is (0, 0, 41, 20), outside of the",
        ),
        (
            {"image": "two.png", "region": [0, 0, 41]},
            "line 2: field 'region': it is [0, 0, 41], not four whole numbers",
        ),
        (
            {"sentence": "[[a]]", "region": [0, 0, 4, 4]},
            "line 2: field 'region': it needs a picture, and the mention has",
        ),
        ({"image": "text.png"}, "line 2: picture 'text.png': is not a picture"),
        ({"image": "none.png"}, "line 2: picture 'none.png': there is no such file"),
        ({"region": [0, 0, 4, 4]}, "line 2: field 'region': it needs a picture"),
        ({"image": "two.png", "sentence": "no brackets"}, "line 2: Mark the mention by double brackets"),
    ],
)
def test_bad_rows_are_refused_before_the_model_is_loaded(pictures, row, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(pictures)
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"image": "red.png"}) + "\n" + json.dumps(row))
    assert main(["link", "--model", "./nothing", "--kb", "./nothing", "--input", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"{path}, {message}" in error
    assert error.count("\n") == 1


def test_a_model_without_pictures_says_so(pictures, tiny_bert_dir, tiny_mel_dir, tmp_path, capsys):
    model = tmp_path / "text"
    DIMModel.from_towers(str(tiny_bert_dir)).save_pretrained(model)
    DIMProcessor.from_towers(str(tiny_bert_dir)).save_pretrained(model)
    kb = str(tmp_path / "kb")
    assert main(["kb", "create", kb, "--from", str(tiny_mel_dir), "--model", str(model)]) == 0
    (tmp_path / "m.jsonl").write_text(json.dumps({"image": str(pictures / "red.png")}))
    capsys.readouterr()
    for words in (["--image", str(pictures / "red.png")], ["--input", str(tmp_path / "m.jsonl")]):
        assert main(["link", "--model", str(model), "--kb", kb, *words]) == 2
        error = capsys.readouterr().err.splitlines()
        assert error[-1].startswith(
            "dim link: The model reads no pictures of mentions, so it cannot link a picture alone"
        )
