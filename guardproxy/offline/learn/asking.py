"""Asking a model through the proxy's own code: its surface, its injection, its upstreams, its reading of answers.

What is no answer is never taken for one. A rate limit or a time-out is waited for, counted and tried again; a request
that still comes to nothing is not scored.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from guardproxy import strict_json
from guardproxy.errors import (
    UpstreamError,
    UpstreamRefusal,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from guardproxy.exchange import Exchange
from guardproxy.injection import PrefixStage
from guardproxy.model import Request, Turn
from guardproxy.offline.learn.scoring import Spent
from guardproxy.prefix.injector import Prefixer
from guardproxy.stream.frame import Frame
from guardproxy.stream.gate import Gate
from guardproxy.strict_json import Json
from guardproxy.surfaces.chat_completions import ChatCompletions
from guardproxy.surfaces.surface import RequestRules
from guardproxy.text_calls import TextCallMode, watch_for
from guardproxy.upstream.frames import pump_frames
from guardproxy.upstream.upstream import Upstream, UpstreamRequest

T = TypeVar("T")

_EVENT_BYTES: Final = 16 << 20
_CHARACTERS_A_TOKEN: Final = 4  # where a server does not count
_NO_USE: Final = (401, 402, 403, 404, 405, 501)
_TROUBLES: Final = {408: "timeout", 425: "rate_limited", 429: "rate_limited", 503: "overloaded", 529: "overloaded"}
_STUBBORN: Final = ("server_error", "protocol_error")  # often the same again
_FEW: Final = 3
_LONGEST_WAIT_S: Final = 300.0


class BudgetSpent(Exception):
    """No call may be made any more."""


class Unanswered(Exception):
    """A request came to nothing. `cause` is how it is counted."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class NoUse(Exception):
    """The upstream will not answer, however often it is asked: a wrong key, an unknown model, an empty account."""


@dataclass(slots=True)
class Meter:
    """What may still be spent. `held_back` is kept for later: (calls, tokens)."""

    calls: int | None = None
    tokens: int | None = None
    spent: Spent = field(default_factory=Spent)
    held_back: tuple[int, int] = (0, 0)

    def check(self) -> None:
        """Raises BudgetSpent."""
        calls, tokens = self.held_back
        if self.calls is not None and self.spent.calls + calls >= self.calls:
            raise BudgetSpent
        if self.tokens is not None and self.spent.tokens + tokens >= self.tokens:
            raise BudgetSpent


