"""The client's side of the socket: bodies in, answers out, in ASGI's terms."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from guardproxy import strict_json
from guardproxy.errors import BodyTooLarge, MalformedRequest, UnsupportedMediaType, UpstreamRefusal, VisibleError
from guardproxy.exchange import Exchange
from guardproxy.stream.frame import Frame, encode_frame
from guardproxy.strict_json import JsonObject

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


_WATCH_AFTER_S = 0.02
_ZSTD_WINDOW = 1 << 27
_ZSTD_PIECE = 256  # bytes; four of them can stand for 128 KiB, so little is unpacked before it is measured


class ClientGone(Exception):
    """The client closed its connection."""


def headers_of(scope: Scope) -> dict[str, str]:
    """Names in lower case. Raises MalformedRequest where a header that decides something is sent twice."""
    headers: dict[str, str] = {}
    for raw_name, value in scope["headers"]:
        name = raw_name.decode("latin-1")
        if name in _SINGLE and name in headers:
            raise MalformedRequest(f"The header {name} was sent twice.")
        headers[name] = value.decode("latin-1")
    return headers


_SINGLE = frozenset(
    {"host", "origin", "authorization", "x-api-key", "x-guardproxy-key", "content-type", "content-encoding"}
)


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The decoded body. Raises BodyTooLarge, UnsupportedMediaType, MalformedRequest, ClientGone."""
    if _announced(headers.get("content-length", "0")) > limit:
        raise _too_large(limit)
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return _decoded(bytes(body), headers.get("content-encoding", ""), limit)


def _announced(length: str) -> int:
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise MalformedRequest("The header content-length is not a whole number.")
    return int(length)


def _decoded(body: bytes, coding: str, limit: int) -> bytes:
    match coding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body, limit)
        case "zstd":
            return _unzstd(body, limit)
        case _:
            raise UnsupportedMediaType("Bodies may be sent plain, or with Content-Encoding: gzip or zstd.")


def _gunzip(body: bytes, limit: int) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    try:
        plain = inflate.decompress(body, limit + 1)
    except zlib.error:
        raise MalformedRequest("The body is not valid gzip.") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not inflate.eof or inflate.unused_data:
        raise MalformedRequest("The gzip body is cut short or has bytes after its end.")
    return plain


def _unzstd(body: bytes, limit: int) -> bytes:
    """One frame (RFC 8878). The window is bounded too: a frame of a few bytes may ask for gigabytes."""
    import zstandard  # few clients compress, and it is not cheap to load

    inflate = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    plain = bytearray()
    try:
        for start in range(0, len(body), _ZSTD_PIECE):
            plain += inflate.decompress(body[start : start + _ZSTD_PIECE])
            if len(plain) > limit:
                raise _too_large(limit)
    except zstandard.ZstdError:
        raise MalformedRequest("The body is not valid zstd.") from None
    if not inflate.eof or inflate.unused_data:
        raise MalformedRequest("The zstd body is cut short or has bytes after its end.")
    return bytes(plain)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the limit of {limit} bytes.")


class cancelled_when_gone:
    """In the body of this context, ClientGone is raised once the client has closed its connection.

    Watching begins after a moment: an answer that is there by then needs no second task.
    """

    __slots__ = ("_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._begin)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # no cycle: a request's tree must not live until the collector comes by
        if self._gone and kind is asyncio.CancelledError and self._task.uncancel() == 0:
            raise ClientGone from None

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()


async def send_json(send: Send, status: int, tree: JsonObject, headers: Headers) -> None:
    body = strict_json.encode(tree)
    length = (b"content-length", str(len(body)).encode())
    head = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def answer_headers(exchange: Exchange) -> Headers:
    """The upstream's headers that may pass, and the guard's own. A stream's verdict may come too late for them."""
    headers = _encoded(exchange.upstream_headers)
    headers.append((b"x-guardproxy-decision-id", exchange.id.encode()))
    if exchange.decision is not None:
        headers.append((b"x-guardproxy-decision", exchange.decision.action.label.encode()))
    return headers


def error_headers(error: VisibleError, exchange: Exchange) -> Headers:
    passed = _encoded(error.headers) if isinstance(error, UpstreamRefusal) else []
    return [*passed, (b"x-guardproxy-decision-id", exchange.id.encode())]


def _encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


class EventStream:
    """A streamed answer. It begins with the first frame, or with a keep-alive when that is slow to come."""

    _HEAD = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))

    def __init__(self, send: Send, exchange: Exchange, keepalive_s: float, keep_alive: bytes) -> None:
        self._send = send
        self._keep_alive = keep_alive
        self._exchange = exchange
        self._keepalive_s = keepalive_s
        self._loop = asyncio.get_running_loop()
        self._last_sent = self._loop.time()
        self._timer = self._loop.call_later(keepalive_s, self._tick)
        self._ticking: asyncio.Task[None] | None = None  # a reference, so that the task is not collected
        self._writing = asyncio.Lock()
        self._ended = False
        self.started = False

    async def send_frame(self, frame: Frame) -> None:
        await self._write(encode_frame(frame))

    async def end(self) -> None:
        self.stop_keepalive()
        async with self._writing:
            self._ended = True
            if not self.started:
                await self._start()
            await self._send({"type": "http.response.body", "body": b""})

    def stop_keepalive(self) -> None:
        """No comment after this. One that is on its way is let out: it may be the one that begins the answer."""
        self._timer.cancel()

    async def _write(self, data: bytes) -> None:
        before = self._last_sent = self._loop.time()
        async with self._writing:  # a comment and a frame never overtake the head of the answer, or each other
            if self._ended:
                return
            if not self.started:
                await self._start()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._exchange.client_seconds += self._loop.time() - before

    async def _start(self) -> None:
        self.started = True
        headers = [*self._HEAD, *answer_headers(self._exchange)]
        self._exchange.status = 200
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _comment(self) -> None:
        """Never queues behind a frame: after the end mark there is no comment."""
        if self._exchange.hold_since is not None and not self._writing.locked():
            await self._write(self._keep_alive)

    def _tick(self) -> None:
        silent_for = self._loop.time() - self._last_sent
        waiting = self._exchange.hold_since is not None
        if waiting and silent_for >= self._keepalive_s * 0.99:
            self._ticking = self._loop.create_task(self._comment())
        self._timer = self._loop.call_later(self._keepalive_s, self._tick)
