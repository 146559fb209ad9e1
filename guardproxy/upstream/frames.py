"""From an upstream's bytes to frames. Streamed and whole answers leave here in the same form."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from guardproxy.errors import UpstreamProtocolError
from guardproxy.exchange import Exchange
from guardproxy.stream.frame import Frame, frame_of_body, frame_of_event
from guardproxy.stream.sse import SseError, SseParser
from guardproxy.upstream.upstream import Reply, Upstream, UpstreamRequest

Take = Callable[[Frame], Awaitable[bool]]
"""Takes a frame, and says whether it ends the answer by the rules of its API. Raises UpstreamProtocolError for one that
comes after the end."""

_END_GRACE_S = 1.0  # how long a connection may stay open after the end mark


async def pump_frames(
    upstream: Upstream, request: UpstreamRequest, exchange: Exchange, max_event_bytes: int, take: Take
) -> None:
    """Gives every frame of the answer to `take`, in order. Raises UpstreamError.

    Time spent waiting for the upstream is noted in `exchange`.
    """
    exchange.begin_wait()
    async with upstream.open(request) as reply:
        exchange.end_wait()
        exchange.upstream_headers = reply.headers
        if request.stream:
            _require(reply, "text/event-stream")
            await _pump_events(reply, exchange, SseParser(max_event_bytes), take)
        else:
            _require(reply, "application/json")
            await take(frame_of_body(await _whole_body(reply, exchange)))


async def _whole_body(reply: Reply, exchange: Exchange) -> bytes:
    exchange.begin_wait()
    body = b"".join([chunk async for chunk in reply.chunks()])
    exchange.end_wait()
    return body


async def _pump_events(reply: Reply, exchange: Exchange, parser: SseParser, take: Take) -> None:
    chunks, done = reply.chunks(), False
    exchange.begin_wait()
    try:
        async for chunk in chunks:
            exchange.end_wait()
            for event in parser.feed(chunk):
                done = await take(frame_of_event(event)) or done
            if done:
                break
            exchange.begin_wait()
        exchange.end_wait()
        if done:
            await _require_end(chunks, parser, take)
        parser.close()
    except SseError as error:
        raise UpstreamProtocolError(f"the upstream's event stream is broken: {error}") from None


async def _require_end(chunks: AsyncIterator[bytes], parser: SseParser, take: Take) -> None:
    """What follows the end is `take`'s to refuse. A connection that merely stays open is not waited for."""
    try:
        async with asyncio.timeout(_END_GRACE_S):
            async for chunk in chunks:
                for event in parser.feed(chunk):
                    await take(frame_of_event(event))
    except TimeoutError:
        pass


def _require(reply: Reply, media_type: str) -> None:
    sent = reply.content_type.partition(";")[0].strip().lower()
    if sent != media_type:
        raise UpstreamProtocolError(f"the upstream answered with another media type than {media_type}")
