"""The gate of a device: one at work, a few waiting in order, more refused at once, and nobody waits for nobody."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from promptseg.server.core.gate import ClientGone, Gate
from promptseg.server.refusals import RefusedRequest

Result = TypeVar("Result")


async def stay() -> None:
    """A client that does not leave."""
    await asyncio.Event().wait()


async def settle(condition: Callable[[], bool]) -> None:
    """Let other tasks run until something holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


class Work:
    """Work that ends when it is told to, and notes the order in which it began."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.may_end = threading.Event()
        self.threads: set[int] = set()

    def of(self, number: int) -> Callable[[], int]:
        def work() -> int:
            self.began.append(number)
            self.threads.add(threading.get_ident())
            assert self.may_end.wait(10)
            return number

        return work


@pytest.fixture
def work() -> Work:
    return Work()


def test_requests_compute_one_at_a_time_in_order(work: Work) -> None:
    async def run() -> None:
        gate = Gate("cpu", max_waiting=3, max_wait_s=10)
        tasks = [asyncio.create_task(gate.run(work.of(number), client_leaves=stay)) for number in range(4)]
        await settle(lambda: gate.num_running == 1 and gate.num_waiting == 3)
        assert work.began == [0]
        work.may_end.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
        assert work.began == [0, 1, 2, 3] and len(work.threads) == 1
        assert gate.num_running == gate.num_waiting == 0
        gate.close()

    asyncio.run(run())


def test_a_request_without_a_place_is_refused_at_once(work: Work) -> None:
    async def run() -> None:
        gate = Gate("cpu", max_waiting=1, max_wait_s=10)
        tasks = [asyncio.create_task(gate.run(work.of(number), client_leaves=stay)) for number in range(2)]
        await settle(lambda: gate.num_waiting == 1)
        with pytest.raises(RefusedRequest, match="a request computes on cpu and 1 wait, which is the limit") as refused:
            await gate.run(work.of(9), client_leaves=stay)
        assert (refused.value.status, refused.value.code, refused.value.headers) == (503, "busy", {"Retry-After": "1"})
        work.may_end.set()
        assert await asyncio.gather(*tasks) == [0, 1] and 9 not in work.began
        assert await gate.run(work.of(10), client_leaves=stay) == 10, "the places are free again"
        gate.close()

    asyncio.run(run())


def test_with_no_waiting_room_one_request_is_still_served(work: Work) -> None:
    async def run() -> None:
        gate = Gate("cpu", max_waiting=0, max_wait_s=10)
        task = asyncio.create_task(gate.run(work.of(0), client_leaves=stay))
        await settle(lambda: gate.num_running == 1)
        with pytest.raises(RefusedRequest, match="a request computes on cpu and 0 wait"):
            await gate.run(work.of(1), client_leaves=stay)
        work.may_end.set()
        assert await task == 0
        gate.close()

    asyncio.run(run())


def test_a_request_whose_client_left_is_dropped_and_frees_its_place(work: Work) -> None:
    async def run() -> None:
        gate = Gate("cpu", max_waiting=1, max_wait_s=10)
        left = asyncio.Event()

        async def leave() -> None:
            await left.wait()

        running = asyncio.create_task(gate.run(work.of(0), client_leaves=stay))
        waiting = asyncio.create_task(gate.run(work.of(1), client_leaves=leave))
        await settle(lambda: gate.num_waiting == 1)
        left.set()
        with pytest.raises(ClientGone):
            await waiting
        assert gate.num_waiting == 0
        next_one = asyncio.create_task(gate.run(work.of(2), client_leaves=stay))
        work.may_end.set()
        assert await asyncio.gather(running, next_one) == [0, 2]
        assert work.began == [0, 2]
        gate.close()

    asyncio.run(run())


def test_a_request_that_is_already_at_work_is_finished_when_its_client_leaves(work: Work) -> None:
    async def run() -> None:
        gate = Gate("cpu", max_waiting=1, max_wait_s=10)
        task = asyncio.create_task(gate.run(work.of(0), client_leaves=lambda: asyncio.sleep(0.01)))
        await settle(lambda: work.began == [0])
        work.may_end.set()
        assert await task == 0
        gate.close()

    asyncio.run(run())


def test_a_request_that_waits_too_long_is_refused(work: Work) -> None:
    async def run() -> None:
        gate = Gate("cpu", max_waiting=1, max_wait_s=0.02)
        running = asyncio.create_task(gate.run(work.of(0), client_leaves=stay))
        await settle(lambda: gate.num_running == 1)
        with pytest.raises(RefusedRequest, match=r"waited 0\.02 seconds for cpu, which is the limit"):
            await gate.run(work.of(1), client_leaves=stay)
        work.may_end.set()
        assert await running == 0 and gate.num_waiting == 0
        gate.close()

    asyncio.run(run())


def test_a_failure_frees_the_device() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def run() -> None:
        gate = Gate("cpu", max_waiting=0, max_wait_s=10)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await gate.run(fail, client_leaves=stay)
        assert gate.num_running == gate.num_waiting == 0
        gate.close()

    asyncio.run(run())


def test_a_cancelled_request_frees_its_place(work: Work) -> None:
    async def run() -> None:
        gate = Gate("cpu", max_waiting=2, max_wait_s=10)
        running = asyncio.create_task(gate.run(work.of(0), client_leaves=stay))
        await settle(lambda: gate.num_running == 1)
        waiting = asyncio.create_task(gate.run(work.of(1), client_leaves=stay))
        await settle(lambda: gate.num_waiting == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        work.may_end.set()
        assert await running == 0
        assert await gate.run(work.of(2), client_leaves=stay) == 2
        assert work.began == [0, 2] and gate.num_running == gate.num_waiting == 0
        gate.close()

    asyncio.run(run())
