"""The six published datasets: their cards are complete and true to the schema, their scripts run."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from datasets.utils import metadata
from huggingface_hub import DatasetCard
from raw_release import PROVENANCE, write_pictures, write_release

from dim.common.cards import read_card
from dim.corpora.build.builder import MELBuilder
from dim.corpora.build.card import OWN, feature_list
from dim.corpora.build.dataset import NAMES, build
from dim.corpora.loading import load_mentions
from dim.corpora.schema import CONFIGS, FEATURES, SPLITS

FOLDER = Path(__file__).resolve().parents[1] / "datasets"
RESOURCES = Path(datasets.__file__).parent / "utils" / "resources"  # values that the Hub knows
SECTIONS = [
    *("Load", "Fields", "Splits", "Source", "What `dim build` does", "Known leaks and biases", "Licence", "Citation")
]


@pytest.fixture
def script(monkeypatch):
    """Imports the class of a dataset's script, as its users do: with its folder on the path."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def load(name: str) -> type[MELBuilder]:
        monkeypatch.syspath_prepend(str(FOLDER / name / "script"))
        module = importlib.import_module(name)
        (found,) = (thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == name)
        return found

    yield load
    for name in set(sys.modules) & set(NAMES) - before:
        del sys.modules[name]


# --------------------------------------------------------------------------------------------------------------- cards


