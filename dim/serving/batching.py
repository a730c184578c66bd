"""Batching: one thread runs the linker, on mentions that all clients put into one queue."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dim.errors import DIMError
from dim.kb.table import StorageError
from dim.linking.explain import explain
from dim.linking.linker import DIMLinker
from dim.linking.links import Links
from dim.serving.refusals import BusyError
from dim.serving.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class LinkAnswer:
    """Links of one request.

    Args:
        links: Links of each mention.
        version: Version of the knowledge base that they come from.
    """

    links: list[Links]
    version: int


@dataclass(frozen=True, eq=False)
class _LinkJob:
    """Mentions of one request."""

    rows: list[dict]
    k: int
    why: bool
    future: "asyncio.Future[LinkAnswer]"

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class _CallJob(Generic[T]):
    """Function that runs in the linker's thread, outside of any batch."""

    function: Callable[[], T]
    future: "asyncio.Future[T]"
    size: int = 1


class LinkQueue:
    """Queue of requests for one linker, in order of arrival.

    Waiting mentions are linked in batches of up to `max_batch`; a batch that is not full waits `max_wait` seconds for
    more. A request that is cancelled before its batch starts is removed.

    Args:
        linker: The linker; do not use it elsewhere.
        settings: Limits.
        linked: Called after each batch with its number of mentions, in the linker's thread.
    """

    def __init__(
        self,
        linker: DIMLinker,
        settings: Settings,
        linked: Callable[[int], None] = lambda size: None,
    ):
        self._linker, self._settings, self._linked = linker, settings, linked
        self._waiting: deque[_LinkJob | _CallJob] = deque()
        self._size = 0
        self._thread = ThreadPoolExecutor(1, "linker")
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._closing = False
        self.failure: Exception | None = None
        """Error of the last job that was not the request's own fault, which `/health` tells."""
        self._runner: asyncio.Task | None = None

    def start(self) -> None:
        """Starts the queue in the running event loop."""
        self._runner = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Finishes all waiting jobs and stops."""
        self._closing = True
        self._arrived.set()
        if self._runner is not None:
            await self._runner
        self._thread.shutdown()

    @property
    def running(self) -> bool:
        """Whether the queue has been started and has not stopped."""
        return self._runner is not None and not self._runner.done()

    @property
    def size(self) -> int:
        """Number of waiting mentions and changes of the knowledge base."""
        return self._size

    async def link(self, rows: Sequence[dict], k: int, why: bool = False) -> LinkAnswer:
        """Links mentions.

        Args:
            rows: Mentions for `DIMLinker.link`, at least one.
            k: Number of entities for each mention.
            why: Whether to explain the scores.

        Returns:
            The links of each mention.

        Raises:
            BusyError: If the queue is full.
            DIMError: If the linker rejects a mention.
        """
        future: asyncio.Future[LinkAnswer] = asyncio.get_running_loop().create_future()
        return await self._put(_LinkJob(list(rows), k, why, future))

    async def call(self, function: Callable[[], T]) -> T:
        """Runs a function in the linker's thread, after the jobs before it.

        Args:
            function: The function.

        Returns:
            Its result.

        Raises:
            BusyError: If the queue is full.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        return await self._put(_CallJob(function, future))

    async def _put(self, job: Any) -> Any:
        if self._waiting and self._size + job.size > self._settings.max_queue:
            raise BusyError("The queue is full")
        self._waiting.append(job)
        self._size += job.size
        self._arrived.set()
        if self._size >= self._settings.max_batch:
            self._full.set()
        try:
            return await job.future
        except asyncio.CancelledError:
            with suppress(ValueError):  # it may have started
                self._waiting.remove(job)
                self._size -= job.size
            raise

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if not self._waiting:
                if self._closing:
                    return
                self._arrived.clear()
                continue
            if self._size < self._settings.max_batch and not self._closing:
                self._full.clear()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._settings.max_wait)
            jobs = self._take()
            if not jobs:
                continue
            results = await loop.run_in_executor(self._thread, self._work, jobs)
            for job, result in zip(jobs, results, strict=True):
                if job.future.done():
                    continue
                if isinstance(result, Exception):
                    job.future.set_exception(result)
                else:
                    job.future.set_result(result)

    def _take(self) -> list[Any]:
        """Takes the next batch, or the next call alone; cancelled jobs are dropped."""
        jobs: list[Any] = []
        size = 0
        while self._waiting:
            job = self._waiting[0]
            alone = isinstance(job, _CallJob) or size + job.size > self._settings.max_batch
            if not job.future.done() and jobs and alone:
                break
            self._waiting.popleft()
            self._size -= job.size
            if job.future.done():
                continue
            jobs.append(job)
            size += job.size
            if isinstance(job, _CallJob):
                break
        return jobs

    def _work(self, jobs: list[Any]) -> list[Any]:
        """Runs jobs in the linker's thread; returns a result or an exception for each."""
        if isinstance(jobs[0], _CallJob):
            return [self._noted(_caught(jobs[0].function))]
        together = self._noted(_caught(lambda: self._link(jobs)))
        if not isinstance(together, Exception):
            return together
        if len(jobs) == 1:
            return [together]
        if isinstance(together, StorageError):
            return [together] * len(jobs)
        return [result for job in jobs for result in self._work([job])]

    def _noted(self, result: Any) -> Any:
        """Remembers whether the service failed; requests that are refused tell nothing about it."""
        if isinstance(result, StorageError) or not isinstance(result, DIMError):
            self.failure = result if isinstance(result, Exception) else None
        return result

    def _link(self, jobs: list[_LinkJob]) -> list[LinkAnswer]:
        rows = [row for job in jobs for row in job.rows]
        found = iter(self._linker.link(rows, max(job.k for job in jobs), batch_size=self._settings.max_batch))
        answers = []
        for job in jobs:
            links = [_cut(next(found), job.k) for _ in job.rows]
            if job.why:
                links = [explain(self._linker, row, one) for row, one in zip(job.rows, links, strict=True)]
            answers.append(LinkAnswer(links, self._linker.kb.version))
        self._linked(len(rows))
        return answers


def _cut(links: Links, k: int) -> Links:
    """The first `k` links; confidences and NIL stay those of all candidates."""
    return Links(links[:k], links.nil, links.is_nil)


def _caught(function: Callable[[], Any]) -> Any:
    """Returns the result of a function, or the exception that it raises."""
    try:
        return function()
    except Exception as error:
        return error
