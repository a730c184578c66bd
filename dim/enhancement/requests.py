"""Concurrent requests, each answer on the disk before it counts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dim.enhancement.answers import Answer, Request
from dim.enhancement.budget import Budget
from dim.enhancement.clients.client import Client, EndpointError, GaveUpError
from dim.enhancement.ledger import Ledger
from dim.errors import DIMError

_HOPELESS_AFTER = 10  # requests in a row that failed for good: the server is down, or there is none


@dataclass(slots=True)
class Asked:
    """Counts of a run.

    Args:
        answered: How many answers came.
        failures: Why an entity got none, by id.
        not_asked: How many requests the budget did not allow.
    """

    answered: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    not_asked: int = 0


class _Writer:
    """Writes all waiting answers in one transaction, since a disk commits few of them a second."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[str, Answer, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def write(self, key: str, answer: Answer) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._ledger.record, [(key, answer) for key, answer, _ in batch])
            except DIMError as error:
                for _, _, done in batch:
                    done.set_exception(error)
            else:
                for _, _, done in batch:
                    done.set_result(None)


class _Run:
    """What the workers of a run share."""

    def __init__(
        self, requests: Sequence[Request], client: Client, ledger: Ledger, budget: Budget, on_done: Callable[[], object]
    ) -> None:
        self.waiting, self.client, self.budget, self.on_done = iter(requests), client, budget, on_done
        self.writer = _Writer(ledger)
        self.asked = Asked()
        self.errors: list[DIMError] = []  # the run stops at the first
        self.failed_in_a_row = 0

    async def work(self) -> None:
        """Sends one request after the other until none is left or the run must stop."""
        while not self.errors:
            request = next(self.waiting, None)
            if request is None or not await self.budget.reserve(request):
                return
            answer = None
            try:
                answer = await self.ask(request)
            except DIMError as error:
                self.errors.append(error)
            finally:
                await self.budget.settle(request, answer)
            self.on_done()

    async def ask(self, request: Request) -> Answer | None:
        """Sends one request and writes its answer; `None` if there is none."""
        try:
            answer = await self.client.ask(request)
        except GaveUpError as error:
            self.asked.failures[request.entity] = str(error)
            self.failed_in_a_row += 1
            if self.failed_in_a_row == _HOPELESS_AFTER:
                raise EndpointError(f"{_HOPELESS_AFTER} requests in a row failed; the last one: {error}") from error
            return None
        self.failed_in_a_row = 0
        await self.writer.write(request.key, answer)
        self.asked.answered += 1
        return answer


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
        DIMError: If no request can succeed (`EndpointError`) or the disk is full, after the requests on the way are
            answered and recorded.
    """
    run = _Run(requests, client, ledger, budget, on_done)
    writing = asyncio.create_task(run.writer.run())
    try:
        await asyncio.gather(*(run.work() for _ in range(min(concurrency, len(requests)))))
    finally:
        writing.cancel()
        await client.close()
    if run.errors:
        raise run.errors[0]
    run.asked.not_asked = len(requests) - run.asked.answered - len(run.asked.failures)
    return run.asked
