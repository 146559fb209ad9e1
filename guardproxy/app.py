"""The ASGI application: the routes, and the one place where errors become responses."""

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guardproxy import strict_json
from guardproxy.access import check_access, check_json, provider_authorization
from guardproxy.decision import Verdict
from guardproxy.errors import (
    ClientError,
    MalformedRequest,
    Overloaded,
    RouteRefused,
    UpgradeRequired,
    UpstreamError,
    UpstreamTimeout,
    VisibleError,
)
from guardproxy.exchange import Exchange
from guardproxy.pipeline import Client, answer
from guardproxy.runtime import Runtime, RuntimeSource
from guardproxy.stream.frame import Frame, frame_of_body
from guardproxy.strict_json import JsonObject, MalformedJson
from guardproxy.surfaces import SURFACES
from guardproxy.surfaces.surface import Surface
from guardproxy.telemetry.observer import Observer
from guardproxy.upstream.upstream import UpstreamRequest
from guardproxy.wire import (
    ClientGone,
    EventStream,
    Message,
    Receive,
    Scope,
    Send,
    answer_headers,
    cancelled_when_gone,
    error_headers,
    error_tree,
    headers_of,
    read_body,
    send_json,
)

_log = logging.getLogger(__name__)

_FORWARDED = ("user-agent", "openai-organization", "openai-project", "openai-beta", "x-request-id")
_ids = random.Random(os.urandom(32))  # ids are no secrets; asking the system for each one gives up the thread
_CALL = "guardproxy.call"  # where a request's _Call travels in its ASGI scope


class Load:
    """How many requests are under way, for whoever wants to show it."""

    in_flight = 0


def build_app(source: RuntimeSource, load: Load | None = None) -> Starlette:
    """The proxy over whatever runtime `source` says is current when a request begins."""
    routes = [
        *(Route(surface.path, _SurfaceEndpoint(surface), methods=["POST"]) for surface in SURFACES),
        Route("/v1/responses", _endpoint(_upgrade_required), methods=["GET"]),
        Route("/v1/models", _endpoint(_models), methods=["GET"]),
        Route("/v1/models/{model:path}", _endpoint(_model), methods=["GET"]),
        Route("/v1/embeddings", _endpoint(_passthrough("/embeddings")), methods=["POST"]),
        Route("/v1/moderations", _endpoint(_passthrough("/moderations")), methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(_Boundary, source=source, load=load or Load())],
        exception_handlers={HTTPException: _refuse_method},
    )
    app.router.redirect_slashes = False
    app.router.default = _refuse_route
    return app


class _Call:
    """One HTTP request: its headers, the runtime it began with, and its notebook."""

    __slots__ = ("exchange", "headers", "runtime", "sender")

    def __init__(self, headers: dict[str, str], runtime: Runtime, exchange: Exchange, sender: "_Sender") -> None:
        self.headers = headers
        self.runtime = runtime
        self.exchange = exchange
        self.sender = sender

    @property
    def client(self) -> Client:
        passed = tuple((name, self.headers[name]) for name in _FORWARDED if name in self.headers)
        return Client(provider_authorization(self.headers, self.runtime.access), passed)


