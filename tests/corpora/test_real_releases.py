"""The real releases are read whole: their published counts, splits, leaks and offsets."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dim.corpora.read import read_release
from dim.corpora.release import Release
from dim.corpora.splits import clean

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def real(*arguments: Any) -> Release:
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data")
    folders = [DATA / name for name in ("melbench", "ghmfc", "kgmel")]
    return read_release(arguments[0], folders, *arguments[1:])


def sentences(release: Release) -> dict[str, int]:
    return dict(
        Counter(
            split for split, _ in {(mention.split, mention.image + mention.sentence) for mention in release.mentions}
        )
    )


@pytest.mark.real_data
def test_real_wikimel():
    release = real("wikimel")
    assert (len(release.mentions), len(release.entities), release.rows_in) == (20_715, 18_880, 20_715)
    assert sentences(release) == {"train": 15_511, "validation": 2_213}
    assert release.offsets.total() == 20_715
    assert sum(mention.mention not in mention.sentence for mention in release.mentions) == 584
    assert sum(mention.start < 0 for mention in release.mentions) == 3
    assert not any("NIL" in note for note in release.notes)
    assert "Sentence ids in splits.json that are not in the texts: 1810 of 19534." in release.notes
    text = {mention.id: mention.sentence for mention in release.mentions}
    shared = {mention.sentence for mention in release.mentions if mention.split == "train"}
    shared &= {mention.sentence for mention in release.mentions if mention.split == "validation"}
    assert len(shared) == 8
    cleaned, dropped = clean(release)
    assert shared <= {text[leak.key] for leak in dropped}
    assert len(dropped) == 9
    assert {leak.file for leak in dropped} == {"train"}
    assert len(cleaned.mentions) == 20_706


@pytest.mark.real_data
@pytest.mark.parametrize(("layout", "answer"), [("auto", "melbench"), ("ghmfc", "ghmfc")])
def test_real_richpedia(layout, answer):
    release = real("richpediamel", layout)
    assert release.layout == answer
    assert (len(release.mentions), len(release.entities), release.rows_in) == (14_244, 17_805, 14_244)
    assert Counter(mention.split for mention in release.mentions) == {
        "train": 11_396,
        "validation": 1_424,
        "test": 1_424,
    }
    assert not any(mention.entity_id in mention.id + mention.image_id for mention in release.mentions)
    order = [int(mention.entity_id[1:]) for mention in release.mentions]
    assert 0.4 < sum(left < right for left, right in itertools.pairwise(order)) / len(order) < 0.6
    assert {source.name for source in release.sources} >= {"qid2ne.json", "qid2abs_long.json"}
    if answer == "melbench":
        assert sum(mention.mention not in mention.sentence for mention in release.mentions) == 502 + 1  # a blank one
        assert not any(mention.start < 0 for mention in release.mentions)


@pytest.mark.real_data
def test_real_wikidiverse():
    release = real("wikidiverse")
    assert (len(release.mentions), len(release.entities), release.rows_in) == (12_807, 6_898, 12_807)
    counts = Counter({mention.id.split("-")[0]: mention.split for mention in release.mentions}.values())
    assert counts == {"train": 5_548, "validation": 791 + 8}
    moved = "8 (115, 945, 1178, 1339, 1448, 2620, 4944, 5162)"
    assert f"Sentence ids in several splits, which went to the last one: {moved}." in release.notes
    assert sum(bool(entity.aliases) for entity in release.entities) == 6
    assert not any(mention.start < 0 or not mention.entity_id for mention in release.mentions)
