"""An OpenAI-compatible upstream that does next to nothing: `python -m bench.mock_upstream --port 9000`.

What it answers is in the request's model name (see `bench.plan`); the options say what other names get.
"""

import argparse
import asyncio
import gc
import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import cast

import httptools
import orjson
import uvloop

from bench.alarm import Alarm, now_ns
from bench.plan import TOOL, Answer, Plan, call_arguments, read_request, text_pieces

_MS = 1_000_000
_PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
_MODELS = orjson.dumps(
    {"object": "list", "data": [{"id": "mock", "object": "model", "created": 1, "owned_by": "mock"}]}
)
_USAGE = {"prompt_tokens": 900, "completion_tokens": 16, "total_tokens": 916}

Frames = tuple[bytes, ...]


def whole_answer(plan: Plan, serial: int) -> bytes:
    """The bytes of an answer that is not streamed, head and all."""
    message: dict[str, object] = {"role": "assistant", "content": None}
    finish = "stop"
    if plan.answer is Answer.TEXT:
        message["content"] = "".join(text_pieces(plan))
    else:
        message["tool_calls"] = [_call(plan, serial, call_arguments(_shown(plan, serial)))]
        finish = "tool_calls"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    body = orjson.dumps(_envelope(plan, "chat.completion") | {"choices": [choice], "usage": _USAGE})
    return _PLAIN % (len(body), body)


def stream_frames(plan: Plan, serial: int) -> Frames:
    """What is written at each interval: the head goes with the first event, the end with the last."""
    deltas: list[dict[str, object]]
    deltas = [{"content": piece} for piece in text_pieces(plan)] if plan.answer is Answer.TEXT else _calls(plan, serial)
    deltas[0] = {"role": "assistant"} | deltas[0]
    frames = [_event(plan, delta, None) for delta in deltas]
    frames[0] = _STREAM_HEAD + frames[0]
    finish = "stop" if plan.answer is Answer.TEXT else "tool_calls"
    frames[-1] += _event(plan, {}, finish) + _http_chunk(b"data: [DONE]\n\n") + _END
    return tuple(frames)


def _calls(plan: Plan, serial: int) -> list[dict[str, object]]:
    """One call in three events, as servers send it: its name, then its arguments in pieces."""
    arguments = call_arguments(_shown(plan, serial))
    middle = len(arguments) // 2
    later = [{"index": 0, "function": {"arguments": piece}} for piece in (arguments[:middle], arguments[middle:])]
    return [{"tool_calls": [call]} for call in ({"index": 0} | _call(plan, serial, ""), *later)]


def _call(plan: Plan, serial: int, arguments: str) -> dict[str, object]:
    function = {"name": TOOL, "arguments": arguments}
    return {"id": f"call_{_shown(plan, serial) or 0:012d}", "type": "function", "function": function}


def _shown(plan: Plan, serial: int) -> int | None:
    return serial if plan.answer is Answer.FRESH else None


def _envelope(plan: Plan, kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-mock", "object": kind, "created": 1_700_000_000, "model": plan.model}


def _event(plan: Plan, delta: Mapping[str, object], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _http_chunk(
        b"data: " + orjson.dumps(_envelope(plan, "chat.completion.chunk") | {"choices": [choice]}) + b"\n\n"
    )


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=64)
def _same_frames(plan: Plan, stream: bool) -> Frames:
    return stream_frames(plan, 0) if stream else (whole_answer(plan, 0),)


class Mock(asyncio.Protocol):
    """One connection. Requests that come before the last answer is out are answered all the same, in arrival order of
    their delays: no client here pipelines."""

    _serials = itertools.count(1)

    def __init__(self, alarm: Alarm, default: Plan) -> None:
        self._alarm = alarm
        self._default = default
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":  # the list of models, readiness
            self._transport.write(_PLAIN % (len(_MODELS), _MODELS))
            return
        plan, stream = read_request(b"".join(self._body), self._default)
        self._body.clear()
        frames = self._frames(plan, stream)
        if plan.delay_ms:
            self._alarm.at(
                now_ns() + int(plan.delay_ms * _MS), partial(self._write, frames, 0, int(plan.interval_ms * _MS))
            )
        else:
            self._write(frames, 0, int(plan.interval_ms * _MS))

    def _frames(self, plan: Plan, stream: bool) -> Frames:
        if plan.answer is not Answer.FRESH:
            return _same_frames(plan, stream)
        serial = next(self._serials)
        return stream_frames(plan, serial) if stream else (whole_answer(plan, serial),)

    def _write(self, frames: Frames, first: int, interval_ns: int) -> None:
        if self._transport.is_closing():
            return
        if not interval_ns:
            self._transport.write(b"".join(frames[first:]))
            return
        self._transport.write(frames[first])
        if first + 1 < len(frames):
            self._alarm.at(now_ns() + interval_ns, partial(self._write, frames, first + 1, interval_ns))


async def _serve(port: int, default: Plan) -> None:
    loop = asyncio.get_running_loop()
    alarm = Alarm()
    server = await loop.create_server(lambda: Mock(alarm, default), "127.0.0.1", port, backlog=1024)
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would be taken for the proxy's tail
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="bench.mock_upstream", description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--answer", type=Answer, default=Answer.TEXT, choices=list(Answer))
    options.add_argument("--delay-ms", type=float, default=0.0)
    options.add_argument("--chunks", type=int, default=16)
    options.add_argument("--interval-ms", type=float, default=0.0)
    given = options.parse_args(arguments)
    uvloop.run(_serve(given.port, Plan(given.answer, given.delay_ms, given.chunks, given.interval_ms)))


if __name__ == "__main__":
    main()
