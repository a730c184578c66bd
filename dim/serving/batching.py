"""One thread that owns the linker, and the queue before it, where mentions of all clients become batches."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dim.linking.explain import explain
from dim.linking.linker import DIMLinker
from dim.linking.links import Links
from dim.serving.errors import BusyError
from dim.serving.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What the linker found for one request.

    Args:
        links: Of each mention.
        version: The version of the knowledge base that was asked.
    """

    links: list[Links]
    version: int


@dataclass(frozen=True, eq=False)
class _Question:
    """Mentions of one request."""

    rows: list[dict]
    k: int
    why: bool
    future: "asyncio.Future[Answer]"

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class _Task(Generic[T]):
    """Something else to be done with the knowledge base, alone and in its turn."""

    function: Callable[[], T]
    future: "asyncio.Future[T]"
    size: int = 1


class LinkQueue:
    """Lets one thread link for everybody, in the order in which questions came.

    Questions that wait are linked together, up to `max_batch` mentions; a batch that is not full waits `max_wait`
    seconds for more. Whoever is cancelled before the thread came to it costs nothing.

    Args:
        linker: The linker; nobody else may use it.
        settings: Limits.
        linked: Told the number of mentions of each batch that was linked, in the linker's thread.
    """

    def __init__(
        self,
        linker: DIMLinker,
        settings: Settings,
        linked: Callable[[int], None] = lambda size: None,
    ):
        self._linker, self._settings, self._linked = linker, settings, linked
        self._waiting: deque[_Question | _Task] = deque()
        self._size = 0
        self._thread = ThreadPoolExecutor(1, "linker")
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._runner: asyncio.Task | None = None

    def start(self) -> None:
        """Starts to work; within the event loop."""
        self._runner = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Ends when everything that waits is done."""
        self._closing = True
        self._arrived.set()
        if self._runner is not None:
            await self._runner
        self._thread.shutdown()

    @property
    def works(self) -> bool:
        """Whether questions are answered."""
        return self._runner is not None and not self._runner.done()

    @property
    def size(self) -> int:
        """Mentions, and changes of the knowledge base, that wait."""
        return self._size

    async def link(self, rows: Sequence[dict], k: int, why: bool = False) -> Answer:
        """Links mentions.

        Args:
            rows: Mentions as `DIMLinker.link` takes them, at least one.
            k: How many entities each.
            why: Whether to explain each.

        Returns:
            The answer.

        Raises:
            BusyError: If the queue is full.
            DIMError: If the linker does not take a mention.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return await self._put(_Question(list(rows), k, why, future))

    async def call(self, function: Callable[[], T]) -> T:
        """Runs something else in the linker's thread, after what waits and before what comes later.

        Args:
            function: What to run.

        Returns:
            What it returns.

        Raises:
            BusyError: If the queue is full.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        return await self._put(_Task(function, future))

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
            with suppress(ValueError):  # it may have begun
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
        """The next batch of questions, or the next task alone; those nobody waits for any more are dropped."""
        jobs: list[Any] = []
        size = 0
        while self._waiting:
            job = self._waiting[0]
            alone = isinstance(job, _Task) or size + job.size > self._settings.max_batch
            if not job.future.done() and jobs and alone:
                break
            self._waiting.popleft()
            self._size -= job.size
            if job.future.done():
                continue
            jobs.append(job)
            size += job.size
            if isinstance(job, _Task):
                break
        return jobs

    def _work(self, jobs: list[Any]) -> list[Any]:
        """Runs in the thread: a result or an exception for each job."""
        if isinstance(jobs[0], _Task):
            return [_caught(jobs[0].function)]
        together = _caught(lambda: self._link(jobs))
        if not isinstance(together, Exception):
            return together
        if len(jobs) == 1:
            return [together]
        return [result for job in jobs for result in self._work([job])]

    def _link(self, jobs: list[_Question]) -> list[Answer]:
        rows = [row for job in jobs for row in job.rows]
        found = iter(self._linker.link(rows, max(job.k for job in jobs), batch_size=self._settings.max_batch))
        answers = []
        for job in jobs:
            links = [_cut(next(found), job.k) for _ in job.rows]
            if job.why:
                links = [explain(self._linker, row, one) for row, one in zip(job.rows, links, strict=True)]
            answers.append(Answer(links, self._linker.kb.version))
        self._linked(len(rows))
        return answers


def _cut(links: Links, k: int) -> Links:
    """The first `k`; confidences and NIL are those of all candidates and stay."""
    return Links(links[:k], links.nil, links.is_nil)


def _caught(function: Callable[[], Any]) -> Any:
    """What a function returns or raises."""
    try:
        return function()
    except Exception as error:
        return error


__all__ = ["Answer", "LinkQueue"]
