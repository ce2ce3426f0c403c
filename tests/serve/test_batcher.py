"""Micro-batches: what runs together, what waits, what is refused, what is given up."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from tlpipe.serve.reading import Busy
from tlpipe.serve.runtime.batcher import Batcher, Batching, Lanes
from tlpipe.serve.runtime.session import Tensors


class Graph:
    """Doubles its input; remembers its batches; waits for `go` before each call; fails on a 13."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go, self.called = threading.Event(), threading.Event()
        self.go.set()

    def __call__(self, feeds: Tensors) -> Tensors:
        self.called.set()
        assert self.go.wait(60)
        self.batches.append(len(feeds["x"]))
        if (feeds["x"] == 13).any():
            raise ValueError("thirteen")
        return {"y": feeds["x"] * 2}


def one(value: int, rows: int = 1, width: int = 2) -> Tensors:
    return {"x": np.full((rows, width), value)}


def run(test: Callable[[Graph, Batcher], Awaitable[Any]], width: int = 1, **batching: Any) -> Graph:
    async def whole() -> Graph:
        graph = Graph()
        batcher = Batcher(graph, Batching().model_copy(update=batching), width=width)
        async with asyncio.timeout(60):
            await test(graph, batcher)
            await batcher.close()
        return graph

    return asyncio.run(whole())


async def behind_a_call(graph: Graph, batcher: Batcher) -> "asyncio.Task[Tensors]":
    """A call that holds the graph until `go` is set."""
    graph.go.clear()
    task = asyncio.create_task(batcher.submit(one(0)))
    assert await asyncio.to_thread(graph.called.wait, 60)
    return task


def test_what_arrives_during_a_call_runs_together():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        others = [asyncio.create_task(batcher.submit(one(value))) for value in range(1, 8)]
        await asyncio.sleep(0.01)
        graph.go.set()
        for value, outputs in zip(range(8), await asyncio.gather(first, *others), strict=True):
            np.testing.assert_array_equal(outputs["y"], np.full((1, 2), 2 * value))

    assert run(test, max_batch=4).batches == [1, 4, 3]


def test_of_two_full_batches_one_runs_beside_the_call_where_two_run_at_a_time():
    meet = threading.Barrier(2)

    class Both(Graph):
        def __call__(self, feeds: Tensors) -> Tensors:
            if len(self.batches) < 2:
                meet.wait(60)  # neither call ends before both have begun
            return super().__call__(feeds)

    async def whole() -> Graph:
        graph = Both()
        batcher = Batcher(graph, Batching(max_batch=3), width=2)
        async with asyncio.timeout(60):
            first = asyncio.create_task(batcher.submit(one(0)))
            await asyncio.sleep(0.01)
            others = [asyncio.create_task(batcher.submit(one(value))) for value in range(1, 7)]
            for value, outputs in enumerate(await asyncio.gather(first, *others)):
                np.testing.assert_array_equal(outputs["y"], np.full((1, 2), 2 * value))
            await batcher.close()
        return graph

    assert sorted(asyncio.run(whole()).batches) == [1, 3, 3]


def test_one_full_batch_waits_for_the_call_where_two_run_at_a_time():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        others = [asyncio.create_task(batcher.submit(one(value))) for value in range(1, 6)]
        await asyncio.sleep(0.05)
        assert (batcher.waiting, batcher._calls) == (5, 1)
        graph.go.set()
        await asyncio.gather(first, *others)

    assert run(test, width=2, max_batch=3).batches == [1, 3, 2]


def with_lanes(
    test: Callable[[Graph, Graph, Batcher], Awaitable[Any]], count: int, most: int, fewest: int
) -> tuple[Graph, Graph]:
    """The graph on all threads and the one of the lanes, after the test."""

    async def whole() -> tuple[Graph, Graph]:
        graph, parallel = Graph(), Graph()
        batcher = Batcher(graph, Batching(max_batch=4), lanes=Lanes(parallel, count, most, fewest))
        async with asyncio.timeout(60):
            await test(graph, parallel, batcher)
            await batcher.close()
        return graph, parallel

    return asyncio.run(whole())


def test_a_lone_client_has_all_threads_and_the_lanes_begin_when_enough_is_in_hand():
    async def test(graph: Graph, parallel: Graph, batcher: Batcher) -> None:
        for value in range(3):
            np.testing.assert_array_equal((await batcher.submit(one(value)))["y"], 2 * one(value)["x"])
        first = await behind_a_call(graph, batcher)
        second = asyncio.create_task(batcher.submit(one(1)))
        await asyncio.sleep(0.05)
        assert (parallel.batches, batcher.waiting) == ([], 1)  # two are in hand, the lanes begin with three
        third = asyncio.create_task(batcher.submit(one(2)))
        await asyncio.gather(second, third)  # while the call on all threads still runs
        graph.go.set()
        await first
        for _ in range(3):
            await batcher.submit(one(3))

    graph, parallel = with_lanes(test, count=2, most=1, fewest=3)
    assert sum(graph.batches + parallel.batches) == 9
    assert (len(graph.batches), len(parallel.batches)) == (4 + 2, 2 + 1)  # of the last three the lanes had the first


