"""The six published datasets: their cards are complete and true to the schema, their scripts run."""

import ast
import importlib
import json
import re
import subprocess
import sys
import venv
from pathlib import Path

import datasets
import pytest
from huggingface_hub import DatasetCard
from raw_release import PROVENANCE, write_pictures, write_release

from dim.common.cards import read_card
from dim.corpora.build.builder import MELBuilder
from dim.corpora.build.card import feature_list
from dim.corpora.build.dataset import NAMES, build
from dim.corpora.loading import load_mentions
from dim.corpora.schema import CONFIGS, FEATURES, SPLITS

FOLDER = Path(__file__).resolve().parents[1] / "datasets"
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


@pytest.mark.parametrize("name", NAMES)
def test_the_card_has_every_section(name):
    front, body = read_card((FOLDER / name / "README.md").read_text(encoding="utf-8"))
    assert re.findall(r"^## (.*)$", body, re.MULTILINE) == SECTIONS
    assert re.findall(r"^# (.*)$", body, re.MULTILINE) == [front["pretty_name"]]
    prose = body.split("```bibtex")[0]
    assert not re.search(r"more information needed|todo|tbd|\{\w|<[a-z]|\[\[", prose, re.IGNORECASE)
    assert not re.search(r"(^|[\s`(])/[a-z]+/", body)
    for config in CONFIGS:
        for column in FEATURES[config]:
            assert f"`{column}`" in body, column
    assert name in body
    assert body.count("```bibtex") == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_is_that_of_the_schema(name):
    front, _ = read_card((FOLDER / name / "README.md").read_text(encoding="utf-8"))
    splits = {"mentions": list(SPLITS), "entities": ["kb"], "candidates": list(SPLITS)}
    assert [config["config_name"] for config in front["configs"]] == list(CONFIGS)
    assert [config.get("default", False) for config in front["configs"]] == [True, False, False]
    for config in front["configs"]:
        name_ = config["config_name"]
        assert config["data_files"] == [{"split": s, "path": f"{name_}/{s}-*.parquet"} for s in splits[name_]]
    for info in front["dataset_info"]:
        assert set(info) == {"config_name", "features"}, "split counts are written by `dim build`"
        assert datasets.Features._from_yaml_list(info["features"]) == FEATURES[info["config_name"]]
        assert info["features"] == feature_list(FEATURES[info["config_name"]])
    assert front["language"] == ["en"]
    assert front["size_categories"] == ["10K<n<100K"]
    assert front["license"] == ("cc-by-sa-4.0" if name.startswith("wikidiverse") else "other")
    DatasetCard.load(FOLDER / name / "README.md")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_card_tells_to_run_is_python(name):
    _, body = read_card((FOLDER / name / "README.md").read_text(encoding="utf-8"))
    for block in re.findall(r"^```python\n(.*?)^```", body, re.MULTILINE | re.DOTALL):
        compile(block, name, "exec")


def test_features_in_the_words_of_every_version():
    features = datasets.Features({"a": datasets.Value("int32"), "b": datasets.List(datasets.Image())})
    assert feature_list(features) == [{"name": "a", "dtype": "int32"}, {"name": "b", "list": "image"}]


# ------------------------------------------------------------------------------------------------------------- scripts


@pytest.mark.parametrize("name", NAMES)
def test_the_script_is_a_builder(name, script):
    found = script(name)
    assert issubclass(found, datasets.GeneratorBasedBuilder)
    assert found.release == name.removesuffix("_plus")
    assert found.plus == name.endswith("_plus")
    assert list(found.builder_configs) == list(CONFIGS)


@pytest.mark.parametrize("name", NAMES)
def test_the_script_imports_one_name_a_line(name):
    """The scanner of `datasets` 3 takes `import a, b` for a package called `a,`."""
    for node in ast.walk(ast.parse((FOLDER / name / "script" / f"{name}.py").read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert len(node.names) == 1


def test_no_script_is_called_like_its_folder():
    """From version 4 on, `datasets` refuses a folder with a script of its own name in it, data or not."""
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


# ------------------------------------------------------------------------------------------- an environment of its own

VERSION_3 = """
import json, sys
import datasets
folder, script, raw, images, cache = sys.argv[1:]
found = {"version": datasets.__version__}
for config in ("mentions", "entities", "candidates"):
    rows = datasets.load_dataset(folder, config, cache_dir=cache)
    found[config] = {split: len(part) for split, part in rows.items()}
row = datasets.load_dataset(folder, "mentions", split="validation", cache_dir=cache)[0]
found["size"] = row["image"].size
found["streamed"] = sum(1 for row in datasets.load_dataset(folder, "mentions", split="train", streaming=True))
found["aliases"] = datasets.load_dataset(folder, "entities", split="kb", cache_dir=cache)[0]["aliases"]
for config in ("mentions", "entities", "candidates"):
    rows = datasets.load_dataset(
        script, config, data_dir=raw, images=[images], trust_remote_code=True, cache_dir=cache
    )
    found["script " + config] = {split: len(part) for split, part in rows.items()}
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def version_3(tmp_path_factory) -> Path:
    """The Python of an environment with `datasets` 3.6.0, and for the rest the packages of this one."""
    folder = tmp_path_factory.mktemp("datasets3")
    venv.create(folder, with_pip=True)
    found = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    here = Path(datasets.__file__).resolve().parents[1]
    (site / "zz_more.pth").write_text(f"import site; site.addsitedir({str(here)!r})\n")
    command = [str(found), "-m", "pip", "install", "-q", "datasets==3.6.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install datasets 3.6.0 here: {done.stderr.strip().splitlines()[-1]}")
    return found


@pytest.mark.slow
def test_version_3_loads_the_folder_and_the_script(version_3, tmp_path):
    raw, images = write_release(tmp_path / "raw"), write_pictures(tmp_path / "images")
    out = build("wikimel", [raw], tmp_path / "out", images=[images]).folder
    arguments = [out, out / "script" / "wikimel.py", raw, images, tmp_path / "cache"]
    command = [str(version_3), "-c", VERSION_3, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("version") == "3.6.0"
    mentions = {"train": 5, "validation": 3}
    counts = {"mentions": mentions, "entities": {"kb": 6}, "candidates": mentions}
    assert found == {
        **counts,
        **{f"script {config}": rows for config, rows in counts.items()},
        "size": [40, 30],
        "streamed": 5,
        "aliases": [],
    }
