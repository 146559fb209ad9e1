"""The embedded upstream: the scripted agent behind the upstream protocol, so that the first request needs no server."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from guardproxy import strict_json
from guardproxy.errors import UpstreamRefusal
from guardproxy.strict_json import JsonObject
from guardproxy.upstream import scripted_agent, scripted_answer
from guardproxy.upstream.scripted_agent import MODEL
from guardproxy.upstream.upstream import Reply, UpstreamRequest

_CREATED = 1_750_000_000  # of the model entry; a constant, since the script has no release date


class EmbeddedUpstream:
    """Answers /chat/completions and /models under any model name, and refuses the rest."""

    remembers = False

    def __init__(self, name: str = "embedded") -> None:
        self.name = name

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncIterator[Reply]:
        yield _reply(request)

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


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


def _reply(request: UpstreamRequest) -> _BytesReply:
    match request.method, request.path:
        case "POST", "/chat/completions":
            return _chat(request)
        case "GET", "/models":
            model: JsonObject = {"id": MODEL, "object": "model", "created": _CREATED, "owned_by": "guardproxy"}
            return _BytesReply(iter([strict_json.encode({"object": "list", "data": [model]})]), "application/json")
        case _:
            raise UpstreamRefusal(
                501,
                "the embedded scripted agent answers chat completions only; configure an upstream for anything else",
                type="invalid_request_error",
                code="not_supported",
            )


def _chat(request: UpstreamRequest) -> _BytesReply:
    tree = request.tree or {}
    created = int(time.time())
    script = scripted_agent.answer(tree)
    if request.stream:
        return _BytesReply(scripted_answer.events(tree, script, created), "text/event-stream")
    body = strict_json.encode(scripted_answer.completion(tree, script, created))
    return _BytesReply(iter([body]), "application/json")
