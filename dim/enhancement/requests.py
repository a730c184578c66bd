"""Concurrent requests, each answer on the disk before it counts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dim.enhancement.answers import Answer, Request
from dim.enhancement.budget import Budget
from dim.enhancement.clients.client import Client, GaveUpError, PaidError, Patience, RefusedError, RequestError
from dim.enhancement.ledger import Ledger
from dim.errors import DIMError


@dataclass(slots=True)
class Asked:
    """Counts of a run.

    Args:
        answered: How many answers came.
        failures: Why an entity got none, by id.
        refused: Ids of those that the server does not take.
        not_asked: How many requests the budget did not allow.
    """

    answered: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    not_asked: int = 0


class _Part:
    """Answers that are written in one transaction."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Answer]] = []
        self.is_begun = False
        self.failure: Exception | None = DIMError("the answers were not written")


class _Writer:
    """Writes all waiting answers in one transaction, since a disk commits few of them a second."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = asyncio.Lock()
        self._part = _Part()

    async def write(self, key: str, answer: Answer) -> None:
        part = self._part
        part.rows.append((key, answer))
        async with self._turn:
            if not part.is_begun:  # else the holder of an earlier turn has written it
                part.is_begun, self._part = True, _Part()
                try:
                    await asyncio.to_thread(self._ledger.record, part.rows)
                    part.failure = None
                except Exception as error:  # whatever it is, each of the waiting must hear of it
                    part.failure = error
        if part.failure is not None:
            raise part.failure

    async def charge(self, spent: tuple[int, int]) -> None:
        if any(spent):
            async with self._turn:
                await asyncio.to_thread(self._ledger.charge, *spent)


class _Run:
    """What the workers of a run share."""

    def __init__(
        self, requests: Sequence[Request], client: Client, ledger: Ledger, budget: Budget, on_done: Callable[[], object]
    ) -> None:
        self.waiting, self.client, self.budget, self.on_done = iter(requests), client, budget, on_done
        self.writer = _Writer(ledger)
        self.asked = Asked()
        self.errors: list[DIMError] = []  # the run stops at the first
        self.patience = Patience()

    async def work(self) -> None:
        """Sends one request after the other until none is left or the run must stop."""
        while not self.errors:
            request = next(self.waiting, None)
            if request is None or not await self.budget.reserve(request):
                return
            try:
                await self.answer(request)
            except DIMError as error:
                self.errors.append(error)
            except Exception as error:  # of a client or a disk that nobody foresaw: the others end their requests
                what = " ".join(f"{type(error).__name__}: {error}".split())
                self.errors.append(DIMError(f"the request about {request.entity!r} failed ({what:.300})"))
                self.errors[-1].__cause__ = error
            self.on_done()

    async def answer(self, request: Request) -> None:
        """Sends a request whose worst case is reserved, and writes its answer or why there is none."""
        tries = 0
        while True:
            try:
                await self.attempt(request)
                return
            except PaidError as error:
                tries += error.tries
                failure = GaveUpError(f"{error}; given up after {tries} tries")
                if tries < error.most:
                    if not self.errors and await self.budget.reserve(request):
                        continue
                    failure = GaveUpError(f"{error}; not asked again: the budget is used up")
            except GaveUpError as error:
                failure = error
            self.asked.failures[request.entity] = str(failure)
            if isinstance(failure, RefusedError):
                self.asked.refused.add(request.entity)
            self.patience.failed(failure)
            return

    async def attempt(self, request: Request) -> None:
        """Sends a request once as the client does; what it costs replaces its worst case."""
        spent = (0, 0)
        try:
            answer = await self.client.ask(request)
            spent = answer.input_tokens, answer.output_tokens
            await self.writer.write(request.key, answer)
        except RequestError as error:
            spent = error.spent
            await self.writer.charge(spent)
            raise
        finally:
            await self.budget.settle(request, spent)
        self.patience.answered()
        self.asked.answered += 1


async def ask_all(
    requests: Sequence[Request],
    client: Client,
    ledger: Ledger,
    budget: Budget,
    concurrency: int,
    on_done: Callable[[], object] = lambda: None,
) -> Asked:
    """Sends all requests in order, several at a time.

    Args:
        requests: What to ask; none that has an answer.
        client: Client of the provider; closed at the end.
        ledger: Where the answers go.
        budget: What they may cost.
        concurrency: How many requests are on the way at once.
        on_done: Called after each request.

    Returns:
        Counts and failures.

    Raises:
        DIMError: If no request can succeed (`EndpointError`), the disk is full, or the client fails in a way of its
            own, after the requests on the way are answered and recorded.
    """
    run = _Run(requests, client, ledger, budget, on_done)
    try:
        await asyncio.gather(*(run.work() for _ in range(min(concurrency, len(requests)))))
    finally:
        await client.close()
    if run.errors:
        raise run.errors[0]
    run.asked.not_asked = len(requests) - run.asked.answered - len(run.asked.failures)
    return run.asked
