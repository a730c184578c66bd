"""The embedded sample dataset `datasets/namesakes`: what its card promises holds for the committed files."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import itertools
import json
import re
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image, ImageStat

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "datasets" / "namesakes"
SPLITS = ("train", "validation", "test")
LICENSES = {"Apache-2.0", "MIT", "CC0-1.0", "CC-BY-4.0"}
Rows = list[dict[str, Any]]

MENTION_COLUMNS = """
    id sentence mention start end image image_id entity_id entity_type topic expert_answer expert_model
    expert_prompt sentence_kind image_style image_source image_license
"""
ENTITY_COLUMNS = """
    id name aliases description images type description_original description_source description_model
    description_prompt description_created_at description_usage description_finish_reason image_styles
    image_sources image_licenses
"""


def read(config: str, split: str) -> Rows:
    return pq.read_table(FOLDER / config / f"{split}-00000-of-00001.parquet").to_pylist()


@pytest.fixture(scope="module")
def mentions() -> dict[str, Rows]:
    return {split: read("mentions", split) for split in SPLITS}


@pytest.fixture(scope="module")
def entities() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read("entities", "kb")}


@pytest.fixture(scope="module")
def candidates() -> dict[str, dict[str, list[str]]]:
    return {split: {r["mention_id"]: r["entity_ids"] for r in read("candidates", split)} for split in SPLITS}


@pytest.fixture(scope="module")
def pictures(mentions, entities) -> dict[str, bytes]:
    found = {row["image"]["path"]: row["image"]["bytes"] for split in SPLITS for row in mentions[split]}
    return found | {image["path"]: image["bytes"] for row in entities.values() for image in row["images"]}


def namesakes(rows: Rows) -> Rows:
    return [row for row in rows if row["topic"] == "namesake"]


def test_columns(mentions, entities):
    for split in SPLITS:
        assert list(mentions[split][0]) == MENTION_COLUMNS.split()
    assert list(next(iter(entities.values()))) == ENTITY_COLUMNS.split()
    assert list(read("candidates", "test")[0]) == ["mention_id", "entity_ids", "source"]


def test_files_carry_no_schema_metadata():
    paths = sorted(FOLDER.glob("*/*.parquet"))
    assert len(paths) == 7
    for path in paths:
        assert not pq.read_schema(path).metadata
        assert pq.ParquetFile(path).num_row_groups == 1


def test_size():
    assert sum(path.stat().st_size for path in FOLDER.glob("*/*.parquet")) <= 8_000_000


def test_counts_are_as_large_as_promised(mentions, entities):
    assert len({row["mention"] for split in SPLITS for row in namesakes(mentions[split])}) >= 200
    assert len({row["mention"] for row in namesakes(mentions["test"])}) >= 55
    assert len(entities) >= 1_600
    assert 6_000 <= len(mentions["train"]) <= 8_000
    assert 600 <= len(mentions["validation"]) <= 1_000
    assert 1_500 <= len(mentions["test"]) <= 2_500


def test_offsets_and_values(mentions, entities):
    for split in SPLITS:
        for row in mentions[split]:
            assert row["sentence"][row["start"] : row["end"]] == row["mention"] != ""
            assert row["entity_type"] == entities[row["entity_id"]]["type"]
            assert row["topic"] in ("namesake", "background")
            assert row["expert_answer"] == row["expert_model"] == row["expert_prompt"] == ""
            assert row["sentence"][0].isupper()
            assert row["sentence"][-1] in ".!?"
            assert "{" not in row["sentence"]


def test_sentences_never_name_the_entity(mentions, entities):
    def words(text: str) -> set[str]:
        return {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", text.lower()) if len(word) > 3}

    for split in SPLITS:
        for row in mentions[split]:
            rest = row["sentence"][: row["start"]] + row["sentence"][row["end"] :]
            assert not words(rest) & words(entities[row["entity_id"]]["name"] + " " + row["mention"]), row["sentence"]


def test_ids_are_opaque_and_unique(mentions, entities):
    ids = [row["id"] for split in SPLITS for row in mentions[split]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"m\d{6}", name) for name in ids)
    assert all(re.fullmatch(r"e\d{4}", name) for name in entities)
    for split in SPLITS:
        assert [row["id"] for row in mentions[split]] == sorted(row["id"] for row in mentions[split])
        for row in mentions[split]:
            assert row["image"]["path"] == f"{row['image_id']}.webp"
            assert re.fullmatch(r"p\d{5}", row["image_id"])
    order = [row["entity_id"] for row in namesakes(mentions["test"])]
    assert sum(left == right for left, right in itertools.pairwise(order)) < len(order) / 20


def test_one_id_for_each_picture(pictures):
    assert len(set(pictures.values())) == len(pictures)


def test_names_and_descriptions_are_unique(entities):
    pairs = Counter((row["name"], row["description"]) for row in entities.values())
    assert max(pairs.values()) == 1
    for row in entities.values():
        assert row["name"]
        assert len(row["description"].split()) >= 3
        assert row["description_source"] == "namesakes"
        assert row["description_original"] is None  # no model has written it, so `dim enhance` may show it to one


def test_candidates_are_the_senses_of_the_form(mentions, candidates, entities):
    senses: dict[str, set[str]] = defaultdict(set)
    for split in SPLITS:
        for row in namesakes(mentions[split]):
            senses[row["mention"]].add(row["entity_id"])
    for split in SPLITS:
        rows = namesakes(mentions[split])
        assert set(candidates[split]) == {row["id"] for row in rows}
        for row in rows:
            ids = candidates[split][row["id"]]
            assert ids == sorted(senses[row["mention"]])
            assert len(ids) >= 2
            assert row["entity_id"] in ids
            entity = entities[row["entity_id"]]
            assert row["mention"] in [entity["name"], *entity["aliases"]]


def test_splits_share_nothing(mentions, entities):
    for column in ("entity_id", "image_id", "mention"):
        values = {split: {row[column] for row in mentions[split]} for split in SPLITS}
        for left, right in (("train", "validation"), ("train", "test"), ("validation", "test")):
            assert not values[left] & values[right], (column, left, right)
    digests = {split: {hashlib.sha256(row["image"]["bytes"]).digest() for row in mentions[split]} for split in SPLITS}
    assert not digests["train"] & (digests["validation"] | digests["test"])
    shown = {image["bytes"] for row in entities.values() for image in row["images"]}
    assert not shown & {row["image"]["bytes"] for split in SPLITS for row in mentions[split]}


def test_templates_of_train_are_used_nowhere_else(mentions):
    templates = {
        split: {
            re.sub(r"\bthe (?=\{m\})", "", r["sentence"][: r["start"]] + "{m}" + r["sentence"][r["end"] :])
            for r in mentions[split]
        }
        for split in SPLITS
    }
    assert not templates["train"] & (templates["validation"] | templates["test"])


def test_styles(mentions, entities):
    for split in SPLITS:
        for row in mentions[split]:
            assert row["image_style"] not in entities[row["entity_id"]]["image_styles"]
            assert row["image_style"] != "twemoji" or split == "test"
    assert sum(row["image_style"] == "twemoji" for row in mentions["test"]) >= 300
    for row in entities.values():
        assert not set(row["image_styles"]) & {"twemoji", "simple-icons-tile"}
        assert len(row["images"]) == len(row["image_styles"]) == len(row["image_sources"]) == len(row["image_licenses"])
    assert sum(not row["images"] for row in entities.values()) <= 5


def test_half_of_the_sentences_are_neutral(mentions):
    for split in SPLITS:
        for rows in (mentions[split], namesakes(mentions[split])):
            kinds = Counter(row["sentence_kind"] for row in rows)
            assert set(kinds) == {"neutral", "hint"}
            assert kinds["neutral"] == kinds["hint"]


def test_the_senses_of_a_form_are_equally_frequent(mentions):
    for split in SPLITS:
        rows: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for row in namesakes(mentions[split]):
            rows[row["mention"], row["sentence_kind"]][row["entity_id"]] += 1
        assert all(len(counts) > 1 and len(set(counts.values())) == 1 for counts in rows.values())


def test_no_row_is_repeated(mentions):
    for split in SPLITS:
        assert len({(row["sentence"], row["image_id"]) for row in mentions[split]}) == len(mentions[split])


def test_neutral_templates_do_not_depend_on_the_sense(mentions):
    """Each neutral template occurs with several types, so that it cannot tell them apart."""
    for split in SPLITS:
        types = defaultdict(set)
        for row in mentions[split]:
            if row["sentence_kind"] == "neutral":
                types[row["sentence"][: row["start"]] + "{m}" + row["sentence"][row["end"] :]].add(row["entity_type"])
        assert 12 <= len(types) <= 30
        assert min(len(kinds) for kinds in types.values()) >= 5


def test_licenses_and_notice(mentions, entities):
    notice = (ROOT / "NOTICE").read_text("utf-8")
    packages = json.loads((FOLDER / "script/packages.json").read_text("utf-8"))
    pinned = {f"{package['name']}@{package['version']}": package for package in packages}
    sources = [(r["image_style"], r["image_source"], r["image_license"]) for s in SPLITS for r in mentions[s]]
    for row in entities.values():
        sources += zip(row["image_styles"], row["image_sources"], row["image_licenses"], strict=True)
    for style, source, license_name in set(sources):
        package = pinned[source.rsplit("/", 1)[0]]
        assert license_name == package["license"] in LICENSES
        assert re.search(rf"^{re.escape(style.removesuffix('-tile'))} ", notice, re.MULTILINE), style
        assert f"{package['name']} {package['version']}" in notice
        assert package["upstream"] in notice
    assert "trademarks" in notice
    assert "rasterised" in notice


def test_pictures_decode_and_are_not_blank(pictures):
    for path, data in pictures.items():
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "WEBP", path
            assert picture.size == (96, 96), path
            flat = picture.convert("RGB")
        assert max(ImageStat.Stat(flat).stddev) > 5, path
        if picture.mode == "RGBA" and picture.getpixel((0, 0))[3] == 0:
            assert flat.getpixel((0, 0)) == (255, 255, 255), path


@pytest.mark.parametrize("config", [None, "mentions", "entities", "candidates"])
def test_loads_by_path(config, tmp_path, mentions, entities, candidates):
    loaded = load_dataset(str(FOLDER), config, cache_dir=str(tmp_path))
    sizes = {split: len(rows) for split, rows in loaded.items()}
    if config == "entities":
        assert sizes == {"kb": len(entities)}
        images = loaded["kb"][0]["images"]
        assert isinstance(images, list)
        assert all(image.size == (96, 96) for image in images)
    elif config == "candidates":
        assert sizes == {split: len(rows) for split, rows in candidates.items()}
        assert isinstance(loaded["test"][0]["entity_ids"], list)
    else:
        assert sizes == {split: len(rows) for split, rows in mentions.items()}
        assert loaded["test"][0]["image"].size == (96, 96)


def test_card_has_the_counts_of_the_files(mentions, entities, candidates):
    card = (FOLDER / "README.md").read_text("utf-8")
    assert "$" not in card.split("```bibtex")[0]
    declared = {
        config: dict(re.findall(r"- name: (\w+)\n\s+num_bytes: \d+\n\s+num_examples: (\d+)", block))
        for config, block in re.findall(r"- config_name: (\w+)\n  features:(.*?)dataset_size", card, re.DOTALL)
    }
    assert declared == {
        "mentions": {split: str(len(rows)) for split, rows in mentions.items()},
        "entities": {"kb": str(len(entities))},
        "candidates": {split: str(len(rows)) for split, rows in candidates.items()},
    }
    for split in SPLITS:
        rows = mentions[split]
        cells = [len(rows), len(namesakes(rows)), len(rows) - len(namesakes(rows))]
        cells += [len({r["mention"] for r in namesakes(rows)})]
        cells += [len({r[name] for r in rows}) for name in ("entity_id", "image_id")]
        assert f"| `{split}` | " + " | ".join(f"{cell:,}" for cell in cells) + " |" in card


def test_tables_pass_their_own_checks(script):
    tables, rows = script("tables"), script("rows")
    senses, background = tables.load()
    assert len(senses) + len(background) == len(read("entities", "kb"))
    splits = rows.split_of([sense.form for sense in senses], rows.FORM_SHARES)
    assert {form for form, split in splits.items() if split == "test"} == {
        row["mention"] for row in namesakes(read("mentions", "test"))
    }


def test_a_repeated_key_is_refused(script, tmp_path):
    tables = script("tables")
    for name in ("senses.tsv", "background.tsv"):
        shutil.copy(FOLDER / "script" / name, tmp_path / name)
    with (tmp_path / "background.tsv").open("a", encoding="utf-8") as handle:
        handle.write("f:tr\tTürkiye\t\tcountry\t\tsome other words\t\n")
    with pytest.raises(tables.TableError, match="key more than once"):
        tables.load(tmp_path)


@pytest.fixture
def script(monkeypatch):
    """Imports a module of the dataset's script folder, which is no package."""
    monkeypatch.syspath_prepend(str(FOLDER / "script"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER / "script":
            del sys.modules[name]


@pytest.mark.network
@pytest.mark.slow
def test_rebuilding_gives_the_same_bytes(script, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, and the packages are fetched by `npm pack`")
    for line in (FOLDER / "script" / "requirements.txt").read_text("utf-8").split():
        name, version = line.split("==")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed")
        if found != version:
            pytest.skip(f"{name} is {found}, the committed files were built with {version}")
    build = script("build")
    packages = tmp_path / "packages"
    for out in ("first", "second"):
        build.main(["--packages", str(packages), "--out", str(tmp_path / out)])
    paths = [path.relative_to(FOLDER) for path in sorted(FOLDER.glob("*/*.parquet"))] + [Path("README.md")]
    for path in paths:
        committed = (FOLDER / path).read_bytes()
        assert (tmp_path / "first" / path).read_bytes() == committed, path
        assert (tmp_path / "second" / path).read_bytes() == committed, path
