"""A chat model's answer in the Messages API. Pure."""

from collections.abc import Mapping
from typing import Any, assert_never

from guardproxy.errors import UpstreamProtocolError
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import Json, JsonObject, MalformedJson, decode_object
from guardproxy.upstream.bridge.blocks import Begun, Closed, Ended, Event, Grown, Kind, Opened, Outcome, Usage
from guardproxy.upstream.bridge.writer import answer_id

_DELTAS = {
    Kind.REASONING: ("thinking_delta", "thinking"),
    Kind.TEXT: ("text_delta", "text"),
    Kind.REFUSAL: ("text_delta", "text"),
    Kind.CALL: ("input_json_delta", "partial_json"),
}


class MessagesWriter:
    """`tree` is the request as the client made it.

    The input of a call is an object here, so arguments that are no JSON object cannot be said: an error, but for the
    answer that was cut short. Its stream says the piece that there is; as a whole it leaves the unfinished call out.
    """

    def __init__(self, tree: Mapping[str, Any], nonce: str) -> None:
        self._stops = tree.get("stop_sequences") or []
        self._nonce = nonce
        self._content: list[Json] = []
        self._message: JsonObject = {
            "id": "",
            "type": "message",
            "role": "assistant",
            "model": tree.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(None),
        }
        self._open = Opened(0, Kind.TEXT)
        self._called = False
        self._refused = False

    def write(self, event: Event) -> list[Frame]:
        match event:
            case Begun():
                return [self._begin(event)]
            case Opened():
                return [self._start(event)]
            case Grown(text):
                return [self._grow(text)]
            case Closed():
                return self._close(event)
            case Ended():
                return self._end(event)
            case _:
                assert_never(event)

    def whole(self) -> JsonObject:
        return self._message

    def _begin(self, event: Begun) -> Frame:
        self._message["id"] = f"msg_{answer_id(event.id, self._nonce)}"
        self._message["model"] = event.model or self._message["model"]
        return _frame("message_start", message=dict(self._message))

    def _start(self, event: Opened) -> Frame:
        self._open = event
        self._called = self._called or event.kind is Kind.CALL
        self._refused = self._refused or event.kind is Kind.REFUSAL
        return _frame("content_block_start", index=event.index, content_block=_begun_block(event))

    def _grow(self, text: str) -> Frame:
        kind, field = _DELTAS[self._open.kind]
        return _frame("content_block_delta", index=self._open.index, delta={"type": kind, field: text})

    def _close(self, event: Closed) -> list[Frame]:
        try:
            self._content.append(_whole_block(self._open, event.text))
        except MalformedJson:
            if not event.cut:
                message = "the upstream sent a tool call whose arguments are not a JSON object"
                raise UpstreamProtocolError(message) from None
        index, frames = self._open.index, []
        if self._open.source:
            signed: JsonObject = {"type": "signature_delta", "signature": self._open.source}
            frames.append(_frame("content_block_delta", index=index, delta=signed))
        return [*frames, _frame("content_block_stop", index=index)]

    def _end(self, event: Ended) -> list[Frame]:
        stopped = event.stop if event.stop in self._stops else None
        reason: Json = self._reason(event.outcome, stopped)
        usage = _usage(event.usage)
        self._message |= {"content": self._content, "usage": usage}
        self._message |= {"stop_reason": reason, "stop_sequence": stopped}
        delta: JsonObject = {"stop_reason": reason, "stop_sequence": stopped}
        return [_frame("message_delta", delta=delta, usage=usage), _frame("message_stop")]

    def _reason(self, outcome: Outcome, stopped: str | None) -> str:
        match outcome:
            case Outcome.LENGTH:
                return "max_tokens"
            case Outcome.FILTERED:
                return "refusal"
            case Outcome.COMPLETE if self._called:
                return "tool_use"
            case Outcome.COMPLETE if self._refused:
                return "refusal"
            case Outcome.COMPLETE:
                return "end_turn" if stopped is None else "stop_sequence"
            case _:
                assert_never(outcome)


def _frame(kind: str, **fields: Json) -> Frame:
    return Frame({"type": kind, **fields}, kind)


def _begun_block(opened: Opened) -> JsonObject:
    match opened.kind:
        case Kind.REASONING:
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Kind.TEXT | Kind.REFUSAL:
            return {"type": "text", "text": ""}
        case Kind.CALL:
            assert opened.call is not None, "a call begins with its head"
            return {"type": "tool_use", "id": opened.call.id, "name": opened.call.name, "input": {}}
        case _:
            assert_never(opened.kind)


def _whole_block(opened: Opened, text: str) -> JsonObject:
    """Raises MalformedJson where a call's arguments are not a JSON object. For the signature see `reasoning`."""
    block = _begun_block(opened)
    match opened.kind:
        case Kind.REASONING:
            return block | {"thinking": text, "signature": opened.source}
        case Kind.TEXT | Kind.REFUSAL:
            return block | {"text": text}
        case Kind.CALL:
            return block | {"input": decode_object(text.encode()) if text.strip() else {}}
        case _:
            assert_never(opened.kind)


def _usage(usage: Usage | None) -> JsonObject:
    """Tokens that were read from a cache are no part of `input_tokens` here. The counts are not known at the start."""
    usage = usage or Usage(0, 0)
    return {
        "input_tokens": max(0, usage.input - usage.cached),
        "output_tokens": usage.output,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
    }
