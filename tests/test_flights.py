import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from guardproxy.breaker import Breaker, BreakerState
from guardproxy.flights import Failure, Flights, Timeout, Unavailable
from guardproxy.llamacpp import Aborted, EncodeFailure

PATIENT = 20.0


class Worker:
    """Works until it is aborted or let go."""

    def __init__(self) -> None:
        self.aborted = threading.Event()
        self.let_go = threading.Event()
        self.works = 0

    def abort(self) -> None:
        self.aborted.set()

    def rearm(self) -> None:
        self.aborted.clear()

    def work(self) -> int:
        self.works += 1
        while not self.let_go.wait(0.001):
            if self.aborted.is_set():
                raise Aborted
        return self.works


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def flights(worker: Worker) -> Iterator[Flights[Worker, int]]:
    made: Flights[Worker, int] = Flights("oracle", [worker], queue=1, breaker=Breaker(failures=2, rest_s=60.0))
    yield made
    made.close()


async def started(flights: Flights[Worker, int], worker: Worker) -> "asyncio.Task[int]":
    task = asyncio.ensure_future(flights.run(b"one", Worker.work, PATIENT))
    while not worker.works:
        await asyncio.sleep(0.001)
    return task


def test_a_key_in_flight_is_worked_on_once(flights: Flights[Worker, int], worker: Worker) -> None:
    async def many() -> list[int]:
        tasks = [await started(flights, worker)]
        tasks += [asyncio.ensure_future(flights.run(b"one", Worker.work, PATIENT)) for _ in range(20)]
        await asyncio.sleep(0)
        worker.let_go.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(many()) == [1] * 21
    assert worker.works == 1


def test_errors_name_the_model(flights: Flights[Worker, int], worker: Worker) -> None:
    async def all_of_them() -> None:
        running = await started(flights, worker)
        waiting = asyncio.ensure_future(flights.run(b"two", Worker.work, PATIENT))
        await asyncio.sleep(0)
        assert flights.waiting == 1
        with pytest.raises(Unavailable, match="the oracle's queue is full"):
            await flights.run(b"three", Worker.work, PATIENT)
        await asyncio.to_thread(flights.close)
        for outcome in await asyncio.gather(running, waiting, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
        with pytest.raises(Unavailable, match="the oracle is closed"):
            await flights.run(b"four", Worker.work, PATIENT)

    asyncio.run(all_of_them())
    assert not flights.close()


def test_a_deadline_aborts_what_nobody_else_waits_for(flights: Flights[Worker, int], worker: Worker) -> None:
    began = time.perf_counter()
    for _ in range(2):
        with pytest.raises(Timeout, match=r"the oracle gave no verdict within 0\.05 s"):
            asyncio.run(flights.run(b"one", Worker.work, 0.05))
    assert worker.aborted.wait(PATIENT)
    assert time.perf_counter() - began < PATIENT
    assert flights.breaker_state is BreakerState.OPEN
    with pytest.raises(Unavailable, match="the oracle's breaker is open"):
        asyncio.run(flights.run(b"one", Worker.work, PATIENT))


def test_who_leaves_does_not_take_the_others_work(flights: Flights[Worker, int], worker: Worker) -> None:
    async def one_leaves() -> int:
        stays = await started(flights, worker)
        leaves = asyncio.ensure_future(flights.run(b"one", Worker.work, PATIENT))
        await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        worker.let_go.set()
        return await stays

    assert asyncio.run(one_leaves()) == 1
    assert not worker.aborted.is_set()


@pytest.mark.parametrize(
    ("error", "said"),
    [(EncodeFailure("llama_encode returned 1"), "returned 1"), (ValueError("a call's secret"), "failed: ValueError")],
)
def test_a_failure_says_what_is_ours_to_say(flights: Flights[Worker, int], error: Exception, said: str) -> None:
    def fail(_: Worker) -> int:
        raise error

    with pytest.raises(Failure, match=said) as caught:
        asyncio.run(flights.run(b"one", fail, PATIENT))
    assert "secret" not in str(caught.value)
