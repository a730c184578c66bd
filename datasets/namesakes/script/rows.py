"""Builds the rows of the three tables from drawn concepts: splits, sentences and opaque ids."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from icons import TEST_STYLE, Drawing
from pictures import Drawn
from templates import Templates

SEED = "namesakes"
SPLITS = ("train", "validation", "test")
FORM_SHARES = (0.60, 0.12)
"""Shares of the surface forms in train and validation; the rest is test."""
BACKGROUND_SHARES = (0.84, 0.08)
TRAIN_PICTURES = 2
"""Mention pictures of a background entity outside of `twemoji`."""
ROUNDS = {"train": 2, "validation": 1, "test": 1}
"""Neutral sentences, and hinting sentences, per mention picture of the form's sense with the most pictures."""
EMPTY_EXPERT = {"expert_answer": "", "expert_model": "", "expert_prompt": ""}
EMPTY_DESCRIPTION = {
    "description_original": None,  # an empty string would mean that there was none before
    "description_source": "namesakes",
    "description_model": None,
    "description_prompt": None,
    "description_created_at": None,
    "description_usage": None,
    "description_finish_reason": None,
}


@dataclass
class Tables:
    """The rows of all tables; mentions and candidates by split."""

    mentions: dict[str, list[dict[str, Any]]]
    entities: list[dict[str, Any]]
    candidates: dict[str, list[dict[str, Any]]]


def split_of(names: list[str], shares: tuple[float, float]) -> dict[str, str]:
    """Assigns names to splits by their hashes."""
    order = sorted(set(names), key=lambda name: _hash("split", name))
    first, second = round(shares[0] * len(order)), round((shares[0] + shares[1]) * len(order))
    return {n: SPLITS[(place >= first) + (place >= second)] for place, n in enumerate(order)}


def make(drawn: list[Drawn], templates: Templates) -> Tables:
    """Builds the rows.

    All senses of a form get the same number of rows, half of them neutral, so that no sense is the better guess: the
    fewer pictures a sense has, the more sentences each picture gets. Background entities show up to two of their
    pictures, each in one neutral and one hinting sentence. The style `twemoji` appears in the test split only.
    """
    forms = split_of([d.concept.form for d in drawn if d.concept.form], FORM_SHARES)
    others = split_of([d.concept.key for d in drawn if not d.concept.form], BACKGROUND_SHARES)
    entity_ids = dict(_shuffled("entity", [d.concept.key for d in drawn], "e{:04d}"))
    senses: dict[str, list[str]] = {}
    shown: dict[str, list[tuple[Drawing, bytes]]] = {}
    widest: Counter[str] = Counter()
    for one in drawn:
        form, key = one.concept.form, one.concept.key
        shown[key] = _shown(one, forms[form] if form else others[key])
        if form:
            senses.setdefault(form, []).append(entity_ids[key])
            widest[form] = max(widest[form], len(shown[key]))

    image_ids = _image_ids(drawn)
    mentions: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for one in drawn:
        concept = one.concept
        split = forms[concept.form] if concept.form else others[concept.key]
        pictures = shown[concept.key]
        total = widest[concept.form] * ROUNDS[split] if concept.form else len(pictures)
        for place, (drawing, data) in enumerate(pictures):
            image_id = image_ids[data]
            for kind in ("neutral", "hint"):
                sentences = templates.sentences(
                    concept.mention,
                    concept.name,
                    concept.type,
                    concept.hint,
                    hinting=kind == "hint",
                    part="train" if split == "train" else "test",
                    count=total // len(pictures) + (place < total % len(pictures)),
                    rng=random.Random(_hash("sentence", concept.key, drawing.style, kind)),
                )
                mentions[split].extend(
                    {
                        "id": "",
                        "sentence": sentence,
                        "mention": concept.mention,
                        "start": start,
                        "end": start + len(concept.mention),
                        "image": {"bytes": data, "path": f"{image_id}.webp"},
                        "image_id": image_id,
                        "entity_id": entity_ids[concept.key],
                        "entity_type": concept.type,
                        "topic": "namesake" if concept.form else "background",
                        **EMPTY_EXPERT,
                        "sentence_kind": kind,
                        "image_style": drawing.style,
                        "image_source": drawing.source,
                        "image_license": drawing.license,
                    }
                    for sentence, start in sentences
                )
    _number(mentions)
    form_of = {entity_ids[d.concept.key]: d.concept.form for d in drawn}
    candidates = {
        split: [
            {"mention_id": r["id"], "entity_ids": sorted(senses[form_of[r["entity_id"]]]), "source": "senses"}
            for r in rows
            if r["topic"] == "namesake"
        ]
        for split, rows in mentions.items()
    }
    entities = sorted((_entity(d, entity_ids, image_ids) for d in drawn), key=lambda row: row["id"])
    return Tables(mentions, entities, candidates)


def _shown(one: Drawn, split: str) -> list[tuple[Drawing, bytes]]:
    """The mention pictures of an entity in a split."""
    plain = [p for p in one.mentions if p[0].style != TEST_STYLE]
    if not one.concept.form:
        plain = sorted(plain, key=lambda p: _hash("shown", one.concept.key, p[0].style))[:TRAIN_PICTURES]
    return plain + [p for p in one.mentions if p[0].style == TEST_STYLE and split == "test"]


def _entity(one: Drawn, entity_ids: dict[str, str], image_ids: dict[bytes, str]) -> dict[str, Any]:
    concept = one.concept
    pictures = [one.entity] if one.entity else []
    aliases = [n for n in (concept.form, concept.alias) if n and n != concept.name]
    return {
        "id": entity_ids[concept.key],
        "name": concept.name,
        "aliases": aliases,
        "description": concept.description[0].upper() + concept.description[1:] + ".",
        "images": [{"bytes": data, "path": f"{image_ids[data]}.webp"} for _, data in pictures],
        "type": concept.type,
        **EMPTY_DESCRIPTION,
        "image_styles": [d.style for d, _ in pictures],
        "image_sources": [d.source for d, _ in pictures],
        "image_licenses": [d.license for d, _ in pictures],
    }


def _image_ids(drawn: list[Drawn]) -> dict[bytes, str]:
    pictures = {data for one in drawn for _, data in [*one.mentions, *([one.entity] if one.entity else [])]}
    digests = {hashlib.sha256(data).hexdigest(): data for data in pictures}
    return {digests[digest]: name for digest, name in _shuffled("image", sorted(digests), "p{:05d}")}


def _number(mentions: dict[str, list[dict[str, Any]]]) -> None:
    """Gives the mentions shuffled ids, and sorts each split by id."""
    rows = [row for split in SPLITS for row in mentions[split]]
    keys = [f"{row['entity_id']} {row['image_id']} {row['sentence']}" for row in rows]
    numbers = dict(_shuffled("mention", keys, "m{:06d}"))
    for row, key in zip(rows, keys, strict=True):
        row["id"] = numbers[key]
    for split in SPLITS:
        mentions[split].sort(key=lambda row: row["id"])


def _shuffled(purpose: str, names: list[str], pattern: str) -> list[tuple[str, str]]:
    order = sorted(names, key=lambda name: _hash(purpose, name))
    return [(name, pattern.format(place)) for place, name in enumerate(order, 1)]


def _hash(*parts: str) -> str:
    return hashlib.sha256("\t".join((SEED, *parts)).encode()).hexdigest()
