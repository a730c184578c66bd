"""The schema of all datasets: mentions, entities and candidates."""

import datasets

SPLITS = ("train", "validation", "test")
CONFIGS = ("mentions", "entities", "candidates")
MANIFEST = "manifest.json"  # of a dataset that a command wrote, with the checksums of its files

# Where a description comes from, as `dim enhance` writes it; null where it is the release's own.
PROVENANCE = (
    "description_source",
    "description_model",
    "description_prompt",
    "description_created_at",
    "description_usage",
    "description_finish_reason",
)

_TEXT = datasets.Value("string")

MENTIONS = datasets.Features(
    {
        "id": _TEXT,
        "sentence": _TEXT,
        "mention": _TEXT,
        "start": datasets.Value("int32"),
        "end": datasets.Value("int32"),
        "image": datasets.Image(),
        "image_id": _TEXT,
        "image_license": _TEXT,
        "region": datasets.List(datasets.Value("int32")),
        "entity_id": _TEXT,
        "entity_type": _TEXT,
        "topic": _TEXT,
        "expert_answer": _TEXT,
        "expert_model": _TEXT,
        "expert_prompt": _TEXT,
    }
)
"""Columns of a mention. `start` and `end` are character offsets, -1 where the mention is not in its sentence.
`entity_id` is empty for NIL. `image` may be null; mentions with the same `image_id` share their picture. `region` is
null, or four numbers (left, top, right, bottom) in pixels of the picture for a mention that is a part of it. A mention
that is a picture alone has an empty `sentence` and `mention`.
`image_license` is an identifier of the Hub such as cc-by-4.0, empty where the release does not say it."""

ENTITIES = datasets.Features(
    {
        "id": _TEXT,
        "name": _TEXT,
        "aliases": datasets.List(_TEXT),
        "description": _TEXT,
        "images": datasets.List(datasets.Image()),
        "image_licenses": datasets.List(_TEXT),
        "type": _TEXT,
        "description_original": _TEXT,
        **dict.fromkeys(PROVENANCE, _TEXT),
    }
)
"""Columns of an entity; the split is `kb`. `image_licenses` has one for each of `images`, as `image_license` of a
mention. `description_original` is the text that a generated description replaced."""

CANDIDATES = datasets.Features({"mention_id": _TEXT, "entity_ids": datasets.List(_TEXT), "source": _TEXT})
"""Columns of a mention's candidates, best first. The gold is not added where the search missed it."""

FEATURES = {"mentions": MENTIONS, "entities": ENTITIES, "candidates": CANDIDATES}
