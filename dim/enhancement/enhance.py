"""New descriptions of entities by a language model, with their provenance."""

import asyncio
import json
from collections.abc import Sequence

from tqdm.auto import tqdm

from dim.enhancement.answer_checks import check_language, fault, repeated
from dim.enhancement.answers import Answer, Question, Request
from dim.enhancement.budget import Budget, Prices
from dim.enhancement.clients.client import Client
from dim.enhancement.clients.openai_batch import POLL_SECONDS, ask_in_batches
from dim.enhancement.entity_text import EntityText, clean
from dim.enhancement.ledger import Ledger
from dim.enhancement.report import Enhancement, Kept
from dim.enhancement.requests import Asked, ask_all
from dim.errors import DIMError

SOURCE = "llm"  # what the column `description_source` holds


def enhance(
    entities: Sequence[EntityText],
    question: Question,
    client: Client,
    ledger: Ledger,
    *,
    language: str = "en",
    concurrency: int = 16,
    prices: Prices | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    batch: bool = False,
    retry_unreadable: bool = False,
    poll_seconds: float = POLL_SECONDS,
    progress: bool = False,
) -> Enhancement:
    """Asks a language model about each entity that has no answer in the ledger, and checks the answers.

    Args:
        entities: The entities, see `dim.enhancement.entity_text.entity_texts`.
        question: What to ask.
        client: Client of the language model.
        ledger: Where answers are recorded. With one ledger, the same question about the same text is asked once: to
            renew a description, use a new ledger.
        language: Code of the language that answers should be in (ISO 639-1).
        concurrency: How many requests are on the way at once.
        prices: Needed for `max_cost`.
        max_cost: Stop before this many dollars, those of the ledger's earlier runs included.
        max_tokens: Stop before this many tokens, those of the ledger's earlier runs included.
        batch: Whether to use the Batch API, which needs an `OpenAIClient`.
        retry_unreadable: Whether to ask again where an answer came that cannot be read.
        poll_seconds: Time between two polls of a batch.
        progress: Whether to show a progress bar.

    Returns:
        New descriptions, and the entities that keep the old one, each with the reason.

    Raises:
        DIMError: For a bad option, or if no request can succeed; answers that came are in the ledger.

    Example:
        The ledger holds the answer about Ada from an earlier run, so nothing is asked:

        >>> from pathlib import Path
        >>> from dim.enhancement.clients.openai_client import OpenAIClient
        >>> from dim.enhancement.prompts import load_prompt
        >>> ada, question = EntityText("e1", "Ada Lovelace", "Born in 1815."), Question("qwen", load_prompt())
        >>> ledger = Ledger(Path("answers.sqlite"))
        >>> text = "Ada Lovelace was a British mathematician who wrote the first published program."
        >>> answer = Answer(text, "", "qwen", "stop", None, 300, 16, "2026-11-23T06:00:00Z")
        >>> ledger.record([(question.about(ada).key, answer)])
        >>> result = enhance([ada], question, OpenAIClient("http://127.0.0.1:8000/v1"), ledger)
        >>> result.asked, result.kept, result.descriptions[0]["description"]
        (0, [], 'Ada Lovelace was a British mathematician who wrote the first published program.')
    """
    if concurrency < 1:
        raise DIMError(f"--concurrency is {concurrency}: it must be at least 1.")
    check_language(language)
    if not batch and ledger.open_batches():
        raise DIMError(f"{ledger.path} notes a batch that is not collected yet: add --batch, or choose another --out.")
    if retry_unreadable:
        ledger.retry_unreadable()
    budget = Budget(prices, max_cost, max_tokens, ledger.tokens())
    requests = {entity.id: question.about(entity) for entity in entities}
    answered = ledger.keys()
    speechless = {e.id for e in entities if not clean(e.name) and not clean(e.description)}
    waiting = [r for r in requests.values() if r.key not in answered and r.entity not in speechless]
    with tqdm(total=len(waiting), desc="asked", unit="entity", disable=not progress) as bar:
        if not waiting:
            asked = Asked()
        elif batch:
            asked = ask_in_batches(waiting, client, ledger, budget, bar.update, poll_seconds)
        else:
            asked = asyncio.run(ask_all(waiting, client, ledger, budget, concurrency, bar.update))
    result = Enhancement(
        not_asked=asked.not_asked,
        failed=len(asked.failures) - len(asked.refused),
        refused=len(asked.refused),
        asked=asked.answered,
        tokens=ledger.tokens(),
        shortened=[entity.id for entity in entities if entity.shortened],
    )
    _check_answers(result, entities, requests, ledger, question, language, asked.failures)
    return result


def _check_answers(
    result: Enhancement,
    entities: Sequence[EntityText],
    requests: dict[str, Request],
    ledger: Ledger,
    question: Question,
    language: str,
    failures: dict[str, str],
) -> None:
    answers = {entity.id: ledger.answer(requests[entity.id].key) for entity in entities}
    same = repeated(clean(answer.text) for answer in answers.values() if answer)
    for entity in entities:
        answer = answers[entity.id]
        if answer is None:
            speaks = clean(entity.name) or clean(entity.description)
            why = failures.get(entity.id, "not asked: the budget is used up" if speaks else "has no name and no text")
            result.kept.append(Kept(entity.id, entity.name, why))
            continue
        why_not = fault(entity, answer, language)
        if why_not is None and clean(answer.text) in same:
            why_not = "boiler-plate: the same answer for several entities"
        if why_not is None:
            result.descriptions.append(_row(entity, answer, question))
        else:
            result.kept.append(Kept(entity.id, entity.name, why_not, clean(answer.text)))


def _row(entity: EntityText, answer: Answer, question: Question) -> dict[str, str | None]:
    return {
        "id": entity.id,
        "description": clean(answer.text),
        "description_original": entity.description,
        "description_source": SOURCE,
        "description_model": answer.model,
        "description_prompt": question.prompt.version,
        "description_created_at": answer.created_at,
        "description_usage": None if answer.usage is None else json.dumps(answer.usage, sort_keys=True),
        "description_finish_reason": answer.finish_reason,
    }
