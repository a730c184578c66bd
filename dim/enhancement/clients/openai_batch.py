"""OpenAI's Batch API, at half the price: batches are submitted once, found again after a crash, and collected."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dim.enhancement.answers import UNREADABLE, Answer, Request
from dim.enhancement.budget import Budget
from dim.enhancement.clients.answer_body import cost
from dim.enhancement.clients.batch_lines import Result, answer_of, results
from dim.enhancement.clients.client import Client, EndpointError
from dim.enhancement.clients.openai_client import PATHS, OpenAIClient
from dim.enhancement.clients.server_error import ServerError
from dim.enhancement.ledger import Ledger
from dim.enhancement.requests import Asked
from dim.errors import DIMError

if TYPE_CHECKING:
    from openai.types import Batch

MAX_REQUESTS, MAX_BYTES = 50_000, 150_000_000  # of one batch; OpenAI accepts 50,000 and 200 MB
POLL_SECONDS = 30.0
METADATA = "dim_run"  # key of a batch's metadata that holds our name of it
_ENDED = ("completed", "failed", "expired", "cancelled")
_TRIES = 6


def ask_in_batches(
    requests: Sequence[Request],
    client: Client,
    ledger: Ledger,
    budget: Budget,
    on_done: Callable[[int], object] = lambda count: None,
    poll_seconds: float = POLL_SECONDS,
) -> Asked:
    """Submits the requests that no earlier batch holds, waits for all batches, and records their answers.

    A batch is noted before it is submitted, with a name that it carries in its metadata. If the process dies before it
    notes the server's id, the next run finds the batch by that name and does not submit it again.

    Args:
        requests: What to ask; none that has an answer.
        client: An `OpenAIClient`.
        ledger: Where batches and answers are noted.
        budget: What the answers may cost; only requests whose worst case fits are submitted.
        on_done: Called with a number of requests that are done.
        poll_seconds: Time between two polls of a batch.

    Returns:
        Counts and failures. What failed or expired is asked again by the next run; what the server refuses for the name
        of the limit, at once by the other name.

    Raises:
        EndpointError: If the server refuses a batch, with its words.
        DIMError: If it is another client.
    """
    if not isinstance(client, OpenAIClient):
        raise DIMError(f"Batches need the client OpenAIClient, got {type(client).__name__}.")
    batches = _Batches(client, ledger, {request.key: request for request in requests})
    batches.find_lost()
    batches.collect(on_done, poll_seconds)
    budget.spent(*ledger.tokens())
    answered = ledger.keys()
    left = [r for r in requests if r.key not in answered and r.entity not in batches.asked.failures]
    chosen = _affordable(left, budget)
    if chosen:
        for part in _parts(chosen):
            batches.submit(part)
        batches.collect(on_done, poll_seconds)
        again = [request for request in chosen if request.entity in batches.asked.failures]
        if again and batches.has_learned:
            for request in again:
                del batches.asked.failures[request.entity]
                batches.asked.refused.discard(request.entity)
            for part in _parts(again):
                batches.submit(part)
            batches.collect(on_done, poll_seconds)
    batches.asked.not_asked = len(left) - len(chosen)
    return batches.asked


def _affordable(requests: Sequence[Request], budget: Budget) -> list[Request]:
    chosen = []
    for request in requests:
        if not budget.fits(request):
            budget.exhausted = True
            break
        budget.take(request)
        chosen.append(request)
    return chosen


class _Batches:
    def __init__(self, client: OpenAIClient, ledger: Ledger, requests: Mapping[str, Request]) -> None:
        self.client, self.ledger, self.requests = client, ledger, requests
        self.api, self.asked = client.blocking_client(), Asked()
        self.has_learned = False  # another name of the limit

    def find_lost(self) -> None:
        """Looks for batches that were noted but not confirmed when a process died; drops those never submitted."""
        for part, batch, _ in self.ledger.open_batches():
            if batch is None:
                found = self._find(part)
                if found is None:
                    self.ledger.forget(part)
                else:
                    self.ledger.submitted(part, found)

    def submit(self, requests: Sequence[Request]) -> None:
        """Submits requests as one batch."""
        bounds = [(request.most_tokens, request.most_answer_tokens) for request in requests]
        part = self.ledger.intend([request.key for request in requests], bounds)
        lines = b"".join(_line(request, self.client.limit.body(request)) for request in requests)
        upload = ("requests.jsonl", lines, "application/jsonl")
        file = self._again(lambda: self.api.files.create(file=upload, purpose="batch"))

        def create() -> str:
            try:
                return self.api.batches.create(
                    completion_window="24h",
                    endpoint=PATHS[requests[0].api],  # type: ignore[arg-type]
                    input_file_id=file.id,
                    metadata={METADATA: self._name(part)},
                ).id
            except self.client.openai.APIError as error:
                self.client.failure(error)
                found = self._find(part)  # the batch may exist although no answer came
                if found is None:
                    raise
                return found

        self.ledger.submitted(part, self._again(create))

    def collect(self, on_done: Callable[[int], object], poll_seconds: float) -> None:
        """Waits for all batches and records their answers."""
        done: dict[str, int] = {}
        while waiting := self.ledger.open_batches():
            for part, name, keys in waiting:
                batch = self._again(lambda name=name: self._retrieve(str(name)))  # type: ignore[misc]
                counts = batch.request_counts
                finished = (counts.completed or 0) + (counts.failed or 0) if counts else 0
                if batch.status in _ENDED:
                    finished = len(keys)
                    self._take(part, batch, keys)
                on_done(finished - done.get(str(name), 0))
                done[str(name)] = finished
            if self.ledger.open_batches():
                time.sleep(poll_seconds)

    def _take(self, part: int, batch: "Batch", keys: Sequence[str]) -> None:
        """Records what a batch that has ended holds; nothing in it can keep the rest from being recorded."""
        found: dict[str, Answer | ServerError] = {}
        lost, sent = 0, self.client.limit.name
        for result in self._results(batch, keys):
            if result.key is None:
                lost += result.error is None  # an answer of nobody knows whom, which is paid for
                continue
            one, spent = answer_of(result, self._request(result.key, batch))
            if isinstance(one, Answer) and result.key not in found:
                found[result.key] = self._masked(one)
                continue
            found.setdefault(result.key, one)
            self.ledger.charge(*spent)
        if lost:
            for key in [key for key in keys if key not in found]:
                request = self._request(key, batch)
                found[key] = Answer("", "", request.body["model"], UNREADABLE, None, *cost(request, None))
        self.ledger.record([(key, one) for key, one in found.items() if isinstance(one, Answer)], part)
        if batch.status == "failed":
            errors = batch.errors.data if batch.errors and batch.errors.data else []
            words = self.client.mask("; ".join(error.message or "" for error in errors)) or "(nothing)"
            raise EndpointError(f"the server refused the batch {batch.id}: {words}")
        for key in keys:
            self._count(key, found.get(key), f"the batch is {batch.status} and has no answer", sent)

    def _count(self, key: str, found: Answer | ServerError | None, without: str, sent: str) -> None:
        request = self.requests.get(key)
        if isinstance(found, ServerError):
            self.has_learned = self.client.limit.learn(found, sent) or self.has_learned
        if request is None:  # the entity has changed since it was asked about, or is not in this run
            return
        if isinstance(found, Answer):
            self.asked.answered += 1
            return
        self.asked.failures[request.entity] = f"the server says: {self.client.mask(found.says)}" if found else without
        if found and found.concerns == "this request":
            self.asked.failures[request.entity] = f"refused: {self.asked.failures[request.entity]}"
            self.asked.refused.add(request.entity)

    def _masked(self, answer: Answer) -> Answer:
        text = self.client.mask.whole(answer.text)
        refusal, raw = self.client.mask(answer.refusal), self.client.mask(answer.raw)
        return replace(answer, text=text, refusal=refusal, raw=raw)

    def _request(self, key: str, batch: "Batch") -> Request:
        """The request of a key; of one that this run does not know, what its answer is read by."""
        known = self.requests.get(key)
        if known is not None:
            return known
        api, (asked, said) = ("responses" if batch.endpoint.endswith("responses") else "chat"), self.ledger.bound(key)
        limit = "max_output_tokens" if api == "responses" else "max_completion_tokens"
        return Request("", api, {"model": "", limit: said}, 0, asked)  # type: ignore[arg-type]

    def _results(self, batch: "Batch", keys: Sequence[str]) -> Iterator[Result]:
        """The lines of a batch's answers and errors."""
        known = set(keys)
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            content: bytes = self._again(lambda file=file: self.api.files.content(file).content)  # type: ignore[misc]
            yield from results(content, known)

    def _name(self, part: int) -> str:
        return f"{self.ledger.run_id}/{part}"

    def _find(self, part: int) -> str | None:
        """The server's id of a batch by our name of it."""

        def search() -> str | None:
            for batch in self.api.batches.list(limit=100):
                if (batch.metadata or {}).get(METADATA) == self._name(part):
                    return batch.id
            return None

        return self._again(search)

    def _retrieve(self, name: str) -> "Batch":
        batch = self.api.batches.retrieve(name)
        if not isinstance(batch.status, str):  # a page has no status at all
            raise AttributeError("status")
        return batch

    def _again(self, call: Callable[[], Any]) -> Any:
        """Makes a call, and again until it succeeds or cannot."""
        what = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(self.client.pause(attempt))
            try:
                return call()
            except self.client.openai.APIError as error:
                what = self.client.failure(error)
            except (AttributeError, json.JSONDecodeError):  # a page, or JSON of something else
                what = "the server's answer is not one of the Batch API"
        raise EndpointError(f"{what}; given up after {_TRIES} tries")


def _parts(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Splits requests into as few batches as the server's bounds allow."""
    part: list[Request] = []
    size = 0
    for request in requests:
        added = len(_line(request, request.body))
        if len(part) == MAX_REQUESTS or (part and size + added > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(request)
        size += added
    yield part


def _line(request: Request, body: Mapping[str, Any]) -> bytes:
    row = {"custom_id": request.key, "method": "POST", "url": PATHS[request.api], "body": body}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
