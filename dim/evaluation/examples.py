"""Mentions for the error browser: what was found, what it should have been, and why."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rapidfuzz import fuzz
from torch import Tensor
from tqdm.auto import tqdm

from dim.common.pictures import load_picture
from dim.corpora.splits import seeded_order
from dim.evaluation.outcome import Outcome
from dim.evaluation.slices import Table
from dim.evaluation.systems.dim import Encoder
from dim.evaluation.systems.name_match import comparable

BEST = 5
"""Entities shown of each mention."""
_SIDE = 160  # pixels of a picture's longer side
_RIGHT = 0.2  # part of the examples that were answered right, for comparison


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
    """Chooses mentions and tells what the first system did to them.

    Args:
        outcomes: Of all systems; the first one's errors are shown.
        mentions: `datasets.Dataset` of the split.
        entities: `datasets.Dataset` of the knowledge base.
        table: Its columns.
        slices: Masks by slice, by group.
        encoder: The model behind the first system, if it is one: then it is asked what each modality gave.
        limit: Most mentions to show; the errors first, and where there are more, drawn by a seed.
        progress: Whether to show a bar.

    Returns:
        For each mention, in the split's order, what the page shows; pictures are small JPEGs as `data:` addresses.

    Raises:
        dim.common.pictures.PictureError: If a picture cannot be read.
    """
    chosen = _choose(mentions["id"][:], outcomes[0].correct.tolist(), limit)
    rows = mentions.select(chosen)
    attentions = [{} for _ in chosen] if encoder is None or not chosen else encoder.attentions(rows)
    seen = Counter(table.train_gold)
    shares = torch.softmax(outcomes[0].scores.double(), 1)
    found = []
    for place, row in enumerate(tqdm(chosen, desc="examples", disable=not progress)):
        mention = rows[place]
        gold = int(table.gold[row])
        found.append(
            {
                "id": mention["id"],
                "sentence": mention["sentence"],
                "mention": mention["mention"],
                "start": mention["start"],
                "end": mention["end"],
                "expert": mention.get("expert_answer") or "",
                "picture": _picture(mention["image"]),
                "right": bool(outcomes[0].correct[row]),
                "gold": _entity(entities, gold, mention, seen) if gold >= 0 else None,
                "gold score": float(outcomes[0].gold_scores[row]) if gold >= 0 else None,
                "ranks": {one.name: _rank(one, row) for one in outcomes},
                "slices": [name for masks in slices.values() for name, mask in masks.items() if mask[row]],
                "attention": attentions[place],
                "found": [
                    {
                        **_entity(entities, int(outcomes[0].rows[row, k]), mention, seen),
                        "score": float(outcomes[0].scores[row, k]),
                        "share": float(shares[row, k]) if outcomes[0].probabilistic else None,
                        "right": int(outcomes[0].rows[row, k]) == gold,
                    }
                    for k in range(min(BEST, int((outcomes[0].rows[row] >= 0).sum())))
                ],
            }
        )
    return found


def _choose(ids: Sequence[str], correct: Sequence[bool], limit: int) -> list[int]:
    """Rows of at most `limit` mentions: errors before right ones, of which a few are kept for comparison."""
    place = {name: row for row, name in enumerate(ids)}
    order = [place[name] for name in seeded_order(ids, 0)]
    wrong, right = [row for row in order if not correct[row]], [row for row in order if correct[row]]
    few = min(len(right), max(int(_RIGHT * limit), limit - len(wrong)))
    return sorted(wrong[: limit - few] + right[:few])


def _rank(outcome: Outcome, row: int) -> float | None:
    """Rank of the gold under the first protocol; `None` where it has none, or was not retrieved."""
    rank = float(next(iter(outcome.ranks.values()))[row])
    return rank if rank < float("inf") else None


def _entity(entities: Any, row: int, mention: dict, seen: Mapping[int, int]) -> dict[str, Any]:
    entity = entities[row]
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
        "times in training": seen.get(row, 0),
    }


def _picture(image: Any) -> str | None:
    if image is None:
        return None
    picture = load_picture(image)
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


__all__ = ["BEST", "make_examples"]
