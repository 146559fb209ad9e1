"""A model server on a real socket that speaks three wires and plays `conversation.next_move`.

It tells its callers apart by their key, so that one server serves all runs."""

import asyncio
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

from aiohttp import web

from tests.frameworks.conversation import next_move
from tests.frameworks.stored import CannotGoOn, Stored
from tests.frameworks.wires import chat_completions, messages, responses

WIRES: dict[str, ModuleType] = {"chat": chat_completions, "responses": responses, "messages": messages}


@dataclass(frozen=True, slots=True)
class Played:
    """One request, and the move it was answered with."""

    wire: str
    streamed: bool
    meaning: str


@dataclass
class Upstream:
    root: str = ""  # the address, without /v1
    played: dict[str, list[Played]] = field(default_factory=lambda: defaultdict(list))  # by key
    _stored: Stored = field(default_factory=Stored)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        for name, wire in WIRES.items():
            app.router.add_post(wire.PATH, self._answer(name, wire))
        app.router.add_post("/v1/messages/count_tokens", _count_tokens)
        app.router.add_get("/v1/models", _models)
        app.router.add_get("/", _root)
        return app

    def _answer(self, name: str, wire: ModuleType) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            tree, key = await request.json(), _key(request)
            try:
                conversation = self._stored.conversation(wire, tree)
            except CannotGoOn as error:
                return web.json_response({"error": error.tree}, status=400)
            move, id = next_move(conversation), f"{_digest(key)}{len(conversation.pieces):04d}"
            self.played[key].append(Played(name, tree.get("stream") is True, move.meaning))
            if wire is responses and tree.get("store", True):
                self._stored.keep(wire.whole(tree, id, move.said), conversation)
            if not tree.get("stream"):
                return web.json_response(wire.whole(tree, id, move.said))
            return await _stream(request, wire.events(tree, id, move.said), done=name == "chat")

        return answer


async def _stream(request: web.Request, events: Iterator[tuple[str, object]], done: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for name, tree in events:
        line = f"event: {name}\n" if name else ""
        await response.write(f"{line}data: {json.dumps(tree)}\n\n".encode())
    if done:
        await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _key(request: web.Request) -> str:
    return request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]


async def _count_tokens(request: web.Request) -> web.Response:
    return web.json_response({"input_tokens": 21})


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": []})


async def _root(request: web.Request) -> web.Response:
    return web.Response()


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Serves in a thread of its own, on a free port of the loopback address."""
    server, started, stop = Upstream(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.root = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="upstream")
    thread.start()
    started.wait(10)
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
