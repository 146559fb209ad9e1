"""The ASGI application: who may call, how many at once, and the one place where errors become responses.

Routes are looked up in a table by method and exact path, and nothing else is tried: a router with patterns, redirects
and automatic methods is more than a guard should have at its door (`docs/decisions/005`).
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Sequence

from guardproxy.access import check_access
from guardproxy.decision import Verdict
from guardproxy.endpoints import Call, find_endpoint, surface_at
from guardproxy.errors import ClientError, Overloaded, UpstreamError, UpstreamTimeout, VisibleError
from guardproxy.exchange import Exchange
from guardproxy.runtime import Runtime, RuntimeSource
from guardproxy.telemetry.observer import Observer
from guardproxy.wire import (
    ClientGone,
    Message,
    Receive,
    Scope,
    Send,
    error_headers,
    headers_of,
    send_json,
)

_log = logging.getLogger(__name__)

_ids = random.Random(os.urandom(32))  # ids are no secrets; asking the system for each one gives up the thread


class Load:
    """How many requests are under way, for whoever wants to show it."""

    in_flight = 0


def build_app(source: RuntimeSource, load: Load | None = None) -> "App":
    """The proxy over whatever runtime `source` says is current when a request begins."""
    return App(source, load or Load())


class App:
    """Around every request: its notebook is opened, errors become responses, and the observers are told."""

    def __init__(self, source: RuntimeSource, load: Load) -> None:
        self._source = source
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._exchange(scope, receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1008})
            case kind:
                raise ValueError(f"guardproxy does not take part in {kind!r}")

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = self._source.current
        exchange = Exchange(f"{_ids.getrandbits(64):016x}", surface="other", revision=runtime.revision)
        started = time.perf_counter()
        self._load.in_flight += 1
        try:
            await self._serve(runtime, exchange, scope, receive, _Sender(send, exchange))
        finally:
            self._load.in_flight -= 1
            exchange.end()
            exchange.total_seconds = time.perf_counter() - started
            _tell(runtime.observers, exchange)

    async def _serve(
        self, runtime: Runtime, exchange: Exchange, scope: Scope, receive: Receive, send: "_Sender"
    ) -> None:
        call = Call(scope["path"], {}, runtime, exchange, receive, send, _query(scope))
        try:
            call.headers = headers_of(scope)
            if self._load.in_flight > runtime.limits.concurrent_requests:
                raise Overloaded("The proxy serves as many requests as it may; try again shortly.")
            check_access(call.headers, runtime.access)
            endpoint = find_endpoint(scope["method"], call.path, scope.get("raw_path") or call.path.encode())
            async with asyncio.timeout(runtime.limits.deadline_s):
                await endpoint(call)
            exchange.outcome = _outcome(exchange)
        except ClientGone:
            exchange.outcome, exchange.status = "cancelled", 499
        except asyncio.CancelledError:
            exchange.outcome = "cancelled"
            raise
        except TimeoutError:
            await _fail(call, send, UpstreamTimeout("The request took longer than its deadline."))
        except VisibleError as error:
            await _fail(call, send, error)
        except Exception as error:
            _log.error("internal error in exchange %s", exchange.id, exc_info=error)
            await _fail(call, send, VisibleError("The proxy failed; nothing was forwarded.", code="internal_error"))


class _Sender:
    """Passes messages on and remembers whether the answer has begun."""

    __slots__ = ("_exchange", "_send", "started")

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send = send
        self._exchange = exchange
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._exchange.status = message["status"]
        await self._send(message)


async def _fail(call: Call, send: _Sender, error: VisibleError) -> None:
    """The one place where an error becomes a response, or the last event of a stream that has begun."""
    exchange = call.exchange
    exchange.error_code = error.code or error.type
    exchange.outcome = _outcome_of(error)
    surface = surface_at(call.path)
    if not send.started:
        await send_json(send, error.status, surface.error_tree(error), error_headers(error, exchange))
    elif call.stream is not None:
        exchange.status = error.status
        await call.stream.send_frame(surface.error_frame(error))
        await call.stream.end()


def _query(scope: Scope) -> str:
    query: bytes = scope.get("query_string") or b""
    return query.decode("latin-1")


def _outcome_of(error: VisibleError) -> str:
    if error.code == "blocked_by_guardrail":
        return "blocked"
    if isinstance(error, UpstreamError):
        return "upstream_error"
    return "refused" if isinstance(error, ClientError | Overloaded) else "error"


def _outcome(exchange: Exchange) -> str:
    blocked = exchange.decision is not None and exchange.decision.action is Verdict.BLOCK
    return "blocked" if blocked else "completed"


def _tell(observers: Sequence[Observer], exchange: Exchange) -> None:
    for observer in observers:
        try:
            observer.record(exchange)
        except Exception as error:  # against its contract; the others are told all the same
            _log.error("observer %s failed: %s", type(observer).__name__, type(error).__name__)
