"""The whole proxy without a socket: the ASGI application over fakes, and a client that keeps all it receives."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardproxy.app import App, build_app
from guardproxy.errors import UpstreamError
from guardproxy.exchange import Exchange
from guardproxy.guards.guard import Guard
from guardproxy.runtime import Runtime
from guardproxy.stream.sse import SseParser
from guardproxy.taint import TaintMemory
from guardproxy.testing.chat import request
from guardproxy.testing.fakes import FakeObserver, FakeRouter, FakeUpstream, Play

_DONE = b"[DONE]"


@dataclass
class Received:
    """What a client got. `parts` are the body's pieces as they came, `seen` is everything so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    ended: bool = False

    @property
    def seen(self) -> bytes:
        return b"".join(self.parts)

    @property
    def tree(self) -> Any:
        return json.loads(self.seen)

    @property
    def events(self) -> list[Any]:
        """The decoded data of every event but the end mark."""
        datas = (event.data for event in SseParser(1 << 30).feed(self.seen))
        return [json.loads(data) for data in datas if data != _DONE]

    @property
    def done(self) -> bool:
        return self.seen.endswith(b"data: [DONE]\n\n")

    @property
    def error(self) -> Any:
        """The error object, of a refused request or of a stream that failed."""
        tree = self.events[-1] if self.headers.get("content-type", "").startswith("text/event-stream") else self.tree
        return tree["error"]


OnPart = Callable[[Received], None]


@dataclass
class ProxyUnderTest:
    upstream: FakeUpstream
    observer: FakeObserver
    runtime: Runtime
    app: App

    @property
    def exchange(self) -> Exchange:
        """The one exchange that was recorded."""
        (exchange,) = self.observer.exchanges
        return exchange

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        raw_path: bytes | None = None,
        gone: asyncio.Event | None = None,
        on_part: OnPart = lambda received: None,
    ) -> Received:
        """One request. When `gone` is set the client closes its connection."""
        received = Received()
        pieces = [body] if isinstance(body, bytes) else list(body)
        never = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            await (gone or never).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            assert not received.ended, "a message after the last"
            if message["type"] == "http.response.start":
                assert not received.status, "two starts"
                received.status = message["status"]
                received.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                return
            assert received.status, "a body before the start"
            received.parts.append(message.get("body", b""))
            received.ended = not message.get("more_body", False)
            on_part(received)

        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if not any(name == "host" for name, _ in pairs):
            pairs.append(("host", "127.0.0.1:8080"))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode() if raw_path is None else raw_path,
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        }
        await self.app(scope, receive, send)
        return received

    async def post(
        self,
        tree: object | None = None,
        path: str = "/v1/chat/completions",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Received:
        """A JSON body; a streamed chat completion unless told otherwise."""
        body = json.dumps(request() if tree is None else tree).encode()
        return await self.send("POST", path, body, {"content-type": "application/json"} | dict(headers or {}), **more)

    def ask(self, tree: object | None = None, **more: Any) -> Received:
        """As `post`, from code without a loop."""
        return asyncio.run(self.post(tree, **more))


@dataclass(frozen=True)
class _Fixed:
    current: Runtime


def proxy(*plays: Play | UpstreamError, guards: Sequence[Guard] = (), **settings: Any) -> ProxyUnderTest:
    """The proxy over an upstream that plays these answers. `settings` are fields of the Runtime."""
    upstream, observer = FakeUpstream(plays), FakeObserver()
    fixed: dict[str, Any] = {"revision": "r1", "router": FakeRouter(upstream), "taint": TaintMemory()}
    runtime = Runtime(guards=tuple(guards), **{**fixed, "observers": (observer,), **settings})
    return ProxyUnderTest(upstream, observer, runtime, build_app(_Fixed(runtime)))
