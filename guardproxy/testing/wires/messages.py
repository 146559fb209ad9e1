"""Messages: how servers write a turn, and how clients read it."""

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardproxy.model import CallKind
from guardproxy.stream.frame import DONE, Frame
from guardproxy.strict_json import encode
from guardproxy.surfaces.messages import Messages
from guardproxy.surfaces.messages.shapes import BLOCK_FIELDS
from guardproxy.testing.script import Call, Part, ReadCall, ReadCalls, Reasoning, Shape, Text, Tree, cut

_STOPS = {
    "tool_use": "calls",
    "end_turn": "end",
    "max_tokens": "end",
    "stop_sequence": "end",
    "refusal": "filter",
}
_SIGNATURE = "c2lnbmVk"
_MORE = "all deltas"
_USAGE: Tree = {"input_tokens": 25, "output_tokens": 1}


class MessagesWire:
    name = "messages"
    surface = Messages()
    shapes: Mapping[str, Shape] = {
        shape.name: shape
        for shape in (
            Shape("function", CallKind.FUNCTION),
            Shape("builtin", CallKind.BUILTIN, '{"command":"MARK"}', tool="bash"),
            Shape("member", CallKind.BUILTIN, '{"coordinate":[1,2],"text":"MARK"}', tool="computer.left_click"),
            Shape("opaque", CallKind.OPAQUE, '{"a":"MARK"}', tool="future_call", rewritten=None),
        )
    }
    most_choices = 1
    interleaves = False
    settings: Mapping[str, Any] = {}

    def request(self, *, stream: bool, n: int = 1, calls: Sequence[Call] = (), **fields: Any) -> Tree:
        tools = {call.name: _tool(call) for call in calls if call.shape != "opaque"}
        more: Tree = {"tools": list(tools.values())} if tools else {}
        tree: Tree = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Go on."}]}
        return tree | {"stream": stream} | more | fields

    def frames(self, parts: Sequence[Part], order: Sequence[int] | None = None) -> list[Frame]:
        return events(*message([list(_block_events(part, i)) for i, part in enumerate(parts)], parts))

    def whole(self, parts: Sequence[Part]) -> Tree:
        noise = "".join(part.noise for part in parts if isinstance(part, Call))
        content = [_whole_block(part) for part in parts]
        said = {"content": content, "stop_reason": _reason(parts), "stop_sequence": None}
        return _head() | said | {"usage": _USAGE | {"output_tokens": 15}} | ({"unknown": noise} if noise else {})

    def variants(self, parts: Sequence[Part]) -> Mapping[str, Sequence[Frame]]:
        blocks = [list(_block_events(part, i)) for i, part in enumerate(parts)]
        ping: Tree = {"type": "ping"}
        calls_at_once = [list(_at_once(part, i)) for i, part in enumerate(parts)]
        stops = [block[-1] for block in blocks]
        return {
            "blocks open side by side": events(*message([*(block[:-1] for block in blocks), stops], parts)),
            "the input where the block begins": events(*message(calls_at_once, parts)),
            "pings everywhere": events(
                ping, *(e for event in message(blocks, parts)[:-1] for e in (event, ping)), _END
            ),
            "empty pieces": events(*message([list(_with_empty_pieces(block)) for block in blocks], parts)),
            "an end mark as of another API": [*events(*message(blocks, parts)), DONE],  # vLLM
            "usage on its own": events(*_with_usage_apart(message(blocks, parts))),
        }

    def readers(self, *, stream: bool) -> Mapping[str, ReadCalls]:
        return _STREAM_READERS if stream else _WHOLE_READERS

    def ended(self, frames: Sequence[Frame]) -> bool:
        kinds = [frame.tree["type"] for frame in frames if frame.tree]
        return "message_stop" in kinds and "error" not in kinds

    def texts(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        return {0: "".join(block["text"] for block in _content(frames, stream=stream) if block["type"] == "text")}

    def stops(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        ends = [frame.tree.get("delta", {}) if stream else frame.tree for frame in frames if frame.tree]
        reasons = [end["stop_reason"] for end in ends if isinstance(end, dict) and end.get("stop_reason")]
        return {0: _STOPS[str(reasons[-1])]} if reasons else {}

    def faults(self, frames: Sequence[Frame], *, stream: bool) -> list[str]:
        found = list(_faults_of_stream(frames)) if stream else []
        content = _content(frames, stream=stream)
        if any(block["type"] == "text" and not block["text"] for block in content):
            found.append("a text without characters, which a request may not hold")
        reason = self.stops(frames, stream=stream).get(0)
        if (reason == "calls") is not any(block["type"] in ("tool_use", "future_call") for block in content):
            found.append(f"the stop reason is {reason}")
        return found


# --- writing -----------------------------------------------------------------------------------------------------

_END: Tree = {"type": "message_stop"}


def events(*trees: Tree) -> list[Frame]:
    """Frames, each under the name of its type."""
    return [Frame(tree, tree["type"]) for tree in trees]


def message(blocks: Sequence[Sequence[Tree]], parts: Sequence[Part]) -> list[Tree]:
    """The events of a message around those of its blocks."""
    start = _head() | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": _USAGE}
    delta = {"stop_reason": _reason(parts), "stop_sequence": None}
    return [
        {"type": "message_start", "message": start},
        *(event for block in blocks for event in block),
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 15}},
        _END,
    ]


