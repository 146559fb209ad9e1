"""A load generator on raw asyncio: closed loop (as fast as answers come) and open loop (at set times).

Every answer is read to its end and checked; one that is not what the upstream said is a fault, never a sample.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import httptools

from bench.alarm import Alarm, now_ns
from bench.arrivals import Arrival
from bench.conversation import request_body, wire_request
from bench.plan import Plan, fault_of

_ANSWER_DEADLINE_S = 30.0


class LoadError(Exception):
    """The load could not be run to its end."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request as bytes, and the check of its answer. `mark` is in the first body bytes that count as an answer:
    for a stream the field of an event, so that a head or a comment sent early does not pass for a token."""

    wire: bytes
    mark: bytes
    fault: Callable[[int, bytes], str | None]


def shot(port: int, plan: Plan, stream: bool) -> Shot:
    wire = wire_request(port, request_body(plan, stream))
    return Shot(wire, b"data:" if stream else b"", partial(fault_of, plan, stream))


@dataclass(slots=True)
class Run:
    """Times of one target, in ns, one entry for each good answer; all count from when the request was due."""

    late_ns: list[int] = field(default_factory=list)  # due to written: the generator's own lag
    first_ns: list[int] = field(default_factory=list)  # due to the first byte that counts
    latency_ns: list[int] = field(default_factory=list)  # due to the end
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Connection(asyncio.Protocol):
    """A keep-alive connection with one request under way at a time."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._busy = False
        self._run: Run
        self._shot: Shot

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it
        self._parser = httptools.HttpResponseParser(self)

    def fire(self, shot: Shot, run: Run, due_ns: int) -> None:
        self._shot, self._run, self._due_ns = shot, run, due_ns
        self._body: list[bytes] = []
        self._first_ns = 0
        self._busy = True
        self._sent_ns = now_ns()
        self.transport.write(shot.wire)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        if not self._first_ns and self._shot.mark in body:
            self._first_ns = now_ns()
        self._body.append(body)

    def on_message_complete(self) -> None:
        end_ns = now_ns()
        if not self._busy:
            self.transport.abort()
            return
        self._busy = False
        fault = self._shot.fault(self._parser.get_status_code(), b"".join(self._body))
        if fault is None:
            self._run.late_ns.append(self._sent_ns - self._due_ns)
            self._run.first_ns.append(self._first_ns - self._due_ns)
            self._run.latency_ns.append(end_ns - self._due_ns)
        else:
            self._run.faults[fault] += 1
        self._pool.done(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._busy:
            self._busy = False
            self._run.faults["the connection closed before the answer's end"] += 1
        self._pool.lost(self)


class Pool:
    """Connections to one server. Free ones are used in turn, so that none idles into the server's timeout."""

    def __init__(self) -> None:
        self.free: deque[Connection] = deque()
        self.open = 0
        self.done: Callable[[Connection], None] = self.free.append
        self.broken: Callable[[], None] = lambda: None

    @classmethod
    async def connect(cls, port: int, size: int) -> "Pool":
        pool = cls()
        loop = asyncio.get_running_loop()
        for _ in range(size):
            _, connection = await loop.create_connection(lambda: Connection(pool), "127.0.0.1", port)
            pool.free.append(connection)
            pool.open += 1
        return pool

    def lost(self, connection: Connection) -> None:
        self.open -= 1
        if connection in self.free:
            self.free.remove(connection)
        else:
            self.broken()

    def close(self) -> None:
        self.done = self.free.append
        self.broken = lambda: None
        for connection in tuple(self.free):
            connection.transport.abort()


async def closed_loop(pool: Pool, shot: Shot, seconds: float) -> Run:
    """Every connection of the pool sends its next request when it has its answer, for `seconds`."""
    run, all_done = Run(), asyncio.Event()
    start_ns = now_ns()
    stop_ns = start_ns + int(seconds * 1e9)
    under_way = len(pool.free)

    def ended() -> None:
        nonlocal under_way
        under_way -= 1
        if not under_way:
            all_done.set()

    def done(connection: Connection) -> None:
        now = now_ns()
        if now < stop_ns and not run.faults:
            connection.fire(shot, run, now)
        else:
            pool.free.append(connection)
            ended()

    pool.done, pool.broken = done, ended
    for _ in range(under_way):
        pool.free.popleft().fire(shot, run, now_ns())
    await _wait(all_done, seconds)
    run.seconds = (now_ns() - start_ns) / 1e9
    return run


async def open_loop(
    pools: Mapping[str, Pool], shots: Mapping[str, Shot], arrivals: Sequence[Arrival]
) -> dict[str, Run]:
    """Send each arrival when it is due. One that finds no free connection waits, and its wait is in its latency."""
    load = _OpenLoad(pools, shots, arrivals)
    alarm = Alarm()
    try:
        return await load.run(alarm)
    finally:
        alarm.close()


class _OpenLoad:
    def __init__(self, pools: Mapping[str, Pool], shots: Mapping[str, Shot], arrivals: Sequence[Arrival]) -> None:
        self._pools, self._shots, self._arrivals = pools, shots, arrivals
        self._runs = {target: Run() for target in pools}
        self._waiting: dict[str, deque[int]] = {target: deque() for target in pools}
        self._next = 0
        self._left = len(arrivals)
        self._all_done = asyncio.Event()

    async def run(self, alarm: Alarm) -> dict[str, Run]:
        for target, pool in self._pools.items():
            pool.done = partial(self._answered, target)
            pool.broken = self._ended
        if not self._arrivals:
            return self._runs
        self._alarm, self._start_ns = alarm, now_ns() + 1_000_000
        self._arrive()
        await _wait(self._all_done, self._arrivals[-1].at_ns / 1e9)
        for run in self._runs.values():
            run.seconds = (now_ns() - self._start_ns) / 1e9
        return self._runs

    def _arrive(self) -> None:
        now = now_ns() - self._start_ns
        while self._next < len(self._arrivals) and self._arrivals[self._next].at_ns <= now:
            arrival = self._arrivals[self._next]
            self._next += 1
            self._waiting[arrival.target].append(self._start_ns + arrival.at_ns)
            self._send(arrival.target)
        if self._next < len(self._arrivals):
            self._alarm.at(self._start_ns + self._arrivals[self._next].at_ns, self._arrive)

    def _send(self, target: str) -> None:
        free, waiting = self._pools[target].free, self._waiting[target]
        while free and waiting:
            free.popleft().fire(self._shots[target], self._runs[target], waiting.popleft())

    def _answered(self, target: str, connection: Connection) -> None:
        self._pools[target].free.append(connection)
        self._ended()
        self._send(target)

    def _ended(self) -> None:
        self._left -= 1
        if not self._left:
            self._all_done.set()


async def _wait(done: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(done.wait(), seconds + _ANSWER_DEADLINE_S)
    except TimeoutError:
        raise LoadError(f"answers were still missing {_ANSWER_DEADLINE_S:g} s after the last request was due") from None
