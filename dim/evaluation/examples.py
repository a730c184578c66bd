"""Examples for the error browser of the report: mentions, their golds, and the entities that were found."""

import base64
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice, repeat
from typing import Any

import torch
from rapidfuzz import fuzz
from torch import Tensor
from tqdm.auto import tqdm

from dim.common.ids import index_of
from dim.common.pictures import load_picture
from dim.common.regions import cut_out
from dim.corpora.splits import seeded_order
from dim.evaluation.outcome import Outcome
from dim.evaluation.slices import Table
from dim.evaluation.systems.dim import Encoder
from dim.evaluation.systems.name_match import comparable

BEST = 5
"""Number of entities shown for each mention."""
_SIDE = 160  # longer side of a picture in pixels
_RIGHT = 0.2  # share of examples with a right answer, for comparison


def make_examples(
    outcomes: Sequence[Outcome],
    mentions: Any,
    entities: Any,
    table: Table,
    slices: Mapping[str, Mapping[str, Tensor]],
    encoder: Encoder | None,
    limit: int,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Selects mentions and collects the results of the first system.

    Args:
        outcomes: Outcomes of all systems; the errors of the first are shown.
        mentions: `datasets.Dataset` of the split.
        entities: `datasets.Dataset` of the knowledge base.
        table: Its columns.
        slices: Masks by slice, by group.
        encoder: The model of the first system, for the attention weights of each modality; `None` for a baseline.
        limit: Largest number of mentions; errors first, selected at random by a fixed seed if there are more.
        progress: Whether to show a progress bar.

    Returns:
        The content of the page for each mention, in the order of the split; pictures are small JPEGs as `data:` URLs.

    Raises:
        PictureError: If a picture cannot be read.
    """
    first, seen = outcomes[0], Counter(table.train_gold)
    chosen = _choose(mentions["id"][:], first.correct.tolist(), limit)
    rows = mentions.select(chosen)
    attentions = [{} for _ in chosen] if encoder is None or not chosen else encoder.attentions(rows)
    examples = []
    for row, mention, attention in zip(chosen, tqdm(rows, "examples", disable=not progress), attentions, strict=True):
        gold = int(table.gold[row])
        entity = partial(_entity, entities, mention, seen)
        examples.append(
            {
                **{name: mention[name] for name in ("id", "sentence", "mention", "start", "end")},
                "expert": mention.get("expert_answer") or "",
                "picture": _picture(mention["image"], mention.get("region")),
                "right": bool(first.correct[row]),
                "gold": entity(gold) if gold >= 0 else None,
                "gold score": float(first.gold_scores[row]) if gold >= 0 else None,
                "ranks": {one.name: _rank(one, row) for one in outcomes},
                "slices": [name for masks in slices.values() for name, mask in masks.items() if mask[row]],
                "attention": attention,
                "found": _found(first, row, gold, entity),
            }
        )
    return examples


def _found(outcome: Outcome, row: int, gold: int, entity: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """The best entities of a mention, with their scores and shares of the softmax."""
    shares = torch.softmax(outcome.scores[row].double(), 0).tolist() if outcome.probabilistic else repeat(None)
    best = zip(outcome.rows[row].tolist(), outcome.scores[row].tolist(), shares, strict=False)
    return [
        {**entity(index), "score": score, "share": share, "right": index == gold}
        for index, score, share in islice(best, BEST)
        if index >= 0
    ]


def _choose(ids: Sequence[str], correct: Sequence[bool], limit: int) -> list[int]:
    """Indices of at most `limit` mentions: errors first, and a few right answers for comparison."""
    place = index_of(seeded_order(ids, 0))
    order = sorted(range(len(ids)), key=lambda row: place[ids[row]])
    wrong, right = [row for row in order if not correct[row]], [row for row in order if correct[row]]
    few = min(len(right), max(int(_RIGHT * limit), limit - len(wrong)))
    return sorted(wrong[: limit - few] + right[:few])


def _rank(outcome: Outcome, row: int) -> float | None:
    """Rank of the gold under the first protocol; `None` for NIL and for a gold that was not retrieved."""
    rank = float(next(iter(outcome.ranks.values()))[row])
    return rank if rank < float("inf") else None


def _entity(entities: Any, mention: dict, seen: Mapping[int, int], index: int) -> dict[str, Any]:
    entity = entities[index]
    names = [entity["name"], *(entity.get("aliases") or [])]
    words = set(comparable(mention["sentence"]).split())
    description = entity["description"] or ""
    images = entity["images"] or []
    return {
        "id": entity["id"],
        "name": entity["name"],
        "description": description,
        "picture": _picture(images[0] if images else None),
        "name likeness": max(fuzz.token_set_ratio(comparable(mention["mention"]), comparable(name)) for name in names),
        "words in the sentence": sum(len(word) > 3 and word in words for word in set(comparable(description).split())),
        "times in training": seen.get(index, 0),
    }


def _picture(image: Any, region: Any = None) -> str | None:
    if image is None:
        return None
    picture = cut_out(load_picture(image), region)
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
