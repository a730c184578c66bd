"""Datasets read by path, and what is refused before long work starts."""

import errno
import json
import shutil
from pathlib import Path

import datasets
import pytest

from dim.common.checksums import unverified
from dim.corpora.build.dataset import build
from dim.corpora.inspect.sheet import describe
from dim.corpora.loading import (
    load_candidates,
    load_dataset_folder,
    load_entities,
    load_mentions,
    load_splits,
    splits_of,
)
from dim.errors import DIMError


def write(folder, config, split, columns):
    (folder / config).mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns).to_parquet(str(folder / config / f"{split}.parquet"))
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: {split}\n"
        f"    path: {config}/{split}.parquet\n---\n"
    )
    return str(folder)


def test_splits_of_a_folder(tiny_mel_dir):
    mentions = load_mentions(str(tiny_mel_dir), "validation")
    assert len(mentions) == 12
    assert mentions[0]["image"]["bytes"].startswith(b"\x89PNG")  # undecoded
    assert load_entities(str(tiny_mel_dir))[0]["images"][0]["bytes"].startswith(b"\x89PNG")
    assert load_candidates(str(tiny_mel_dir), "train")["m24-0"] == [f"e{row}" for row in range(6)]


def test_splits_are_listed_and_loaded(tiny_mel_dir, tmp_path):
    dataset = str(tiny_mel_dir)
    assert splits_of(dataset) == tuple(load_splits(dataset)) == ("train", "validation")
    assert (splits_of(dataset, "entities"), splits_of(dataset, "none")) == (("kb",), ())
    assert len(load_splits(dataset)["train"]) == len(load_dataset_folder(dataset, "mentions", "train")) == 24
    with pytest.raises(ValueError, match="There is no dataset"):
        splits_of("./nowhere")
    with pytest.raises(ValueError, match="its config 'mentions' needs one of train, validation, test"):
        load_splits(write(tmp_path, "entities", "kb", {"id": ["a"]}))


def test_unknown_folder():
    with pytest.raises(ValueError, match=r"There is no dataset folder \./nowhere"):
        load_mentions("./nowhere", "train")


def test_unknown_name_on_the_hub():
    with pytest.raises(ValueError, match="There is no dataset 'nobody/nothing'"):
        load_mentions("nobody/nothing", "train")


def test_unknown_split(tiny_mel_dir):
    with pytest.raises(ValueError, match="cannot give the split 'holdout' of its config 'mentions'"):
        load_mentions(str(tiny_mel_dir), "holdout")


def test_missing_column(tmp_path):
    folder = write(tmp_path, "mentions", "train", {"id": ["a"], "sentence": ["b"]})
    with pytest.raises(ValueError, match="lacks the column 'mention'; it has"):
        load_mentions(folder, "train")


def test_column_that_holds_no_images(tmp_path):
    columns = {"id": ["a"], "name": ["b"], "description": ["c"], "images": [["file.png"]]}
    with pytest.raises(ValueError, match="column 'images' must hold images"):
        load_entities(write(tmp_path, "entities", "kb", columns))


def test_duplicate_ids(tmp_path):
    columns = {"id": ["a", "a"], "name": ["b", "c"], "description": ["", ""], "images": [[], []]}
    folder = tmp_path / "entities"
    folder.mkdir(parents=True)
    rows = datasets.Dataset.from_dict(columns).cast_column("images", datasets.List(datasets.Image()))
    rows.to_parquet(str(folder / "kb.parquet"))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: entities\n  data_files:\n  - split: kb\n    path: entities/kb.parquet\n---\n"
    )
    with pytest.raises(ValueError, match="entities: The id 'a' occurs more than once; ids must be unique"):
        load_entities(str(tmp_path))


def test_folder_without_data(tmp_path):
    with pytest.raises(ValueError, match="cannot give the split|There is no dataset"):
        load_mentions(str(tmp_path), "train")


def test_rewritten_files_are_noticed(tmp_path):
    """The cache of `datasets` goes by the README alone; ours must not."""
    for text in ("first", "other"):
        columns = {name: ["x"] for name in ("id", "sentence", "mention", "entity_id")} | {"start": [0], "end": [1]}
        (tmp_path / "mentions").mkdir(exist_ok=True)
        rows = datasets.Dataset.from_dict(columns | {"sentence": [text], "image": [None]})
        rows.cast_column("image", datasets.Image()).to_parquet(str(tmp_path / "mentions" / "train.parquet"))
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- config_name: mentions\n  data_files:\n  - split: train\n"
            "    path: mentions/train.parquet\n---\n"
        )
        assert load_mentions(str(tmp_path), "train")["sentence"][:] == [text]


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A dataset that `dim build` wrote."""
    folder = tmp_path_factory.mktemp("letters")
    mention = {"id": "m1", "sentence": "Ada wrote it.", "mention": "Ada", "split": "test", "entity_id": "k1"}
    (folder / "mentions.jsonl").write_text(json.dumps(mention))
    (folder / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "Ada Lovelace"}))
    build("letters", [folder], folder.with_name("built"), layout="jsonl")
    return folder.with_name("built")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("config", ["mentions", "entities", "candidates"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_file_of_a_built_dataset_is_named(letters, tmp_path, config, damage):
    copy = shutil.copytree(letters, tmp_path / "built")
    [file] = (copy / config).glob("*.parquet")
    damage(file)
    with pytest.raises(DIMError, match=f"{file.name} (was damaged or changed|is missing)"):
        load_entities(str(copy))


def test_a_card_may_be_edited_and_checks_may_be_left_out(letters, tmp_path):
    copy = shutil.copytree(letters, tmp_path / "built")
    with (copy / "README.md").open("a") as card:
        card.write("\nMine.\n")
    assert load_entities(str(copy))["id"][:] == ["k1"]
    (copy / "rejected.jsonl").unlink()
    with pytest.raises(DIMError, match=r"rejected.jsonl is missing"):
        load_entities(str(copy))
    with unverified():
        assert load_entities(str(copy))["id"][:] == ["k1"]


@pytest.mark.parametrize("config", ["mentions", "entities", "candidates"])
def test_without_a_manifest_a_file_that_is_no_parquet_is_one_line(letters, tmp_path, config):
    copy = shutil.copytree(letters, tmp_path / "built")
    (copy / "manifest.json").unlink()
    [file] = (copy / config).glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DIMError, match=config) as raised:
        describe(str(copy), 1)
    assert "\n" not in str(raised.value)


def test_a_full_disk_is_told_as_one(letters, monkeypatch):
    def full(self, inferred_schema):
        raise OSError(errno.ENOSPC, "No space left on device", "cache")

    monkeypatch.setattr(datasets.arrow_writer.ArrowWriter, "_build_writer", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        load_dataset_folder(str(shutil.copytree(letters, letters.with_name("full"))), "mentions", "test")
    assert raised.value.errno == errno.ENOSPC
