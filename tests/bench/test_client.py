"""The load generator against the mock upstream alone, over loopback, in one process."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bench.alarm import Alarm
from bench.arrivals import poisson
from bench.client import Pool, Run, closed_loop, open_loop, shot
from bench.mock_upstream import Mock
from bench.plan import Answer, Plan

MS = 1_000_000


def against_mock(load: Callable[[int], Awaitable[Run]]) -> Run:
    async def run() -> Run:
        alarm = Alarm()
        server = await asyncio.get_running_loop().create_server(lambda: Mock(alarm, Plan()), "127.0.0.1", 0)
        try:
            return await load(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            alarm.close()

    return asyncio.run(run())


@pytest.mark.parametrize("answer", list(Answer))
@pytest.mark.parametrize("stream", [True, False])
def test_closed_loop_counts_only_right_answers(answer: Answer, stream: bool) -> None:
    async def load(port: int) -> Run:
        pool = await Pool.connect(port, 3)
        run = await closed_loop(pool, shot(port, Plan(answer), stream), 0.1)
        assert len(pool.free) == 3
        pool.close()
        return run

    run = against_mock(load)
    assert not run.faults
    assert len(run.latency_ns) >= 3
    assert len(run.latency_ns) == len(run.first_ns) == len(run.late_ns)
    assert 0.1 <= run.seconds < 5


def test_open_loop_sends_every_arrival_and_sees_the_delay() -> None:
    arrivals = poisson(100, 0.2, ("mock",), seed=5)

    async def load(port: int) -> Run:
        pool = await Pool.connect(port, 8)
        plan = Plan(delay_ms=10, chunks=4, interval_ms=3)
        runs = await open_loop({"mock": pool}, {"mock": shot(port, plan, stream=True)}, arrivals)
        pool.close()
        return runs["mock"]

    run = against_mock(load)
    assert not run.faults
    assert len(run.latency_ns) == len(arrivals)
    assert min(run.first_ns) >= 10 * MS
    assert min(run.latency_ns) >= 19 * MS  # the delay and three intervals
    assert all(first < last for first, last in zip(run.first_ns, run.latency_ns, strict=True))


def test_waiting_for_a_free_connection_is_part_of_the_latency() -> None:
    """Both are due at once and there is one connection: the second waits for the whole of the first."""
    arrivals = [poisson(100, 1, ("mock",), seed=1)[0]] * 2

    async def load(port: int) -> Run:
        pool = await Pool.connect(port, 1)
        runs = await open_loop({"mock": pool}, {"mock": shot(port, Plan(delay_ms=10), stream=False)}, arrivals)
        pool.close()
        return runs["mock"]

    run = against_mock(load)
    assert max(run.latency_ns) >= 20 * MS
    assert max(run.late_ns) >= 10 * MS


class _Hangs(asyncio.Protocol):
    """A server that closes in the middle of every answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        self.transport.close()


def test_a_broken_answer_is_a_fault_and_no_sample() -> None:
    async def run() -> Run:
        server = await asyncio.get_running_loop().create_server(_Hangs, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = await Pool.connect(port, 2)
        try:
            return await closed_loop(pool, shot(port, Plan(), stream=False), 0.1)
        finally:
            server.close()

    found = asyncio.run(run())
    assert found.faults == {"the connection closed before the answer's end": 2}
    assert not found.latency_ns


def test_an_answer_of_another_plan_stops_the_load() -> None:
    async def load(port: int) -> Run:
        pool = await Pool.connect(port, 1)
        asked, expected = shot(port, Plan(chunks=3), False), shot(port, Plan(chunks=4), False)
        run = await closed_loop(pool, type(asked)(asked.wire, b"", expected.fault), 5)
        pool.close()
        return run

    run = against_mock(load)
    assert run.faults == {"another answer than the upstream's": 1}
    assert not run.latency_ns
    assert run.seconds < 4
