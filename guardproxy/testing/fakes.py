"""Doubles for what stands on the protocols: an upstream that plays bytes, a guard that says what it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from guardproxy.decision import Finding, Mode, OnError, Verdict
from guardproxy.errors import UpstreamError
from guardproxy.exchange import Exchange
from guardproxy.guards.guard import Context
from guardproxy.model import CallKey, Request, ToolCall, ToolResult, Turn
from guardproxy.strict_json import JsonObject
from guardproxy.upstream.upstream import UpstreamRequest

Play = Iterable[bytes | UpstreamError | float]
"""What an answer is made of: bytes to send, an error to raise, seconds to wait."""


@dataclass
class FakeReply:
    play: Play
    content_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    async def chunks(self) -> AsyncIterator[bytes]:
        for step in self.play:
            match step:
                case bytes():
                    yield step
                case UpstreamError():
                    raise step
                case _:
                    await asyncio.sleep(step)


@dataclass
class FakeUpstream:
    """Plays one answer after the other, and keeps what it was asked. An UpstreamError refuses the opening."""

    plays: Sequence[Play | UpstreamError]
    name: str = "fake"
    asked: list[UpstreamRequest] = field(default_factory=list)
    closed: int = 0
    content_type: str | None = None  # None: the right one
    remembers: bool = True

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncIterator[FakeReply]:
        self.asked.append(request)
        play = self.plays[min(len(self.asked), len(self.plays)) - 1]
        if isinstance(play, UpstreamError):
            raise play
        try:
            right = "text/event-stream" if request.stream else "application/json"
            yield FakeReply(play, right if self.content_type is None else self.content_type)
        finally:
            self.closed += 1

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class FakeRouter:
    """Everything goes to one upstream."""

    upstream: FakeUpstream

    def route(self, model: str) -> FakeUpstream:
        return self.upstream

    async def models(self, request: UpstreamRequest) -> JsonObject:
        return {"object": "list", "data": []}

    async def model(self, name: str, request: UpstreamRequest) -> JsonObject:
        return {"id": name, "object": "model"}


Say = Callable[[ToolCall], Sequence[Finding] | None]


@dataclass
class FakeGuard:
    """Says of each call what `say` says; None leaves it out. An exception raised by `say` is the guard failing."""

    say: Say
    name: str = "fake_guard"
    mode: Mode = Mode.ENFORCE
    on_error: OnError = OnError.BLOCK
    deadline_s: float = 1.0
    flag_results: Callable[[str], bool] = lambda text: False
    risk: Callable[[Request], float | None] = lambda request: None  # from .5 on a request is flagged
    reads_requests: bool = True
    seen: list[ToolCall] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)
    delay_s: float = 0.0

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        await asyncio.sleep(self.delay_s)
        self.contexts.append(context)
        self.seen += calls
        said = {call.key: self.say(call) for call in calls}
        return {key: findings for key, findings in said.items() if findings is not None}

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        return (finding(Verdict.BLOCK, guard=self.name),) if self.flag_results(result.text) else ()

    async def review_request(self, request: Request, context: Context) -> Sequence[Finding]:
        score = self.risk(request)
        if score is None:
            return ()
        verdict = Verdict.BLOCK if score >= 0.5 else Verdict.ALLOW
        return (replace(finding(verdict, guard=self.name, mode=self.mode), score=score),)


@dataclass
class FakeObserver:
    exchanges: list[Exchange] = field(default_factory=list)

    def record(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


def finding(
    verdict: Verdict, *, guard: str = "fake_guard", mode: Mode = Mode.ENFORCE, replacement: str | None = None
) -> Finding:
    """A finding with this verdict."""
    advice = "Ask the user first."
    return Finding(guard, f"fake_{verdict.label}", "fake_code", verdict, mode, advice, replacement=replacement)
