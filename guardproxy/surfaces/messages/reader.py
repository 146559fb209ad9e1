"""Reading one answer of the Messages API, streamed or whole, as deltas. What has no single reading is refused.

Anthropic sends one block after the other. llama.cpp leaves blocks open side by side and ends them all at the end;
that has one reading too, as long as what is added is added to the newest block and nothing is added once they end.
"""

import re
from collections.abc import Sequence

from guardproxy.decision import Permit
from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import CallKey, CallKind, Delta, FinishDelta, Request, TextDelta, UsageDelta
from guardproxy.provider_error import ErrorFields, fields_of
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.messages.amend import amend_message, amend_stream
from guardproxy.surfaces.messages.blocks import Block, Blocks
from guardproxy.surfaces.messages.contract import CONTRACT
from guardproxy.surfaces.messages.shapes import (
    END_FIELDS,
    EVENT_FIELDS,
    MESSAGE_FIELDS,
    UNREAD_FIELDS,
    an_object,
    refuse_hidden_calls,
    refuse_nested_calls,
    string,
    type_of,
)
from guardproxy.surfaces.surface import Refusal

_DELTAS = CONTRACT["deltas"]
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def _builtin_names(request: Request) -> frozenset[str]:
    functions = {spec.name for spec in request.tools if spec.kind is CallKind.FUNCTION}
    return frozenset(spec.name for spec in request.tools if spec.kind is CallKind.BUILTIN) - functions


