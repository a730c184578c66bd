"""Loading of a model: a damaged file is named in one line, with the checksums of its folder and without them."""

import json
import shutil

import pytest

from dim.common.checksums import CHECKSUMS, unverified, write_checksums
from dim.encoding.loading import fingerprint, load_dim
from dim.errors import DIMError

FILES = ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


KINDS = {"flipped": flip, "truncated": lambda content: content[: len(content) // 3], "emptied": lambda content: b""}


@pytest.fixture
def folder(tiny_dim_dir, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_dim_dir, folder)
    write_checksums(folder)
    return folder


@pytest.mark.parametrize("kind", [*KINDS, "removed"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(folder, name, kind):
    path = folder / name
    if kind == "removed":
        path.unlink()
    else:
        path.write_bytes(KINDS[kind](path.read_bytes()))
    with pytest.raises(DIMError, match=name) as caught:
        load_dim(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_without_checksums_a_file_that_cannot_be_read_is_one_line(folder, name):
    (folder / CHECKSUMS).unlink()
    (folder / name).write_bytes((folder / name).read_bytes()[:20])
    try:
        load_dim(folder)
    except DIMError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_a_model_that_somebody_changed_is_read_unverified(folder):
    (folder / "model.safetensors").write_bytes(flip((folder / "model.safetensors").read_bytes()))
    with unverified():
        load_dim(folder)


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer.json"])
def test_the_fingerprint_covers_whatever_decides_a_vector(folder, name):
    before = fingerprint(*load_dim(folder))
    assert fingerprint(*load_dim(folder)) == before
    text = (folder / name).read_text(encoding="utf-8")
    if name.startswith("processor"):
        config = json.loads(text)
        config["image_processor"]["image_mean"][0] += 0.1
        text = json.dumps(config)
    else:
        config = json.loads(text)
        vocabulary = config["model"]["vocab"]
        vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
        text = json.dumps(config)
    (folder / name).write_text(text, encoding="utf-8")
    with unverified():
        assert fingerprint(*load_dim(folder)) != before


def test_the_fingerprint_does_not_depend_on_the_last_call(folder):
    model, processor = load_dim(folder)
    before = fingerprint(model, processor)
    processor(mentions=["a"], text=["a b"], names=["c"], descriptions=["d " * 200])
    assert fingerprint(model, processor) == before
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    with unverified():
        assert fingerprint(*load_dim(folder)) == before
