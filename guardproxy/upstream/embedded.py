"""The embedded upstream, so that the first request needs no server: the scripted agent, and a tiny language model.

The scripted agent plays any tool by rules. The model, asked for by its name, is a real one that knows a toy world only.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from guardproxy import strict_json
from guardproxy.errors import UpstreamRefusal
from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream import scripted_agent, scripted_answer
from guardproxy.upstream.organism import answer
from guardproxy.upstream.organism.answer import MODEL, Turn, turn_events
from guardproxy.upstream.organism.model_file import SHIPPED
from guardproxy.upstream.organism.request import Wanted, wanted
from guardproxy.upstream.organism.writer import Writer
from guardproxy.upstream.upstream import Reply, UpstreamRequest

_CREATED = 1_750_000_000  # of the model entries; a constant, since neither has a release date


class EmbeddedUpstream:
    """Answers /chat/completions and /models, and refuses the rest. Any name but the model's is the scripted agent's.
    The model is loaded by the first question."""

    remembers = False

    def __init__(self, name: str = "embedded", model: Path = SHIPPED) -> None:
        self.name = name
        self._writer = Writer(model)

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncIterator[Reply]:
        match request.method, request.path:
            case "GET", "/models":
                yield _BytesReply(iter([strict_json.encode({"object": "list", "data": _models()})]), "application/json")
            case "POST", "/chat/completions" if (request.tree or {}).get("model") == MODEL:
                async with self._written(request) as reply:
                    yield reply
            case "POST", "/chat/completions":
                yield _scripted(request)
            case _:
                raise UpstreamRefusal(
                    501,
                    "the embedded models answer chat completions only; configure an upstream for anything else",
                    type="invalid_request_error",
                    code="not_supported",
                )

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        self._writer.close()

    @asynccontextmanager
    async def _written(self, request: UpstreamRequest) -> AsyncIterator[Reply]:
        tree = request.tree or {}
        asked = wanted(tree)

        def write(wanted: Wanted, sampling: Any) -> AsyncIterator[Any]:
            return self._writer.write(wanted, sampling, request.deadline)

        turns = [Turn() for _ in range(asked.choices)]
        async with AsyncExitStack() as stack:
            events = [turn_events(write, asked, place, turn) for place, turn in enumerate(turns)]
            for each in events:
                stack.push_async_callback(each.aclose)  # type: ignore[attr-defined]
            await anext(events[0])  # what cannot be answered is refused before anything is said
            if request.stream:
                head = _head(tree, "chat.completion.chunk")
                chunks = answer.chunks(head, asked, _counted(tree), list(zip(turns, events, strict=True)))
                yield _StreamReply(chunks)
            else:
                for each in events:
                    async for _ in each:
                        pass
                body = strict_json.encode(answer.completion(_head(tree, "chat.completion"), asked, turns))
                yield _BytesReply(iter([body]), "application/json")


class _BytesReply:
    __slots__ = ("_pieces", "content_type", "headers", "status")

    def __init__(self, pieces: Iterator[bytes], content_type: str) -> None:
        self.status = 200
        self.headers: tuple[tuple[str, str], ...] = ()
        self.content_type = content_type
        self._pieces = pieces

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class _StreamReply:
    __slots__ = ("_trees", "content_type", "headers", "status")

    def __init__(self, trees: AsyncIterator[JsonObject]) -> None:
        self.status = 200
        self.headers: tuple[tuple[str, str], ...] = ()
        self.content_type = "text/event-stream"
        self._trees = trees

    async def chunks(self) -> AsyncIterator[bytes]:
        async for tree in self._trees:
            yield b"data: " + strict_json.encode(tree) + b"\n\n"
        yield b"data: [DONE]\n\n"


def _scripted(request: UpstreamRequest) -> _BytesReply:
    tree = request.tree or {}
    created = int(time.time())
    script = scripted_agent.answer(tree)
    if request.stream:
        return _BytesReply(scripted_answer.events(tree, script, created), "text/event-stream")
    body = strict_json.encode(scripted_answer.completion(tree, script, created))
    return _BytesReply(iter([body]), "application/json")


def _models() -> list[Json]:
    names = (MODEL, scripted_agent.MODEL) if SHIPPED.exists() else (scripted_agent.MODEL,)
    return [{"id": name, "object": "model", "created": _CREATED, "owned_by": "guardproxy"} for name in names]


def _head(tree: Mapping[str, Any], kind: str) -> JsonObject:
    return {
        "id": f"chatcmpl-{scripted_answer.digest(tree)}",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL,
        "system_fingerprint": "embedded",
    }


def _counted(tree: Mapping[str, Any]) -> bool:
    options = tree.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True
