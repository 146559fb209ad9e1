"""A model server on a real socket that plays what a test wrote for it. Each model name has a script of its own, so
that one server can serve many tests at once."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web

from guardproxy.testing.chat import events
from guardproxy.testing.dialects import OPENAI, Dialect, Said

Tree = dict[str, Any]
Step = bytes | float
"""Bytes to send, or seconds to wait."""

_DROPPED = (ConnectionError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent for one request, by whether it asks for a stream."""

    whole: bytes = b"{}"
    stream: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    @classmethod
    def of(cls, *said: Said, dialect: Dialect = OPENAI, gap_s: float = 0.0, **more: Any) -> "Answer":
        """What a server of this dialect sends for these choices, with `gap_s` before each event but the first."""
        steps: list[Step] = []
        for chunk in dialect.chunks(said):
            steps += [gap_s, _event(chunk)] if steps else [_event(chunk)]
        steps.append(b"data: [DONE]\n\n")
        return cls(json.dumps(dialect.whole(said)).encode(), steps, **more)

    @classmethod
    def error(cls, status: int, error: Tree, **headers: str) -> "Answer":
        body = json.dumps({"error": error}).encode()
        return cls(body, (body,), status, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the model server saw it."""

    path: str
    headers: Mapping[str, str]
    tree: Tree


@dataclass(slots=True)
class PlayedModel:
    """A model of the server. Its answers are given one after the other, the last one for ever."""

    name: str
    answers: Sequence[Answer]
    asked: list[Asked] = field(default_factory=list)
    cut: int = 0  # answers that the other side did not wait for

    def next_answer(self) -> Answer:
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


class ModelServer:
    def __init__(self) -> None:
        self.base_url = ""
        self._models: dict[str, PlayedModel] = {}
        self._names = count(1)

    def model(self, *answers: Answer | Said, family: str = "played") -> PlayedModel:
        """A model of a fresh name that begins with `family`."""
        name = f"{family}-{next(self._names)}"
        played = [Answer.of(each) if isinstance(each, Said) else each for each in answers]
        self._models[name] = PlayedModel(name, played)
        return self._models[name]

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._list)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        tree = await request.json()
        model = self._models[tree["model"]]
        model.asked.append(Asked(request.path, dict(request.headers), tree))
        answer = model.next_answer()
        try:
            await asyncio.sleep(answer.delay_s)
            if tree.get("stream") and answer.status == 200:
                return await self._stream(request, answer)
        except _DROPPED:
            model.cut += 1
            raise
        headers = {"content-type": "application/json", **answer.headers}
        return web.Response(body=answer.whole, status=answer.status, headers=headers)

    async def _stream(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", **answer.headers})
        await response.prepare(request)
        for step in answer.stream:
            await (response.write(step) if isinstance(step, bytes) else asyncio.sleep(step))
        await response.write_eof()
        return response

    async def _embeddings(self, request: web.Request) -> web.Response:
        tree = await request.json()
        texts = [tree["input"]] if isinstance(tree["input"], str) else tree["input"]
        data = [{"object": "embedding", "index": i, "embedding": [len(t) / 8, 0.5]} for i, t in enumerate(texts)]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return web.json_response({"object": "list", "data": data, "model": tree["model"], "usage": usage})

    async def _list(self, request: web.Request) -> web.Response:
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "test"} for name in self._models]
        return web.json_response({"object": "list", "data": models})


def _event(tree: Tree) -> bytes:
    return events([tree], done=False)


@contextmanager
def model_server(tls: ssl.SSLContext | None = None) -> Iterator[ModelServer]:
    """Serves in a thread of its own, on a free port of the loopback address."""
    server = ModelServer()
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        server.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="model-server")
    thread.start()
    started.wait(10)
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