def cards() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Name, metadata and text of each card."""
    for name in NAMES:
        yield name, *read_card((FOLDER / name / "README.md").read_text(encoding="utf-8"))


def test_the_cards_have_every_section():
    for name, front, body in cards():
        assert re.findall(r"^## (.*)$", body, re.MULTILINE) == SECTIONS, name
        assert re.findall(r"^# (.*)$", body, re.MULTILINE) == [front["pretty_name"]], name
        prose = body.split("```bibtex")[0]
        assert not re.search(r"more information needed|todo|tbd|\{\w|<[a-z]|\[\[", prose, re.IGNORECASE), name
        assert not re.search(r"(^|[\s`(])/[a-z]+/", body), name
        for config in CONFIGS:
            for column in FEATURES[config]:
                assert f"`{column}`" in body, (name, column)
        assert name in body
        assert body.count("```bibtex") == 1, name


def test_the_yaml_is_that_of_the_schema():
    splits = {"mentions": list(SPLITS), "entities": ["kb"], "candidates": list(SPLITS)}
    for name, front, _ in cards():
        assert [config["config_name"] for config in front["configs"]] == list(CONFIGS), name
        assert [config.get("default", False) for config in front["configs"]] == [True, False, False], name
        for config in front["configs"]:
            own = config["config_name"]
            assert config["data_files"] == [{"split": s, "path": f"{own}/{s}-*.parquet"} for s in splits[own]], name
        for info in front["dataset_info"]:
            assert set(info) == {"config_name", "features"}, "split counts are written by `dim build`"
            assert datasets.Features._from_yaml_list(info["features"]) == FEATURES[info["config_name"]], name
            assert info["features"] == feature_list(FEATURES[info["config_name"]]), name
        assert front["language"] == ["en"], name
        assert front["size_categories"] == ["10K<n<100K"], name
        assert front["license"] == ("cc-by-sa-4.0" if name.startswith("wikidiverse") else "other"), name
        DatasetCard.load(FOLDER / name / "README.md")


@pytest.mark.parametrize("name", [*NAMES, "namesakes", "a build"])
def test_the_metadata_is_what_the_hub_knows(name, tmp_path):
    """The rules of huggingface_hub and datasets that need no network; the Hub itself checks more at a push."""
    text = (FOLDER / name / "README.md").read_text(encoding="utf-8") if name != "a build" else OWN.format(name="mine")
    yaml.load(text.split("---\n")[1], metadata._NoDuplicateSafeLoader)
    data = DatasetCard(text).data
    resources = {path.stem: json.loads(path.read_text()) for path in RESOURCES.glob("*.json")}
    assert set(data.language or []) <= set(resources["languages"])
    assert set(data.size_categories or []) <= set(resources["size_categories"])
    assert data.task_categories == ["text-retrieval"]
    assert set(data.task_categories) <= set(metadata.known_task_ids)
    assert data.task_ids == ["entity-linking-retrieval"]
    licences = data.license if isinstance(data.license, list) else [data.license]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", one) for one in licences)
    assert ("license_name" in data) == (licences == ["other"])
    configs = metadata.MetadataConfigs.from_dataset_card_data(data)
    infos = datasets.info.DatasetInfosDict.from_dataset_card_data(data)
    assert list(configs) == list(infos) == ([] if name == "a build" else list(CONFIGS))


def test_what_the_cards_tell_to_run_is_python():
    for name, _, body in cards():
        for block in re.findall(r"^```python\n(.*?)^```", body, re.MULTILINE | re.DOTALL):
            compile(block, name, "exec")


def test_features_are_written_as_datasets_writes_them():
    for features in FEATURES.values():
        assert feature_list(features) == features._to_yaml_list()


# ------------------------------------------------------------------------------------------------------------- scripts


def test_the_scripts_are_builders(script):
    for name in NAMES:
        found = script(name)
        assert issubclass(found, datasets.GeneratorBasedBuilder), name
        assert found.release == name.removesuffix("_plus")
        assert found.plus == name.endswith("_plus"), name
        assert list(found.builder_configs) == list(CONFIGS), name


def test_no_script_is_called_like_its_folder():
    """`datasets` refuses a folder with a script of its own name in it."""
    for name in NAMES:
        assert not (FOLDER / name / f"{name}.py").exists()


def test_the_class_gives_what_the_build_gives(script, tmp_path):
    raw, images = write_release(tmp_path / "raw"), write_pictures(tmp_path / "images")
    out = build("wikimel", [raw], tmp_path / "out", images=[images]).folder
    options = {"data_dir": str(raw), "images": [str(images)], "cache_dir": str(tmp_path / "cache")}
    for config in CONFIGS:
        builder = script("wikimel")(config_name=config, **options)
        builder.download_and_prepare()
        made = builder.as_dataset()
        for split, rows in datasets.load_dataset(str(out), config, cache_dir=str(tmp_path / "cache2")).items():
            plain = [part.cast_column("image", datasets.Image(decode=False)) if config == "mentions" else part
                     for part in (made[split], rows)]  # fmt: skip
            assert plain[0].to_list() == plain[1].to_list()
    stream = script("wikimel")(config_name="mentions", **options).as_streaming_dataset(split="train")
    assert [row["id"] for row in stream] == load_mentions(str(out), "train")["id"][:]


def test_the_class_sees_that_a_file_has_changed(script, tmp_path):
    raw = write_release(tmp_path / "raw")

    def names() -> list[str]:
        builder = script("wikimel")(config_name="entities", data_dir=str(raw), cache_dir=str(tmp_path / "cache"))
        builder.download_and_prepare()
        return builder.as_dataset(split="kb")["name"][:]

    assert "Mira Holt" in names()
    path = raw / "qid2ne.json"
    path.write_text(path.read_text().replace("Mira Holt", "Mira Molt"))
    assert "Mira Molt" in names()


def test_the_class_asks_for_its_folder(script, tmp_path):
    builder = script("wikimel")(config_name="mentions", cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="Give the folder of the raw release as data_dir"):
        builder.download_and_prepare()


def test_the_plus_class(script, tmp_path):
    raw = write_release(tmp_path / "raw")
    lines = tmp_path / "d.jsonl"
    lines.write_text(json.dumps({"id": "Q11", "description": "A pilot.", **PROVENANCE}))
    options = {"config_name": "entities", "raw": [str(raw)], "cache_dir": str(tmp_path / "cache")}
    builder = script("wikimel_plus")(descriptions=str(lines), **options)
    builder.download_and_prepare()
    assert "A pilot." in builder.as_dataset(split="kb")["description"][:]
    with pytest.raises(ValueError, match="wikimel_plus needs --descriptions"):
        script("wikimel_plus")(**options).download_and_prepare()