def _head() -> Tree:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}


def _tool(call: Call) -> Tree:
    match call.shape:
        case "builtin":
            return {"type": "bash_20250124", "name": call.name}
        case "member":
            return {"type": "computer_toolset_20260801"}
        case _:
            return {"name": call.name, "input_schema": {"type": "object"}}


def _reason(parts: Iterable[Part]) -> str:
    return "tool_use" if any(isinstance(part, Call) for part in parts) else "end_turn"


def _block_events(part: Part, index: int) -> Iterator[Tree]:
    match part:
        case Text(text):
            yield _start(index, {"type": "text", "text": ""})
            for word in re.findall(r"\s*\S+|\s+$", text):
                yield _delta(index, {"type": "text_delta", "text": word})
        case Reasoning(text):
            yield _start(index, {"type": "thinking", "thinking": "", "signature": ""})
            yield _delta(index, {"type": "thinking_delta", "thinking": text})
            yield _delta(index, {"type": "signature_delta", "signature": _SIGNATURE})
        case Call(shape="opaque"):
            yield _start(index, _whole_block(part))
        case Call():
            noise = {"unknown": part.noise} if part.noise else {}
            yield _start(index, _called(part) | {"input": {}} | noise) | noise
            for piece in cut(part.arguments, part.pieces):
                yield _delta(index, {"type": "input_json_delta", "partial_json": piece} | noise) | noise
    yield {"type": "content_block_stop", "index": index}


def _start(index: int, block: Tree) -> Tree:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, delta: Tree) -> Tree:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _called(call: Call) -> Tree:
    toolset, dot, member = call.name.partition(".")
    named: Tree = {"name": member, "toolset_name": toolset} if dot and call.shape == "member" else {"name": call.name}
    return {"type": "tool_use", "id": call.id} | named


def _whole_block(part: Part) -> Tree:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Reasoning(text):
            return {"type": "thinking", "thinking": text, "signature": _SIGNATURE}
        case Call(shape="opaque"):
            block: Tree = {"type": part.name, "id": part.id, "payload": part.arguments}
        case Call():
            block = _called(part) | {"input": json.loads(part.arguments)}
    return block | ({"unknown": part.noise} if part.noise else {})


def _at_once(part: Part, index: int) -> Iterator[Tree]:
    if isinstance(part, Call):
        yield _start(index, _whole_block(part))
        yield {"type": "content_block_stop", "index": index}
    else:
        yield from _block_events(part, index)


def _with_empty_pieces(block: Sequence[Tree]) -> Iterator[Tree]:
    """An empty piece before each, as Anthropic begins an input."""
    for event in block:
        delta = event.get("delta", {})
        for name in ("text", "partial_json", "thinking"):
            if name in delta:
                yield event | {"delta": {"type": delta["type"], name: ""}}
        yield event


def _with_usage_apart(trees: Sequence[Tree]) -> Iterator[Tree]:
    for tree in trees:
        if tree["type"] == "message_delta":
            yield {"type": "message_delta", "delta": {}, "usage": tree["usage"]}
        yield tree


# --- reading -----------------------------------------------------------------------------------------------------


def _content(frames: Sequence[Frame], *, stream: bool) -> list[Tree]:
    """The blocks by index, as a client puts them together that goes by the data alone."""
    if not stream:
        return [block for frame in frames if frame.tree for block in _list(frame.tree.get("content"))]
    blocks: dict[int, Tree] = {}
    for frame in frames:
        tree: Any = frame.tree or {}
        match tree.get("type"):
            case "content_block_start":
                blocks[tree["index"]] = copy.deepcopy(tree["content_block"])
            case "content_block_delta":
                _grow(blocks[tree["index"]], tree["delta"])
            case _:
                pass
    return [_closed(block) for _, block in sorted(blocks.items())]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _grow(block: Tree, delta: Tree) -> None:
    if block["type"] not in BLOCK_FIELDS:
        block.setdefault(_MORE, []).append(delta)
        return
    match delta.get("type"):
        case "text_delta" | "thinking_delta":
            name = delta["type"].removesuffix("_delta")
            block[name] = block.get(name, "") + delta[name]
        case "input_json_delta":
            block["json"] = block.get("json", "") + delta["partial_json"]
        case _:
            pass


def _closed(block: Tree) -> Tree:
    pieces = block.pop("json", "")
    return block | ({"input": json.loads(pieces)} if pieces else {})


def _calls_of(content: Iterable[Tree]) -> list[ReadCall]:
    return [call for block in content for call in _call_of(block)]


