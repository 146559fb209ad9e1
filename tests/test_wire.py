"""Bodies in, answers out: sizes, codings, headers, and the comments that keep a held stream alive."""

import asyncio
import gzip
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import zstandard

from guardproxy.errors import BodyTooLarge, GuardproxyError, MalformedRequest, UnsupportedMediaType, UpstreamTimeout
from guardproxy.exchange import Exchange
from guardproxy.stream.frame import DONE, Frame
from guardproxy.stream.sse import KEEP_ALIVE
from guardproxy.surfaces.chat_completions import ChatCompletions
from guardproxy.wire import ClientGone, EventStream, cancelled_when_gone, headers_of, read_body

LIMIT = 1000
SMALL = b'{"a":1}'


def body_of(pieces: Sequence[bytes | None], headers: Mapping[str, str] | None = None) -> bytes:
    """None stands for a client that has gone."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        piece = left.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    return asyncio.run(read_body(receive, headers or {}, LIMIT))


@pytest.mark.parametrize("coding", ["", "identity", "IDENTITY "])
def test_a_plain_body_in_pieces(coding: str) -> None:
    assert body_of([SMALL[:3], b"", SMALL[3:]], {"content-encoding": coding}) == SMALL


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
def test_a_gzip_body(coding: str) -> None:
    packed = gzip.compress(SMALL)
    assert body_of([packed[:5], packed[5:]], {"content-encoding": coding}) == SMALL


GZIP = {"content-encoding": "gzip"}


@pytest.mark.parametrize(
    ("pieces", "headers", "error"),
    [
        ([b"x" * (LIMIT + 1)], {}, BodyTooLarge),
        ([b"x" * 600, b"x" * 600], {}, BodyTooLarge),
        ([SMALL], {"content-length": str(LIMIT + 1)}, BodyTooLarge),
        ([SMALL], {"content-length": "9" * 5000}, MalformedRequest),
        ([SMALL], {"content-length": "seven"}, MalformedRequest),
        ([SMALL], {"content-length": "-1"}, MalformedRequest),
        ([SMALL], {"content-length": "+7"}, MalformedRequest),
        ([SMALL], {"content-length": "7, 7"}, MalformedRequest),
        ([gzip.compress(b"x" * (LIMIT + 1))], GZIP, BodyTooLarge),
        ([gzip.compress(b"\0" * 100_000_000)[:900]], GZIP, BodyTooLarge),
        ([SMALL], GZIP, MalformedRequest),
        ([b""], GZIP, MalformedRequest),
        ([gzip.compress(SMALL)[:-1]], GZIP, MalformedRequest),
        ([gzip.compress(SMALL) + b"x"], GZIP, MalformedRequest),
        ([gzip.compress(SMALL) * 2], GZIP, MalformedRequest),
        ([zlib.compress(SMALL)], GZIP, MalformedRequest),
        ([zlib.compress(SMALL)], {"content-encoding": "deflate"}, UnsupportedMediaType),
        ([SMALL], {"content-encoding": "br"}, UnsupportedMediaType),
        ([gzip.compress(gzip.compress(SMALL))], {"content-encoding": "gzip, gzip"}, UnsupportedMediaType),
    ],
)
def test_bodies_that_are_refused(pieces: list[bytes], headers: dict[str, str], error: type[GuardproxyError]) -> None:
    with pytest.raises(error):
        body_of(pieces, headers)


def test_a_content_length_that_lies_small_changes_nothing() -> None:
    assert body_of([SMALL], {"content-length": "1"}) == SMALL


def test_a_client_that_goes_midway() -> None:
    with pytest.raises(ClientGone):
        body_of([b"{", None])


@pytest.mark.parametrize(
    "name", [b"host", b"origin", b"authorization", b"content-type", b"content-encoding", b"x-guardproxy-key"]
)
def test_a_header_that_decides_something_comes_once(name: bytes) -> None:
    with pytest.raises(MalformedRequest):
        headers_of({"headers": [(name, b"a"), (name, b"a")]})


def test_other_headers_may_come_twice() -> None:
    assert headers_of({"headers": [(b"accept", b"a"), (b"accept", b"\xe9")]}) == {"accept": "\xe9"}


# --- the client goes -----------------------------------------------------------------------------------------------


def test_the_body_of_the_context_ends_when_the_client_goes() -> None:
    async def scenario() -> str:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        try:
            async with cancelled_when_gone(receive):
                await asyncio.sleep(5)
        except ClientGone:
            await asyncio.sleep(0)  # the task itself goes on
            return "gone"
        return "stayed"

    assert asyncio.run(scenario()) == "gone"


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def scenario() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(5)
            return {}

        async with cancelled_when_gone(receive):
            await asyncio.sleep(5)

    async def cancelled() -> None:
        task = asyncio.create_task(scenario())
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


# --- streams --------------------------------------------------------------------------------------------------------


class Client:
    """Takes messages, and its time."""

    def __init__(self, start_s: float = 0.0, piece_s: float = 0.0) -> None:
        self.messages: list[dict[str, Any]] = []
        self.start_s = start_s
        self.piece_s = piece_s

    async def send(self, message: Any) -> None:
        await asyncio.sleep(self.start_s if message["type"] == "http.response.start" else self.piece_s)
        self.messages.append(message)

    @property
    def types(self) -> list[str]:
        return [message["type"].rpartition(".")[2] for message in self.messages]

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages if "body" in message]


def exchange() -> Exchange:
    return Exchange("0" * 16, "chat_completions", "r1")


def test_a_stream() -> None:
    client, notes = Client(), exchange()

    async def scenario() -> None:
        stream = EventStream(client.send, notes, 10, KEEP_ALIVE)
        await stream.send_frame(Frame({"a": 1}))
        await stream.send_frame(Frame({"b": 2}, "named"))
        await stream.send_frame(DONE)
        await stream.end()

    asyncio.run(scenario())
    assert client.types == ["start", "body", "body", "body", "body"]
    assert client.bodies == [b'data: {"a":1}\n\n', b'event: named\ndata: {"b":2}\n\n', b"data: [DONE]\n\n", b""]
    assert dict(client.messages[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert notes.status == 200


def test_an_empty_stream_still_begins() -> None:
    client = Client()

    async def scenario() -> None:
        await EventStream(client.send, exchange(), 10, KEEP_ALIVE).end()

    asyncio.run(scenario())
    assert client.types == ["start", "body"]


def test_an_error_in_a_stream_has_the_shape_of_the_sdk() -> None:
    client = Client()

    async def scenario() -> None:
        stream = EventStream(client.send, exchange(), 10, KEEP_ALIVE)
        await stream.send_frame(Frame({}))
        await stream.send_frame(ChatCompletions().error_frame(UpstreamTimeout("too\u2028late")))
        await stream.end()

    asyncio.run(scenario())
    assert client.bodies[1] == (
        b'data: {"error":{"message":"too\\u2028late","type":"upstream_error",'
        b'"param":null,"code":"upstream_timeout"}}\n\n'
    )


@pytest.mark.parametrize(("holding", "comments"), [(True, True), (False, False)])
def test_a_held_stream_is_kept_alive(holding: bool, comments: bool) -> None:
    client, notes = Client(), exchange()

    async def scenario() -> None:
        stream = EventStream(client.send, notes, 0.02, KEEP_ALIVE)
        if holding:
            notes.begin_hold()
        await asyncio.sleep(0.09)
        notes.end_hold()
        await stream.send_frame(DONE)
        await stream.end()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert client.types[0] == "start"
    assert client.bodies[-2:] == [b"data: [DONE]\n\n", b""]
    assert set(client.bodies[:-2]) == ({KEEP_ALIVE} if comments else set())
    assert len(client.bodies[:-2]) <= 5


@pytest.mark.parametrize("client", [Client(start_s=0.05), Client(piece_s=0.05), Client(start_s=0.05, piece_s=0.05)])
@pytest.mark.parametrize("wait_s", [0.03, 0.07])
def test_a_comment_on_its_way_never_mixes_with_the_answer(client: Client, wait_s: float) -> None:
    notes = exchange()
    client.messages.clear()

    async def scenario() -> None:
        stream = EventStream(client.send, notes, 0.02, KEEP_ALIVE)
        notes.begin_hold()
        await asyncio.sleep(wait_s)
        notes.end_hold()
        stream.stop_keepalive()
        await stream.send_frame(DONE)
        await stream.end()
        await asyncio.sleep(0.2)

    asyncio.run(scenario())
    assert client.types[0] == "start"
    assert client.types.count("start") == 1
    assert client.bodies[-2:] == [b"data: [DONE]\n\n", b""]


def packed(plain: bytes, **settings: bool) -> bytes:
    return zstandard.ZstdCompressor(**settings).compress(plain)


ZSTD = {"content-encoding": "zstd"}


@pytest.mark.parametrize("settings", [{}, {"write_content_size": False}, {"write_checksum": True}])
def test_a_zstd_body(settings: dict[str, bool]) -> None:
    data = packed(SMALL * 100, **settings)
    assert body_of([data[:5], data[5:]], ZSTD) == SMALL * 100


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (packed(b"x" * (LIMIT + 1)), BodyTooLarge),
        (packed(b"\0" * 100_000_000)[:900], BodyTooLarge),
        (packed(SMALL)[:-1], MalformedRequest),
        (packed(SMALL) + b"x", MalformedRequest),
        (packed(SMALL) * 2, MalformedRequest),
        (SMALL, MalformedRequest),
        (b"", MalformedRequest),
        (b"\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00", MalformedRequest),  # a window of terabytes
    ],
    ids=["large", "bomb", "cut", "longer", "two", "plain", "empty", "window"],
)
def test_a_zstd_body_that_is_refused(body: bytes, error: type[GuardproxyError]) -> None:
    with pytest.raises(error):
        body_of([body], ZSTD)