class _Boundary:
    """Around every request: who may call, how many at once, errors into responses, and the record of it all."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], source: RuntimeSource, load: Load
    ) -> None:
        self._app = app
        self._source = source
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        runtime = self._source.current
        exchange = Exchange(f"{_ids.getrandbits(64):016x}", surface="other", revision=runtime.revision)
        sender = _Sender(send, exchange)
        started = time.perf_counter()
        self._load.in_flight += 1
        try:
            await self._serve(runtime, exchange, scope, receive, sender)
        finally:
            self._load.in_flight -= 1
            exchange.end()
            exchange.total_seconds = time.perf_counter() - started
            _tell(runtime.observers, exchange)

    async def _serve(
        self, runtime: Runtime, exchange: Exchange, scope: Scope, receive: Receive, send: "_Sender"
    ) -> None:
        try:
            call = scope[_CALL] = _Call(headers_of(scope), runtime, exchange, send)
            if self._load.in_flight > runtime.limits.concurrent_requests:
                raise Overloaded("The proxy serves as many requests as it may; try again shortly.")
            check_access(call.headers, runtime.access)
            _check_path(scope)
            async with asyncio.timeout(runtime.limits.deadline_s):
                await self._app(scope, receive, send)
            exchange.outcome = _outcome(exchange)
        except ClientGone:
            exchange.outcome, exchange.status = "cancelled", 499
        except asyncio.CancelledError:
            exchange.outcome = "cancelled"
            raise
        except TimeoutError:
            await _fail(send, exchange, UpstreamTimeout("The request took longer than its deadline."))
        except VisibleError as error:
            await _fail(send, exchange, error)
        except Exception as error:
            _log.error("internal error in exchange %s", exchange.id, exc_info=error)
            await _fail(send, exchange, VisibleError("The proxy failed; nothing was forwarded.", code="internal_error"))


def _tell(observers: Sequence[Observer], exchange: Exchange) -> None:
    for observer in observers:
        try:
            observer.record(exchange)
        except Exception as error:  # against its contract; the others are told all the same
            _log.error("observer %s failed: %s", type(observer).__name__, type(error).__name__)


class _Sender:
    """Passes messages on and remembers whether the answer has begun."""

    __slots__ = ("_exchange", "_send", "started", "stream")

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send = send
        self._exchange = exchange
        self.started = False
        self.stream: EventStream | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._exchange.status = message["status"]
        await self._send(message)


async def _fail(send: _Sender, exchange: Exchange, error: VisibleError) -> None:
    """The one place where an error becomes a response, or the last event of a stream that has begun."""
    exchange.error_code = error.code or error.type
    exchange.outcome = _outcome_of(error)
    if not send.started:
        await send_json(send, error.status, error_tree(error), error_headers(error, exchange))
    elif send.stream is not None:
        exchange.status = error.status
        await send.stream.fail(error)
        await send.stream.end()


def _outcome_of(error: VisibleError) -> str:
    if error.code == "blocked_by_guardrail":
        return "blocked"
    if isinstance(error, UpstreamError):
        return "upstream_error"
    return "refused" if isinstance(error, ClientError | Overloaded) else "error"


def _outcome(exchange: Exchange) -> str:
    blocked = exchange.decision is not None and exchange.decision.action is Verdict.BLOCK
    return "blocked" if blocked else "completed"


def _check_path(scope: Scope) -> None:
    """Raises RouteRefused for a path that two servers could read in two ways."""
    path, raw = scope["path"], scope.get("raw_path") or scope["path"].encode()
    segments = path.split("/")[1:]
    if "" in segments or "." in segments or ".." in segments or "\\" in path or "\x00" in path:
        raise _route_refused()
    if b"%" in raw and not path.startswith("/v1/models/"):
        raise _route_refused()


def _route_refused() -> RouteRefused:
    return RouteRefused("This proxy does not serve this method and path; what it cannot guard it does not forward.")


async def _refuse_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        raise _route_refused()
    await send({"type": "websocket.close", "code": 1008})


async def _refuse_method(request: Request, error: Exception) -> Response:
    raise _route_refused()


class _SurfaceEndpoint:
    """One guarded API."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: _Call = scope[_CALL]
        call.exchange.surface = self._surface.name
        tree = await _read_tree(call, receive)
        async with cancelled_when_gone(receive):
            if tree.get("stream") is True:
                await self._stream(call, tree, send)
            else:
                await self._whole(call, tree, send)

    async def _whole(self, call: _Call, tree: JsonObject, send: Send) -> None:
        body: JsonObject = {}

        async def keep(frame: Frame) -> None:
            body.update(frame.tree or {})

        await answer(self._surface, tree, call.client, call.runtime, call.exchange, keep)
        await send_json(send, 200, body, answer_headers(call.exchange))

    async def _stream(self, call: _Call, tree: JsonObject, send: Send) -> None:
        stream = call.sender.stream = EventStream(send, call.exchange, call.runtime.limits.keepalive_s)
        try:
            await answer(self._surface, tree, call.client, call.runtime, call.exchange, stream.send_frame)
            await stream.end()
        finally:
            stream.stop_keepalive()


async def _read_tree(call: _Call, receive: Receive) -> JsonObject:
    check_json(call.headers)
    body = await read_body(receive, call.headers, call.runtime.limits.body_bytes)
    try:
        return strict_json.decode_object(body)
    except MalformedJson as error:
        raise MalformedRequest(f"The body is not strict JSON: {error}.") from None


# --- routes without a turn of a model in them --------------------------------------------------------------------

_Handler = Callable[[_Call, Scope, Receive], Awaitable[JsonObject]]


def _endpoint(handler: _Handler) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    return _PlainEndpoint(handler)


class _PlainEndpoint:
    def __init__(self, handler: _Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: _Call = scope[_CALL]
        call.exchange.surface = "passthrough"
        tree = await self._handler(call, scope, receive)
        await send_json(send, 200, tree, answer_headers(call.exchange))


async def _upgrade_required(call: _Call, scope: Scope, receive: Receive) -> JsonObject:
    raise UpgradeRequired("Responses over WebSocket are not served: use POST /v1/responses over HTTP.")


async def _models(call: _Call, scope: Scope, receive: Receive) -> JsonObject:
    return await call.runtime.router.models(_plain_request(call, "/models", "GET", None))


async def _model(call: _Call, scope: Scope, receive: Receive) -> JsonObject:
    request = _plain_request(call, "/models", "GET", None)
    return await call.runtime.router.model(scope["path_params"]["model"], request)


def _passthrough(path: str) -> _Handler:
    async def forward(call: _Call, scope: Scope, receive: Receive) -> JsonObject:
        tree = await _read_tree(call, receive)
        model = tree.get("model")
        call.exchange.model = model if isinstance(model, str) else ""
        upstream = call.runtime.router.route(call.exchange.model)
        call.exchange.upstream = upstream.name
        async with cancelled_when_gone(receive), upstream.open(_plain_request(call, path, "POST", tree)) as reply:
            call.exchange.upstream_headers = reply.headers
            return frame_of_body(b"".join([chunk async for chunk in reply.chunks()])).tree or {}

    return forward


def _plain_request(call: _Call, path: str, method: str, tree: JsonObject | None) -> UpstreamRequest:
    client = call.client
    return UpstreamRequest(path, method, tree, headers=client.headers, authorization=client.authorization)