def _call_of(block: Tree) -> Iterator[ReadCall]:
    match block["type"]:
        case "text" | "thinking":
            pass
        case "tool_use":
            name, toolset = block["name"], block.get("toolset_name")
            shape = "member" if toolset else "builtin" if name == "bash" else "function"
            arguments = encode(block.get("input") or {}).decode()
            yield ReadCall(0, shape, f"{toolset}.{name}" if toolset else name, arguments)
        case kind if kind not in BLOCK_FIELDS:
            more = block.pop(_MORE, None)
            said: Tree = {"content_block": block, "deltas": more} if more else block
            yield ReadCall(0, "opaque", kind, encode(said).decode())
        case _:
            pass


def _by_index(frames: Sequence[Frame]) -> list[ReadCall]:
    return _calls_of(_content(frames, stream=True))


def _by_newest_block(frames: Sequence[Frame]) -> list[ReadCall]:
    """A client that does not look at indexes: what comes belongs to the block that began last."""
    blocks: list[Tree] = []
    for frame in frames:
        tree: Any = frame.tree or {}
        match tree.get("type"):
            case "content_block_start":
                blocks.append(copy.deepcopy(tree["content_block"]))
            case "content_block_delta":
                _grow(blocks[-1], tree["delta"])
            case _:
                pass
    return _calls_of(map(_closed, blocks))


def _by_event_name(frames: Sequence[Frame]) -> list[ReadCall]:
    """A client that goes by the name of an event and not by the type in its data."""
    return _by_index([Frame(frame.tree | {"type": frame.event}) for frame in frames if frame.tree and frame.event])


def _sdk_stream(accumulate: Callable[[Any, Any, dict[int, bytes]], Any]) -> ReadCalls:
    """The official SDK: it passes over events without a name, and over pings by their name."""

    def read(frames: Sequence[Frame]) -> list[ReadCall]:
        snapshot, pieces = None, dict[int, bytes]()
        events = [frame for frame in frames if frame.tree and frame.event not in (None, "ping", "error")]
        for frame in events:
            snapshot = accumulate(copy.deepcopy(frame.tree), snapshot, pieces)
        if snapshot is None:
            return []
        blocks = snapshot.to_dict(warnings=False)["content"]
        for block, whole in zip(blocks, _content(events, stream=True), strict=True):  # of what it does not know itself
            block |= {_MORE: whole[_MORE]} if _MORE in whole else {}
        return _calls_of(blocks)

    return read


def _accumulate(tree: Tree, snapshot: Any, pieces: dict[int, bytes]) -> Any:
    from anthropic._models import construct_type
    from anthropic.lib.streaming._messages import accumulate_event
    from anthropic.types import RawMessageStreamEvent

    event: Any = construct_type(type_=RawMessageStreamEvent, value=tree)
    return accumulate_event(event=event, current_snapshot=snapshot, json_bufs=pieces)


def _accumulate_beta(tree: Tree, snapshot: Any, pieces: dict[int, bytes]) -> Any:
    import httpx2
    from anthropic._models import construct_type
    from anthropic.lib.streaming._beta_messages import accumulate_event
    from anthropic.types.beta import BetaRawMessageStreamEvent

    event: Any = construct_type(type_=BetaRawMessageStreamEvent, value=tree)
    return accumulate_event(
        event=event, current_snapshot=snapshot, json_bufs=pieces, request_headers=httpx2.Headers({})
    )


def _sdk_whole(frames: Sequence[Frame]) -> list[ReadCall]:
    from anthropic._models import construct_type
    from anthropic.types import Message

    answer: Any = construct_type(type_=Message, value=copy.deepcopy(frames[0].tree))
    return _calls_of(answer.to_dict(warnings=False)["content"])


def _plain_whole(frames: Sequence[Frame]) -> list[ReadCall]:
    return _calls_of(_content(frames, stream=False))


_STREAM_READERS: Mapping[str, ReadCalls] = {
    "official SDK": _sdk_stream(_accumulate),
    "official SDK, beta": _sdk_stream(_accumulate_beta),
    "by index": _by_index,
    "by the newest block": _by_newest_block,
    "by event name": _by_event_name,
}
_WHOLE_READERS: Mapping[str, ReadCalls] = {"official SDK": _sdk_whole, "by hand": _plain_whole}


def _faults_of_stream(frames: Sequence[Frame]) -> Iterator[str]:
    """One beginning, blocks in order and each ended, and one end."""
    kinds = [frame.tree["type"] for frame in frames if frame.tree and frame.tree["type"] != "ping"]
    if kinds[:1] != ["message_start"] or kinds.count("message_start") != 1:
        yield "the message does not begin once, and first"
    if kinds[-2:] != ["message_delta", "message_stop"] or kinds.count("message_stop") != 1:
        yield "the message does not end once, and last"
    if any(frame.tree and frame.event != frame.tree["type"] for frame in frames):
        yield "an event is called something else than its type"
    begun = [frame.tree["index"] for frame in frames if frame.tree and frame.tree["type"] == "content_block_start"]
    ended = [frame.tree["index"] for frame in frames if frame.tree and frame.tree["type"] == "content_block_stop"]
    if begun != list(range(len(begun))):
        yield f"blocks begin at {begun}"
    if sorted(map(str, ended)) != sorted(map(str, begun)):
        yield f"blocks end at {ended}"
