"""What an enhancement would take, and what came out of it."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dim.common.files import write_text
from dim.enhancement.answers import Question
from dim.enhancement.budget import Prices
from dim.enhancement.entity_text import EntityText


@dataclass(frozen=True, slots=True)
class Kept:
    """An entity that keeps its old description, why, and what the model said, if it said something."""

    id: str
    name: str
    reason: str
    answer: str = ""


@dataclass(slots=True)
class Enhancement:
    """What came out.

    Args:
        descriptions: Rows as `dim build --descriptions` reads them, in the order of the entities.
        kept: Entities that keep their old description.
        not_asked: How many of these were not asked for want of budget.
        failed: How many of these were asked about and got no answer; the next run asks again.
        asked: How many answers came in this run; the others were there before.
        tokens: Tokens of all requests and of all answers, those of earlier runs included.
        shortened: Entities whose text was longer than a request may hold.
    """

    descriptions: list[dict[str, str | None]] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    not_asked: int = 0
    failed: int = 0
    asked: int = 0
    tokens: tuple[int, int] = (0, 0)
    shortened: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take: requests, their tokens (a guess and a bound), and tokens of the answers (a bound)."""

    requests: int
    likely_input: int
    most_input: int
    most_output: int


def estimate(entities: Sequence[EntityText], question: Question, answered: Collection[str] = ()) -> Estimate:
    """Counts what is still to be asked, without asking.

    Args:
        entities: The entities.
        question: What to ask about them.
        answered: Keys of requests that have an answer.

    Returns:
        The estimate. The guess takes four characters for a token; the bounds hold for every tokenizer.
    """
    requests = [request for request in map(question.about, entities) if request.key not in answered]
    return Estimate(
        len(requests),
        sum(request.likely_tokens for request in requests),
        sum(request.most_tokens for request in requests),
        sum(request.most_answer_tokens for request in requests),
    )


def write(result: Enhancement, out: Path, kept: Path) -> None:
    """Writes descriptions, and who keeps the old one, as JSONL; each file is whole or not there.

    Args:
        result: What came out.
        out: File for `dim build --descriptions`.
        kept: File for the others: `id`, `name`, `reason`, `answer`.
    """
    rows = [{"id": one.id, "name": one.name, "reason": one.reason, "answer": one.answer} for one in result.kept]
    for path, lines in ((kept, rows), (out, result.descriptions)):
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def summary(result: Enhancement, prices: Prices | None = None) -> str:
    """What came out, in a few lines whose numbers add up.

    Args:
        result: What came out.
        prices: To tell what it cost.

    Returns:
        Lines of text.
    """
    total = len(result.descriptions) + len(result.kept)
    lines = [
        f"{total:,} entities = {len(result.descriptions):,} with a new description + {len(result.kept):,} that keep "
        f"theirs ({result.asked:,} answers came in this run)"
    ]
    reasons = Counter(one.reason.split(":")[0] for one in result.kept)
    lines += [f"  {count:,} kept: {reason}" for reason, count in reasons.most_common()]
    if result.shortened:
        lines.append(
            f"{len(result.shortened):,} entities had more text than a request holds, such as {result.shortened[0]!r}"
        )
    inputs, outputs = result.tokens
    cost = f", {prices.cost(inputs, outputs):.4f} dollars" if prices else ""
    lines.append(f"{inputs:,} tokens asked, {outputs:,} answered{cost}, earlier runs included")
    return "\n".join(lines)


__all__ = ["Enhancement", "Estimate", "Kept", "estimate", "summary", "write"]
