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
    asked, waiting = Asked(), iter(requests)
    writer = _Writer(ledger)
    stop: list[DIMError] = []
    in_a_row = 0

    async def answer(request: Request) -> Answer | None:
        """Sends one request and writes its answer; None where there is none."""
        nonlocal in_a_row
        try:
            found = await client.ask(request)
        except GaveUpError as error:
            asked.failures[request.entity] = str(error)
            in_a_row += 1
            if in_a_row == _HOPELESS_AFTER:
                stop.append(EndpointError(f"{in_a_row} requests in a row failed; the last one: {error}"))
            return None
        in_a_row = 0
        await writer.write(request.key, found)
        asked.answered += 1
        return found

    async def work() -> None:
        """Sends one request after the other until none is left or the run must stop."""
        while not stop:
            request = next(waiting, None)
            if request is None or not await budget.reserve(request):
                return
            found = None
            try:
                found = await answer(request)
            except DIMError as error:
                stop.append(error)
            finally:
                await budget.settle(request, found)
            on_done()

    writing = asyncio.create_task(writer.run())
    try:
        await asyncio.gather(*(work() for _ in range(min(concurrency, len(requests)))))
    finally:
        writing.cancel()
        await client.close()
    if stop:
        raise stop[0]
    asked.not_asked = len(requests) - asked.answered - len(asked.failures)
    return asked


__all__ = ["Asked", "ask_all"]