def test_a_request_of_many_samples_is_one_in_hand():
    async def test(graph: Graph, parallel: Graph, batcher: Batcher) -> None:
        await batcher.submit(one(1, rows=50))

    graph, parallel = with_lanes(test, count=2, most=1, fewest=2)
    assert (graph.batches, parallel.batches) == ([50], [])


def test_as_many_lanes_as_there_are_run_at_a_time_and_none_waits_while_one_is_free():
    meet = threading.Barrier(3)

    async def test(graph: Graph, parallel: Graph, batcher: Batcher) -> None:
        run = parallel.__call__

        def together(feeds: Tensors) -> Tensors:
            meet.wait(60)  # three calls must have begun before one ends
            return run(feeds)

        batcher._lanes = Lanes(together, 3, 1, 2)
        found = await asyncio.gather(*(batcher.submit(one(value)) for value in range(9)))
        assert [each["y"][0, 0] for each in found] == [2 * value for value in range(9)]

    graph, parallel = with_lanes(test, count=3, most=1, fewest=2)
    assert (graph.batches, parallel.batches) == ([], [1] * 9)


def test_what_waits_for_a_lane_shares_its_call():
    async def test(graph: Graph, parallel: Graph, batcher: Batcher) -> None:
        parallel.go.clear()
        tasks = [asyncio.create_task(batcher.submit(one(value, width=2))) for value in range(2)]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(batcher.submit(one(value))) for value in range(2, 10)]
        await asyncio.sleep(0.05)
        assert batcher._calls == 4  # two run, two are handed over
        parallel.go.set()
        for value, outputs in enumerate(await asyncio.gather(*tasks)):
            np.testing.assert_array_equal(outputs["y"], 2 * one(value)["x"])

    graph, parallel = with_lanes(test, count=2, most=3, fewest=1)
    assert graph.batches == []
    assert sum(parallel.batches) == 10
    assert max(parallel.batches) == 3


def test_shapes_do_not_mix_and_keep_their_order():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        widths = (2, 3, 2, 3, 3)
        others = [asyncio.create_task(batcher.submit(one(1, width=width))) for width in widths]
        await asyncio.sleep(0.01)
        graph.go.set()
        await first
        assert [(await other)["y"].shape[1] for other in others] == list(widths)

    assert run(test).batches == [1, 2, 3]


def test_requests_of_several_rows_are_not_cut():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        others = [asyncio.create_task(batcher.submit(one(rows, rows))) for rows in (3, 3, 2)]
        await asyncio.sleep(0.01)
        graph.go.set()
        await first
        assert [len((await other)["y"]) for other in others] == [3, 3, 2]

    assert run(test, max_batch=5).batches == [1, 5, 3]


def test_one_bad_request_does_not_fail_its_neighbours():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        others = [asyncio.create_task(batcher.submit(one(value))) for value in (1, 13, 2)]
        await asyncio.sleep(0.01)
        graph.go.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert [isinstance(each, ValueError) for each in found] == [False, False, True, False]

    run(test)


def test_a_full_queue_refuses_at_once_and_goes_on():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        others = [asyncio.create_task(batcher.submit(one(1))) for _ in range(3)]
        await asyncio.sleep(0.01)
        with pytest.raises(Busy, match="the queue is full"):
            await batcher.submit(one(1))
        graph.go.set()
        await asyncio.gather(first, *others)
        assert (await batcher.submit(one(4)))["y"][0, 0] == 8

    run(test, queue=3)


def test_cancelled_requests_never_run():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        left, kept = (asyncio.create_task(batcher.submit(one(value))) for value in (1, 2))
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == 1
        graph.go.set()
        await asyncio.gather(first, kept)
        assert batcher.waiting == 0

    assert run(test).batches == [1, 1]


def test_a_lone_client_never_waits_for_company():
    async def test(graph: Graph, batcher: Batcher) -> None:
        for _ in range(3):
            await batcher.submit(one(1))

    assert run(test, max_delay=3600).batches == [1, 1, 1]


def test_after_a_large_batch_company_is_awaited_but_not_longer_than_told():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        others = [asyncio.create_task(batcher.submit(one(1))) for _ in range(4)]
        await asyncio.sleep(0.01)
        graph.go.set()
        await asyncio.gather(first, *others)
        began = time.perf_counter()
        await batcher.submit(one(1))
        assert time.perf_counter() - began >= 0.2

    assert run(test, max_delay=0.2).batches == [1, 4, 1]


def test_closing_finishes_what_waits_and_takes_no_more():
    async def test(graph: Graph, batcher: Batcher) -> None:
        first = await behind_a_call(graph, batcher)
        other = asyncio.create_task(batcher.submit(one(1)))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        graph.go.set()
        await asyncio.gather(first, other, closing)
        with pytest.raises(Busy):
            await batcher.submit(one(1))

    run(test)


def test_each_call_is_observed():
    seen: list[tuple[int, float, float]] = []

    async def whole() -> None:
        batcher = Batcher(Graph(), Batching(), lambda *each: seen.append(each))
        await batcher.submit(one(1, rows=3))
        await batcher.close()

    asyncio.run(whole())
    ((rows, seconds, waited),) = seen
    assert rows == 3
    assert 0 <= seconds < 5
    assert 0 <= waited < 5
