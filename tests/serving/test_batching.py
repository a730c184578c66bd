"""Batching of requests: batches across clients, order, limits and cancellation."""

import asyncio

import pytest
from serving_server import Gate, make

from dim import DIMLinker
from dim.serving.batching import LinkQueue
from dim.serving.refusals import BusyError
from dim.serving.settings import Settings


@pytest.fixture(scope="module")
def parts(tiny_dim_dir, tmp_path_factory):
    folders = make(tmp_path_factory.mktemp("serving"), tiny_dim_dir)
    made = DIMLinker.from_pretrained(*folders, device="cpu")
    return made.model, made.processor, made.kb


@pytest.fixture
def gate(parts):
    made = Gate(*parts)
    yield made
    made.open.set()


def rows(*names):
    return [{"mention": name, "sentence": name} for name in names]


def queued(linker, steps, **limits):
    """Runs `steps(queue)` with a queue for a linker."""

    async def run():
        queue = LinkQueue(linker, Settings(**limits))
        queue.start()
        try:
            return await steps(queue)
        finally:
            linker.open.set()
            await queue.close()

    return asyncio.run(run())


async def until(condition):
    """Waits for a condition, for at most 5 seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


def test_waiting_mentions_are_linked_in_batches_and_in_order(gate):
    async def steps(queue):
        first = asyncio.create_task(queue.link(rows("a"), 1))
        await until(lambda: gate.asked)
        later = [
            asyncio.create_task(queue.link(rows(*names), k))
            for names, k in ((("b", "c"), 2), (("d",), 3), (("e", "f"), 1))
        ]
        await until(lambda: queue.size == 5)
        gate.open.set()
        return [await task for task in (first, *later)]

    answers = queued(gate, steps, max_batch=4, max_wait=0)
    assert gate.asked == [["a"], ["b", "c", "d"], ["e", "f"]]
    found = [[[entity.id for entity in links] for links in answer.links] for answer in answers]
    assert found == [[["a0"]], [["b0", "b1"], ["c0", "c1"]], [["d0", "d1", "d2"]], [["e0"], ["f0"]]]
    assert {(links.nil, links.is_nil) for answer in answers for links in answer.links} == {(0.25, False)}


def test_a_batch_waits_for_more_but_not_when_it_is_full(gate):
    gate.open.set()

    async def steps(queue):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(
            *(queue.link(rows(name), 1) for name in "ab"), _later(0.05, lambda: queue.link(rows("c"), 1))
        )
        waited = loop.time() - began
        began = loop.time()
        await asyncio.gather(*(queue.link(rows(name), 1) for name in "defg"))
        return waited, loop.time() - began

    waited, full = queued(gate, steps, max_batch=4, max_wait=0.4)
    assert gate.asked == [["a", "b", "c"], ["d", "e", "f", "g"]]
    assert waited >= 0.39
    assert full < 0.3


async def _later(seconds, function):
    await asyncio.sleep(seconds)
    return await function()


def test_one_bad_mention_fails_its_own_request_alone(gate):
    gate.open.set()

    async def steps(queue):
        asked = [queue.link(rows(*names), 1) for names in (("a",), ("b", "bad"), ("c",))]
        return await asyncio.gather(*asked, return_exceptions=True)

    one, bad, three = queued(gate, steps)
    assert [one.links[0][0].id, three.links[0][0].id] == ["a0", "c0"]
    assert str(bad) == "'bad' does not fit"


def test_cancelled_requests_are_not_linked(gate):
    async def steps(queue):
        tasks = [asyncio.create_task(queue.link(rows(name), 1)) for name in "abc"]
        await until(lambda: gate.asked)
        more = [asyncio.create_task(queue.link(rows(name), 1)) for name in "de"]
        await until(lambda: queue.size == 2)
        more[0].cancel()
        gate.open.set()
        await asyncio.gather(*tasks, more[1])
        assert queue.size == 0

    queued(gate, steps)
    assert gate.asked == [["a", "b", "c"], ["e"]]


def test_a_change_keeps_its_position_in_the_queue(gate):
    async def steps(queue):
        asked = [queue.link(rows("a"), 1), queue.call(lambda: gate.asked.append("change")), queue.link(rows("b"), 1)]
        gate.open.set()
        await asyncio.gather(*asked)

    queued(gate, steps)
    assert gate.asked == [["a"], "change", ["b"]]


def test_a_full_queue_refuses_and_recovers(gate):
    async def steps(queue):
        first = asyncio.create_task(queue.link(rows("a"), 1))
        await until(lambda: gate.asked and queue.size == 0)
        second = asyncio.create_task(queue.link(rows("b", "c"), 1))
        await until(lambda: queue.size == 2)
        with pytest.raises(BusyError, match="The queue is full: try again"):
            await queue.link(rows("d", "e"), 1)
        third = asyncio.create_task(queue.link(rows("f"), 1))
        gate.open.set()
        await asyncio.gather(first, second, third)
        await queue.link(rows("g", "h", "i"), 1)

    queued(gate, steps, max_queue=3, max_wait=0)


def test_close_finishes_the_waiting_jobs(gate):
    async def run():
        queue = LinkQueue(gate, Settings(max_batch=1))
        queue.start()
        tasks = [asyncio.create_task(queue.link(rows(name), 1)) for name in "abc"]
        await until(lambda: gate.asked)
        gate.open.set()
        await queue.close()
        assert not queue.running
        return [(await task).links[0][0].id for task in tasks]

    assert asyncio.run(run()) == ["a0", "b0", "c0"]
