"""The phases of a run. Each leaves segments; nothing here computes a figure that is reported."""

import gc
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from bench.arrivals import poisson
from bench.client import LoadError, Pool, Run, closed_loop, open_loop, shot
from bench.plan import Answer, Plan
from bench.procfs import core_busy_s
from bench.proxy import Server
from bench.report import DIRECT, core_share, cpu_us_per_request
from bench.segment import Phase, Segment

_MAX_SHARE = 0.5  # of the proxy's core, under paced load
_AIM_SHARE = 0.4
_MAX_RATE = 1000.0
_CALM_RATE = 200.0
_FRESH_RATE = 5.0  # each of these runs the classifier
_CONNECTIONS = 16
_PACED_POOL = 64
_CHUNKS_FEW, _CHUNKS_MANY = 8, 72


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a run takes: `rounds` of all phases, each phase a multiple of `seconds`."""

    rounds: int = 5
    seconds: float = 3.0
    warm_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """Paced load: what is asked for, how often each second for each target, over how many connections."""

    phase: Phase
    plan: Plan
    rate: float
    seconds: float
    stream: bool = False
    pool: int = _PACED_POOL


class Bench:
    """One run over servers that are up: `servers` on `proxy_core`, the mock upstream on `upstream_port`."""

    def __init__(self, servers: Mapping[str, Server], upstream_port: int, proxy_core: int, scale: Scale) -> None:
        self._servers = servers
        self._ports = {DIRECT: upstream_port} | {name: server.port for name, server in servers.items()}
        self._core = proxy_core
        self._scale = scale
        self.segments: list[Segment] = []

    async def run(self) -> None:
        rate = await self._choose_rate()
        for number in range(self._scale.rounds):
            for name in (DIRECT, *self._servers):
                self.segments.append(await self._closed(name, number, self._scale.seconds))
            for name in self._servers:
                for load in self._loads(rate):
                    self.segments += await self._paired(name, number, load)
                for load in self._chunk_loads(rate):
                    self.segments += await self._alone(name, number, load)
            say(f"round {number + 1} of {self._scale.rounds} done")

    def _loads(self, rate: float) -> tuple[Load, ...]:
        seconds, delay = self._scale.seconds, 20
        text, call, fresh = (Plan(answer, delay) for answer in (Answer.TEXT, Answer.CALL, Answer.FRESH))
        return (
            Load(Phase.PACED, text, min(rate, _CALM_RATE), 2 * seconds),
            Load(Phase.BUSY, text, rate, seconds),
            Load(Phase.STREAM, replace(text, chunks=32, interval_ms=5), min(rate / 10, 20), seconds, stream=True),
            Load(Phase.HELD, call, min(rate / 5, _CALM_RATE), seconds),
            Load(Phase.FRESH, fresh, max(_FRESH_RATE, 20 / seconds), 1.5 * seconds, pool=8),
        )

    def _chunk_loads(self, rate: float) -> Iterator[Load]:
        for phase, chunks in ((Phase.FEW_CHUNKS, _CHUNKS_FEW), (Phase.MANY_CHUNKS, _CHUNKS_MANY)):
            plan = Plan(Answer.TEXT, 20, chunks, 5)
            yield Load(phase, plan, min(rate / 10, 40), self._scale.seconds, stream=True)

    async def _choose_rate(self) -> float:
        """Requests a second that keep the core of the slowest proxy at most half busy, as measured and not as hoped."""
        costs = [await self._warm_cost_us(name) for name in self._servers]
        rate = min(_MAX_RATE, _AIM_SHARE * 1e6 / max(costs))
        for _ in range(4):
            load = Load(Phase.BUSY, Plan(delay_ms=20), rate, max(1.0, self._scale.seconds / 2))
            tried = [(await self._paired(name, 0, load))[1] for name in self._servers]
            share = max(core_share(segment) or 0.0 for segment in tried)
            if share <= 0.9 * _MAX_SHARE:
                say(f"busy paced load: {rate:.0f} requests/s, {share:.0%} of the proxy's core")
                return rate
            rate *= 0.8 * _MAX_SHARE / share
        raise LoadError("no paced load leaves the proxy's core half idle")

    async def _warm_cost_us(self, name: str) -> float:
        return cpu_us_per_request(await self._closed(name, 0, self._scale.seconds)) or 0.0

    async def _closed(self, name: str, number: int, seconds: float) -> Segment:
        wanted = shot(self._ports[name], Plan(), stream=False)
        async with _pools([name], self._ports, _CONNECTIONS) as pools:
            _checked(name, await closed_loop(pools[name], wanted, self._scale.warm_s))
            use = _Use(self._servers.get(name), self._core)
            run = _checked(name, await closed_loop(pools[name], wanted, seconds))
            return use.so_far(_segment(Phase.CLOSED, name, "", number, run))

    async def _paired(self, name: str, number: int, load: Load) -> list[Segment]:
        """Direct and proxied requests mixed in one sequence: the direct segment, then the proxied one."""
        return await self._open((DIRECT, name), name, number, load)

    async def _alone(self, name: str, number: int, load: Load) -> list[Segment]:
        return await self._open((name,), name, number, load)

    async def _open(self, targets: tuple[str, ...], name: str, number: int, load: Load) -> list[Segment]:
        shots = {target: shot(self._ports[target], load.plan, load.stream) for target in targets}
        async with _pools(targets, self._ports, load.pool) as pools:
            await open_loop(pools, shots, poisson(load.rate, self._scale.warm_s, targets, seed=1000 + number))
            arrivals = poisson(load.rate, load.seconds, targets, seed=number)
            use = _Use(self._servers[name], self._core)
            runs = await open_loop(pools, shots, arrivals)
            chunks = load.plan.chunks if load.stream else 0
            left = [
                _segment(load.phase, target, name, number, _checked(target, runs[target]), chunks) for target in targets
            ]
            return [*left[:-1], use.so_far(left[-1])]


class _Use:
    """What a server uses from now on."""

    def __init__(self, server: Server | None, core: int) -> None:
        self._server, self._core = server, core
        self._busy_s = core_busy_s(core)
        self._cpu_s = server.cpu_s() if server else 0.0

    def so_far(self, segment: Segment) -> Segment:
        if self._server is None:
            return segment
        busy_s = core_busy_s(self._core) - self._busy_s
        return replace(segment, cpu_s=self._server.cpu_s() - self._cpu_s, core_busy_s=busy_s)


def _segment(phase: Phase, target: str, beside: str, number: int, run: Run, chunks: int = 0) -> Segment:
    return Segment(
        phase,
        target,
        beside,
        number,
        run.seconds,
        chunks=chunks,
        late_ns=tuple(run.late_ns),
        first_ns=tuple(run.first_ns),
        latency_ns=tuple(run.latency_ns),
    )


def _checked(target: str, run: Run) -> Run:
    """Raises LoadError unless every answer of the run was the one that was asked for."""
    if run.faults:
        kinds = ", ".join(f"{count} x {fault}" for fault, count in run.faults.most_common())
        raise LoadError(f"{target}: {kinds}; {len(run.latency_ns)} answers were good")
    if not run.latency_ns:
        raise LoadError(f"{target}: no answer at all")
    return run


@asynccontextmanager
async def _pools(targets: Iterable[str], ports: Mapping[str, int], size: int) -> AsyncIterator[dict[str, Pool]]:
    """Fresh connections for each stretch of load. The generator collects its own garbage only between stretches."""
    gc.collect()
    gc.disable()
    pools = {target: await Pool.connect(ports[target], size) for target in targets}
    try:
        yield pools
    finally:
        for pool in pools.values():
            pool.close()
        gc.enable()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