class MessageReader:
    """Reads a whole `message`."""

    def __init__(self, request: Request) -> None:
        self.ended = False
        self._blocks = Blocks(_builtin_names(request))

    @property
    def said(self) -> Sequence[Block]:
        return self._blocks.all

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        if self.ended:
            raise UpstreamProtocolError("the upstream sent a second answer")
        _refuse_error(tree)
        _check_message(tree)
        if tree.get("type") not in (None, "message"):
            raise UpstreamProtocolError("the upstream's answer is no 'message'")
        deltas: list[Delta] = []
        for block in _objects(tree.get("content")):
            deltas += self._blocks.start(block, whole=True)
        deltas.append(FinishDelta(0, string(tree.get("stop_reason"), "stop_reason")))
        deltas += _usage(tree.get("usage"))
        self.ended = True
        return deltas

    def amend(self, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        return [
            Frame(amend_message(frame.tree, self.said, permit, refusal)) for frame in held if frame.tree is not None
        ]


class StreamReader:
    """Reads the events of a streamed message, one after the other."""

    def __init__(self, request: Request) -> None:
        self.ended = False
        self._blocks = Blocks(_builtin_names(request))
        self._started = False
        self._reason: str | None = None
        self._closing = False  # a block ended while a newer one was open
        self._events = 0
        self._opaque_events: dict[int, CallKey] = {}

    @property
    def said(self) -> Sequence[Block]:
        return self._blocks.all

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        if self.ended:
            raise UpstreamProtocolError("the upstream went on after the end of its answer")
        _refuse_error(tree)
        kind = type_of(tree, "an event")
        if kind in EVENT_FIELDS:
            refuse_hidden_calls(tree, EVENT_FIELDS[kind])
        elif not _PLAIN.fullmatch(kind):  # it names the event in the stream, where it must not begin another line
            raise UpstreamProtocolError("the upstream sent an event of an odd type")
        if not self._started and kind not in ("message_start", "ping"):
            raise UpstreamProtocolError("the upstream's answer does not begin with 'message_start'")
        deltas = self._read_event(kind, tree)
        self._events += 1
        return deltas

    def amend(self, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        trees = [frame.tree for frame in held if frame.tree is not None]
        first = self._events - len(trees)
        opaque = {place - first: key for place, key in self._opaque_events.items() if place >= first}
        amended = amend_stream(trees, self.said, opaque, permit, refusal)
        end_mark = [frame for frame in held if frame.tree is None]
        return [Frame(tree, string(tree["type"], "type")) for tree in amended] + end_mark

    def _read_event(self, kind: str, tree: JsonObject) -> Sequence[Delta]:
        match kind:
            case "content_block_delta":
                return self._delta(tree)
            case "content_block_start":
                return self._block_start(tree)
            case "content_block_stop":
                return self._block_stop(tree)
            case "message_start":
                return self._message_start(tree)
            case "message_delta":
                return self._message_delta(tree)
            case "message_stop":
                return self._message_stop()
            case "ping":
                return ()
            case _:
                return self._opaque(kind, tree)

    def _message_start(self, tree: JsonObject) -> Sequence[Delta]:
        if self._started:
            raise UpstreamProtocolError("the upstream began its message twice")
        self._started = True
        message = an_object(tree.get("message"), "message")
        _check_message(message)
        if message.get("content"):
            raise UpstreamProtocolError("the upstream's message has content before its first block")
        return (TextDelta(0, ""), *_usage(message.get("usage") or tree.get("usage")))  # begun, so it must end

    def _block_start(self, tree: JsonObject) -> Sequence[Delta]:
        if type(tree.get("index")) is not int or tree["index"] != len(self.said):
            raise UpstreamProtocolError("the upstream began a content block with a wrong or missing index")
        if self._closing or self._reason is not None:
            raise UpstreamProtocolError("the upstream began a content block when its blocks had ended")
        return self._blocks.start(an_object(tree.get("content_block"), "content_block"))

    def _delta(self, tree: JsonObject) -> Sequence[Delta]:
        block = self._open_block(tree)
        delta = an_object(tree.get("delta"), "delta")
        kind = type_of(delta, "a delta")
        if kind != "signature_delta" and (self._closing or block is not self.said[-1]):
            raise UpstreamProtocolError("the upstream added to a content block that is not its newest")
        if block.opaque:
            block.deltas.append(delta)
            return ()
        if kind not in _DELTAS:
            if block.key is not None:
                raise UpstreamProtocolError("the upstream added to a tool call in a way that is not known")
            return self._opaque(kind, tree)
        return self._blocks.add(block, delta)

    def _block_stop(self, tree: JsonObject) -> Sequence[Delta]:
        block = self._open_block(tree)
        self._closing = self._closing or block is not self.said[-1]
        return self._blocks.stop(block)

    def _message_delta(self, tree: JsonObject) -> Sequence[Delta]:
        self._check_all_closed()
        delta = an_object(tree.get("delta") or {}, "delta")
        refuse_hidden_calls(delta, END_FIELDS)
        refuse_nested_calls(tree, UNREAD_FIELDS)
        refuse_nested_calls(delta, UNREAD_FIELDS)
        reason = string(delta.get("stop_reason"), "stop_reason")
        if reason and self._reason is not None:
            raise UpstreamProtocolError("the upstream finished its message twice")
        self._reason = reason or self._reason
        return _usage(tree.get("usage"))

    def _message_stop(self) -> Sequence[Delta]:
        self._check_all_closed()
        self.ended = True
        return (FinishDelta(0, self._reason or ""),)

    def _opaque(self, kind: str, tree: JsonObject) -> Sequence[Delta]:
        call = self._blocks.opaque_call(kind, tree)
        self._opaque_events[self._events] = call.key
        return (call,)

    def _open_block(self, tree: JsonObject) -> Block:
        index = tree.get("index")
        if type(index) is not int or not 0 <= index < len(self.said) or not self.said[index].open:
            raise UpstreamProtocolError("the upstream spoke of a content block that is not open")
        return self.said[index]

    def _check_all_closed(self) -> None:
        if any(block.open for block in self.said):
            raise UpstreamProtocolError("the upstream ended its message within a content block")


def _refuse_error(tree: JsonObject) -> None:
    """Raises UpstreamRefusal for an error in the place of an answer, or in the midst of a stream."""
    if tree.get("type") == "error" or (tree.get("type") is None and tree.get("error") is not None):
        fields = fields_of(tree) or ErrorFields("The upstream reported an error.")
        raise UpstreamRefusal(502, fields.message, type=fields.type, param=fields.param, code=fields.code)


def _check_message(message: JsonObject) -> None:
    refuse_hidden_calls(message, MESSAGE_FIELDS)
    refuse_nested_calls(message, UNREAD_FIELDS)
    if message.get("role") not in (None, "assistant"):
        raise UpstreamProtocolError("the upstream speaks in another role than the assistant's")


def _objects(content: object) -> list[JsonObject]:
    if content is None:
        return []
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise UpstreamProtocolError("'content' is not a list of objects")
    return content


def _usage(usage: object) -> Sequence[Delta]:
    """Counts are totals, so a later one stands for an earlier; one that is not given leaves it as it was."""
    if not isinstance(usage, dict):
        return ()
    return (UsageDelta({name: value for name, value in usage.items() if value is not None}),)
