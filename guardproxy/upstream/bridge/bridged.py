"""The bridge as an upstream: opens the inner one, and turns its bytes into those of the asked API."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from guardproxy import strict_json
from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import Credential
from guardproxy.prefix.capability import Capability, continues
from guardproxy.stream.frame import Frame, encode_frame, frame_of_body, frame_of_event
from guardproxy.stream.sse import SseError, SseParser
from guardproxy.upstream.bridge.translation import (
    TRANSLATED,
    ChunkTranslator,
    Translation,
    translate,
    translate_whole,
)
from guardproxy.upstream.upstream import Reply, Upstream, UpstreamRequest

CHAT = "chat_completions"
CHAT_PATH = "/chat/completions"
APIS = {
    CHAT_PATH: CHAT,
    "/completions": "completions",
    "/responses": "responses",
    "/responses/compact": "responses",
    "/responses/input_tokens": "responses",
    "/messages": "messages",
    "/messages/count_tokens": "messages",
}
"""The API that a path belongs to. Other paths go to the inner upstream as they are."""

_END_GRACE_S = 1.0  # how long a connection may stay open after the end mark


class BridgedUpstream:
    """`inner` with the Responses and Messages APIs added. `serves` names the surfaces whose APIs it speaks itself.

    `capability` says how it goes on with a message of the assistant that a client has begun. `max_event_bytes` bounds
    one event of a stream, `max_answer_bytes` all that an answer may pile up here.
    """

    def __init__(
        self,
        inner: Upstream,
        serves: frozenset[str] = frozenset({CHAT}),
        *,
        capability: Capability | None = None,
        max_event_bytes: int = 8 * 1024 * 1024,
        max_answer_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.name = inner.name
        self.remembers = inner.remembers and "responses" in serves
        self._inner = inner
        self._serves = serves
        self._capability = capability or Capability()
        self._max_event_bytes = max_event_bytes
        self._max_answer_bytes = max_answer_bytes

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncIterator[Reply]:
        """Raises MalformedRequest for what cannot be translated."""
        api = APIS.get(request.path)
        if api is None or api in self._serves:
            async with self._inner.open(request) as reply:
                yield reply
            return
        if request.path not in TRANSLATED or CHAT not in self._serves:
            raise _not_served()
        translation = self._translation(request.path, request.tree or {})
        async with self._inner.open(_chat_request(request, translation.chat)) as reply:
            yield self._reply(reply, translation, stream=request.stream)

    async def start(self) -> None:
        await self._inner.start()

    async def close(self) -> None:
        await self._inner.close()

    def _translation(self, path: str, tree: Mapping[str, Any]) -> Translation:
        continued = continues(self._capability, str(tree.get("model")))
        return translate(path, tree, secrets.token_hex(8), continued)

    def _reply(self, reply: Reply, translation: Translation, *, stream: bool) -> "_Reply":
        media_type = "text/event-stream" if stream else "application/json"
        if reply.content_type.partition(";")[0].strip().lower() != media_type:
            raise UpstreamProtocolError(f"the upstream answered with another media type than {media_type}")
        pieces = _bounded(reply.chunks(), self._max_answer_bytes)
        if not stream:
            return _Reply(reply, media_type, _body(pieces, translation))
        chunks = ChunkTranslator(translation.writer, translation.prefill)
        return _Reply(reply, media_type, _events(pieces, SseParser(self._max_event_bytes), chunks))


class _Reply:
    __slots__ = ("_pieces", "content_type", "headers", "status")

    def __init__(self, inner: Reply, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self.content_type = content_type
        self._pieces = pieces

    def chunks(self) -> AsyncIterator[bytes]:
        return self._pieces


def _chat_request(request: UpstreamRequest, chat: strict_json.JsonObject) -> UpstreamRequest:
    """A chat server knows no headers of another API, and takes keys as bearers."""
    headers = tuple(pair for pair in request.headers if not pair[0].lower().startswith("anthropic-"))
    credential = request.credential
    if credential is not None and credential.header == "x-api-key":
        credential = Credential("authorization", f"Bearer {credential.value}")
    return replace(request, path=CHAT_PATH, tree=chat, query="", headers=headers, credential=credential)


def _not_served() -> UpstreamRefusal:
    message = "this upstream does not speak this API, and no translation to one that it speaks is known"
    return UpstreamRefusal(404, message, type="invalid_request_error", code="not_supported")


async def _bounded(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    async for piece in pieces:
        limit -= len(piece)
        if limit < 0:
            message = "the model server's answer is larger than the limit"
            raise UpstreamProtocolError(message, code="upstream_answer_too_large")
        yield piece


async def _body(pieces: AsyncIterator[bytes], translation: Translation) -> AsyncIterator[bytes]:
    tree = frame_of_body(b"".join([piece async for piece in pieces])).tree
    yield strict_json.encode(translate_whole(tree or {}, translation.writer, translation.prefill))


async def _events(pieces: AsyncIterator[bytes], parser: SseParser, translator: ChunkTranslator) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            frames = [out for event in parser.feed(piece) for out in _fed(translator, frame_of_event(event))]
            if frames:
                yield _encoded(frames)
            if translator.done:
                await _require_end(pieces)
                return
        parser.close()
    except SseError as error:
        raise UpstreamProtocolError(f"the upstream's event stream is broken: {error}") from None
    if last := translator.close():
        yield _encoded(last)


def _fed(translator: ChunkTranslator, frame: Frame) -> list[Frame]:
    if translator.done:
        raise UpstreamProtocolError("the upstream went on after the end of its answer")
    return translator.feed(frame)


def _encoded(frames: Iterable[Frame]) -> bytes:
    return b"".join(map(encode_frame, frames))


async def _require_end(pieces: AsyncIterator[bytes]) -> None:
    """Nothing may follow the end mark. A connection that merely stays open is not waited for."""
    try:
        async with asyncio.timeout(_END_GRACE_S):
            async for piece in pieces:
                if piece.strip():
                    raise UpstreamProtocolError("the upstream went on after the end of its answer")
    except TimeoutError:
        pass