@dataclass(slots=True)
class Pace:
    """A rate limit is one for all that ask: none goes on before it is over."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    until: float = 0.0

    async def wait(self) -> None:
        while (left := self.until - self.clock()) > 0:
            await self.sleep(left)

    def hold(self, seconds: float) -> None:
        self.until = max(self.until, self.clock() + seconds)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is tried, and how long is waited in between: `first_s`, twice that, and so on."""

    tries: int = 8
    first_s: float = 1.0
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn, its text without the prefix, and where the prefix stood ("none": nowhere)."""

    turn: Turn
    text: str
    position: str


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one model of one upstream. `fields` go into every request; None takes one out."""

    upstream: Upstream
    model: str
    meter: Meter
    pace: Pace
    patience: Patience = Patience()
    fields: Mapping[str, Any] = field(default_factory=dict)

    def request(self, messages: Sequence[Json], tools: Sequence[Mapping[str, Any]] = ()) -> Request:
        """Raises MalformedRequest."""
        tree: dict[str, Any] = {"model": self.model, "messages": [*messages], **self.fields}
        if tools:
            tree["tools"] = [dict(tool) for tool in tools]
        return ChatCompletions().parse({key: value for key, value in tree.items() if value is not None}, RequestRules())

    async def ask(self, request: Request, prefixer: Prefixer | None, spent: Spent) -> Answer:
        """`spent` gets what it costs, whatever comes of it. Raises Unanswered, BudgetSpent, NoUse, and UpstreamRefusal
        for a request that the upstream will not take."""
        own = Exchange("learn", request.surface, "learn")
        stage = PrefixStage(prefixer, ChatCompletions(), request, self.upstream.name, own)
        turn, text = await self.persist(lambda: self._once(request, stage, own, spent), spent)
        return Answer(turn, text, own.prefix_position)

    async def send(self, request: Request, spent: Spent) -> Frame:
        """One whole answer to a request that is complete as it is. Raises as `ask` does."""

        async def once() -> Frame:
            return await self._exchange(request, Exchange("learn", request.surface, "learn"), spent)

        return await self.persist(once, spent)

    async def persist(self, once: Callable[[], Awaitable[T]], spent: Spent) -> T:
        """Tries until there is an answer, or no hope of one."""
        trouble, message = "", ""
        for attempt in range(self.patience.tries):
            await self.pace.wait()
            self.meter.check()
            try:
                return await once()
            except UpstreamError as error:
                trouble, message = _trouble(error), error.message
                if not trouble:
                    raise
                spent.add(Spent(troubles={trouble: 1}))
                if attempt + 1 == (min(self.patience.tries, _FEW) if trouble in _STUBBORN else self.patience.tries):
                    break
                await self._back_off(error, trouble, attempt)
        raise Unanswered(trouble, message)

    async def _back_off(self, error: UpstreamError, trouble: str, attempt: int) -> None:
        wait = _asked_to_wait(error)
        if wait is None:
            wait = self.patience.first_s * 2**attempt * random.uniform(0.5, 1.0)
        wait = min(wait, _LONGEST_WAIT_S)
        if trouble in ("rate_limited", "overloaded"):
            self.pace.hold(wait)
        else:
            await self.pace.sleep(wait)

    async def _once(self, request: Request, stage: PrefixStage, own: Exchange, spent: Spent) -> tuple[Turn, str]:
        frame = await self._exchange(stage.apply(request), own, spent)
        surface = ChatCompletions()
        gate = Gate(surface.reader(request), hold_all=True, watch=watch_for(request, TextCallMode.AUTO, True))
        gate.receive(frame)
        turn = gate.review()
        shown = [surface.texts_of(each).get(0, "") for each in stage.receive(frame)]
        return turn, "".join(shown) + _refusal_in(frame)

    async def _exchange(self, request: Request, own: Exchange, spent: Spent) -> Frame:
        frames: list[Frame] = []

        async def take(frame: Frame) -> bool:
            frames.append(frame)
            return False

        deadline = time.monotonic() + self.patience.timeout_s
        sent = UpstreamRequest(path=ChatCompletions.upstream_path, tree=request.tree, deadline=deadline)
        self._note(Spent(calls=1), spent)
        await pump_frames(self.upstream, sent, own, _EVENT_BYTES, take)
        self._note(_tokens(request, frames[0]), spent)
        return frames[0]

    def _note(self, cost: Spent, spent: Spent) -> None:
        spent.add(cost)
        self.meter.spent.add(cost)


def _refusal_in(frame: Frame) -> str:
    """What a model says in the field that OpenAI has for refusals: the surface passes it on and does not read it."""
    match frame.tree:
        case {"choices": [{"message": {"refusal": str(text)}}, *_]}:
            return text
        case _:
            return ""


def _trouble(error: UpstreamError) -> str:
    """What is worth another try, by the name under which it is counted; empty where it is not. Raises NoUse."""
    match error:
        case UpstreamTimeout():
            return "timeout"
        case UpstreamUnavailable():
            return "unavailable"
        case UpstreamRefusal():
            if error.status in _NO_USE or error.code in ("insufficient_quota", "invalid_api_key", "model_not_found"):
                raise NoUse(f"the upstream answered with status {error.status}: {error.message}")
            return _TROUBLES.get(error.status, "server_error" if error.status >= 500 else "")
        case _:
            return "protocol_error"


def _asked_to_wait(error: UpstreamError) -> float | None:
    """Seconds, from the headers of a refusal. A date is not read: the doubling wait does as well."""
    named = dict(error.headers) if isinstance(error, UpstreamRefusal) else {}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(named[name]) * unit)
        except (KeyError, ValueError):
            continue
    return None


def _tokens(request: Request, frame: Frame) -> Spent:
    usage = ChatCompletions().usage_of(frame) or {}
    counted = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if all(isinstance(count, int) for count in counted):
        return Spent(tokens=sum(count for count in counted if isinstance(count, int)))
    characters = len(strict_json.encode(dict(request.tree))) + len(strict_json.encode(frame.tree))
    return Spent(tokens=characters // _CHARACTERS_A_TOKEN, estimated=1)
