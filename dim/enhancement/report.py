"""Estimate and result of a run."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dim.common.jsonl import write_jsonl
from dim.enhancement.answers import Question
from dim.enhancement.budget import Prices
from dim.enhancement.entity_text import EntityText


@dataclass(frozen=True, slots=True)
class Kept:
    """An entity that keeps its old description: the reason, and the model's answer if there was one."""

    id: str
    name: str
    reason: str
    answer: str = ""


@dataclass(slots=True)
class Enhancement:
    """Result of a run.

    Args:
        descriptions: Rows as `dim build --descriptions` reads them, in the order of the entities.
        kept: Entities that keep their old description.
        not_asked: How many of these the budget did not allow.
        failed: How many of these got no answer; the next run asks again.
        refused: How many of these the server does not take (too long, for example).
        asked: How many answers came in this run; the others are from earlier runs.
        tokens: Tokens of all requests and of all answers, those of earlier runs included.
        shortened: Ids of entities whose text was cut to fit into a request.
    """

    descriptions: list[dict[str, str | None]] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    not_asked: int = 0
    failed: int = 0
    refused: int = 0
    asked: int = 0
    tokens: tuple[int, int] = (0, 0)
    shortened: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Size of a run: requests, their tokens (an estimate and a bound), and tokens of the answers (a bound)."""

    requests: int
    likely_input: int
    most_input: int
    most_output: int


def estimate(entities: Sequence[EntityText], question: Question, answered: Collection[str] = ()) -> Estimate:
    """Estimates the requests still to be sent, without sending any.

    Args:
        entities: The entities.
        question: What to ask about them.
        answered: Keys of requests that have an answer.

    Returns:
        The estimate, at four characters per token; the bounds hold for every tokenizer.
    """
    requests = [request for request in map(question.about, entities) if request.key not in answered]
    return Estimate(
        len(requests),
        sum(request.likely_tokens for request in requests),
        sum(request.most_tokens for request in requests),
        sum(request.most_answer_tokens for request in requests),
    )


def write(result: Enhancement, out: Path, kept: Path) -> None:
    """Writes the result as two JSONL files, each complete or absent.

    Args:
        result: Result of a run.
        out: File of the new descriptions, for `dim build --descriptions`.
        kept: File of the entities that keep their old description: `id`, `name`, `reason`, `answer`.
    """
    write_jsonl(kept, map(asdict, result.kept))
    write_jsonl(out, result.descriptions)


def summary(result: Enhancement, prices: Prices | None = None) -> str:
    """Summary of a run, in a few lines whose numbers add up.

    Args:
        result: Result of a run.
        prices: For the cost in dollars, which is left out otherwise.

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
