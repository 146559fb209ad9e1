"""Responses: how servers write a turn, and how clients read it."""

import copy
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardproxy.model import CallKind
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import encode
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import RequestRules, Surface
from guardproxy.testing.script import Call, Part, ReadCall, ReadCalls, Reasoning, Shape, Text, Tree, cut, interleave

_TERMINAL = frozenset({"response.completed", "response.incomplete"})
_OF_NAMESPACE = "function_call of a namespace"
_APPROVAL = "mcp_approval_request"
_TEXTS = {
    "function_call": "arguments",
    _OF_NAMESPACE: "arguments",
    "custom_tool_call": "input",
    _APPROVAL: "arguments",
}
_TEXT_EVENTS = {
    "function_call": "function_call_arguments",
    _OF_NAMESPACE: "function_call_arguments",
    "custom_tool_call": "custom_tool_call_input",
}
_SPACES = {_OF_NAMESPACE: "namespace", _APPROVAL: "server_label"}
"""The field that says whose tool it is."""
_STRUCTURES = {
    "shell_call": ("action",),
    "local_shell_call": ("action",),
    "apply_patch_call": ("operation",),
    "computer_call": ("action", "actions"),
    "tool_search_call": ("arguments",),
}
_TOOLS: Mapping[str, Tree] = {
    "shell_call": {"type": "shell", "environment": {"type": "local"}},
    "local_shell_call": {"type": "local_shell"},
    "apply_patch_call": {"type": "apply_patch"},
    "computer_call": {"type": "computer"},
    "tool_search_call": {"type": "tool_search", "execution": "client"},
}


def _builtin(type: str, tool: str, sample: str, rewritten: str) -> Shape:
    return Shape(type, CallKind.BUILTIN, sample, tool, rewritten)


class ResponsesWire:
    name = "responses"
    surface: Surface = Responses()
    shapes: Mapping[str, Shape] = {
        shape.name: shape
        for shape in (
            Shape("function_call", CallKind.FUNCTION),
            Shape(_OF_NAMESPACE, CallKind.FUNCTION, tool="files.read"),
            Shape("custom_tool_call", CallKind.CUSTOM, "cat MARK", rewritten="true", free_text=True),
            _builtin("shell_call", "shell", '{"commands":["MARK"]}', '{"commands":["true"]}'),
            _builtin(
                "local_shell_call",
                "local_shell",
                '{"type":"exec","command":["MARK"],"env":{}}',
                '{"type":"exec","command":["true"],"env":{}}',
            ),
            _builtin(
                "apply_patch_call",
                "apply_patch",
                '{"type":"create_file","path":"a","diff":"MARK"}',
                '{"type":"delete_file","path":"b"}',
            ),
            _builtin(
                "computer_call",
                "computer",
                '{"action":{"type":"wait"},"actions":[{"type":"type","text":"MARK"}]}',
                '{"actions":[{"type":"wait"}]}',
            ),
            _builtin("tool_search_call", "tool_search", '{"query":"MARK"}', '{"query":"fixed"}'),
            Shape(_APPROVAL, CallKind.APPROVAL, tool="docs.read", rewritten=None),
            Shape("opaque", CallKind.OPAQUE, '{"a":"MARK"}', tool="future_call", rewritten=None),
        )
    }
    most_choices = 1
    interleaves = True
    settings: Mapping[str, Any] = {"request_rules": RequestRules(allow_provider_tools=frozenset({"mcp"}))}

    def request(self, *, stream: bool, n: int = 1, calls: Sequence[Call] = (), **fields: Any) -> Tree:
        tools = {call.name: _tool(call) for call in calls if call.shape != "opaque"}
        declared: Tree = {"tools": list(tools.values())} if tools else {}
        return {"model": "m", "input": "Do it.", "stream": stream, **declared, **fields}

    def frames(self, parts: Sequence[Part], order: Sequence[int] | None = None) -> list[Frame]:
        tracks = [list(_track(part, place)) for place, part in enumerate(parts)]
        return _stream([event for piece in interleave(tracks, order) for event in piece["events"]], parts)

    def whole(self, parts: Sequence[Part]) -> Tree:
        return _response("completed", [_item(part, place) for place, part in enumerate(parts)])

    def variants(self, parts: Sequence[Part]) -> Mapping[str, Sequence[Frame]]:
        return {name: _stream(list(write(parts)), parts) for name, write in _VARIANTS.items()}

    def readers(self, *, stream: bool) -> Mapping[str, ReadCalls]:
        return _STREAM_READERS if stream else _WHOLE_READERS

    def ended(self, frames: Sequence[Frame]) -> bool:
        last: Any = frames[-1].tree if frames else None
        return bool(last) and (last.get("type") in _TERMINAL or last.get("object") == "response")

    def texts(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        response = _ending(frames)
        if response is None:
            return {0: "".join(event["delta"] for event in _events(frames) if _is_text_delta(event))}
        return {0: "".join(_texts(item) for item in response["output"])}

    def stops(self, frames: Sequence[Frame], *, stream: bool) -> Mapping[int, str]:
        response = _ending(frames) or {}
        if (response.get("incomplete_details") or {}).get("reason") == "content_filter":
            return {0: "filter"}
        return {0: "calls" if _read_items(response.get("output") or []) else "end"}

    def faults(self, frames: Sequence[Frame], *, stream: bool) -> list[str]:
        """Numbers and indexes without gaps, items that begin and end, and a list at the end that is of these items."""
        if not stream:
            return []
        return [*_wrong_order(frames), *_wrong_items(frames)]


# --- writing -----------------------------------------------------------------------------------------------------


def _tool(call: Call) -> Tree:
    if call.shape in _TOOLS:
        return dict(_TOOLS[call.shape])
    space, _, name = call.name.rpartition(".")
    match call.shape:
        case "function_call":
            return {"type": "function", "name": call.name}
        case "custom_tool_call":
            return {"type": "custom", "name": call.name}
        case _ if call.shape == _APPROVAL:
            return {"type": "mcp", "server_label": space, "server_url": "http://127.0.0.1", "allowed_tools": [name]}
        case _:
            return {"type": "namespace", "name": space, "tools": [{"type": "function", "name": name}]}


def _response(status: str, output: Sequence[Tree], **more: Any) -> Tree:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "m"}
    rest: Tree = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None}
    usage: Tree = {"usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}} if output else {}
    return {**head, **rest, **usage, "output": list(output), "incomplete_details": None, **more}


def _stream(events: Iterable[Tree], parts: Sequence[Part]) -> list[Frame]:
    started = _response("in_progress", [])
    items = [_item(part, place) for place, part in enumerate(parts)]
    every = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
        *events,
        {"type": "response.completed", "response": _response("completed", items)},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(copy.deepcopy(every))]
    return [Frame(event, event["type"]) for event in numbered]


def _item(part: Part, place: int, *, arguments: str | None = None, status: str = "completed") -> Tree:
    """A part as a whole item."""
    match part:
        case Text(text):
            return _message(place, [_output_text(text)], status)
        case Reasoning(text):
            summary = [{"type": "summary_text", "text": text}] if arguments is None else []
            return {"id": f"rs_{place}", "type": "reasoning", "summary": summary}
        case Call():
            return _call(part, part.arguments if arguments is None else arguments, status)


def _message(place: int, content: Sequence[Tree], status: str = "completed") -> Tree:
    return {"id": f"msg_{place}", "type": "message", "status": status, "role": "assistant", "content": list(content)}


def _output_text(text: str) -> Tree:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(call: Call, arguments: str, status: str) -> Tree:
    noise: Tree = {"unknown": call.noise} if call.noise else {}
    base: Tree = {"id": f"item_{call.id}", "call_id": call.id, "status": status, **noise}
    if call.shape == "opaque":
        return {**base, "type": call.name, "payload": call.arguments}
    if call.shape == _APPROVAL:
        return {"id": call.id, "type": _APPROVAL, **_named(call), "arguments": arguments, **noise}
    if call.shape in _TEXTS:
        type = "function_call" if call.shape == _OF_NAMESPACE else call.shape
        return {**base, "type": type, **_named(call), _TEXTS[call.shape]: arguments}
    value = json.loads(call.arguments)
    fields = _STRUCTURES[call.shape]
    body = value if len(fields) > 1 else {fields[0]: value}
    return {**base, "type": call.shape, **body, **_MORE.get(call.shape, {})}


def _named(call: Call) -> Tree:
    if call.shape not in _SPACES:
        return {"name": call.name}
    space, _, name = call.name.rpartition(".")
    return {_SPACES[call.shape]: space, "name": name}


_MORE: Mapping[str, Tree] = {
    "computer_call": {"pending_safety_checks": []},
    "tool_search_call": {"execution": "client"},
    "shell_call": {"environment": {"type": "local"}},
}


def _track(part: Part, place: int) -> Iterator[Tree]:
    """A part's events, those that belong together in one piece."""
    match part:
        case Text():
            yield from _text_track(part, place)
        case Reasoning():
            yield from _reasoning_track(part, place)
        case Call() if part.shape in _TEXT_EVENTS:
            yield from _text_call_track(part, place)
        case Call(shape="shell_call"):
            yield from _shell_track(part, place)
        case Call():
            yield _piece(_added(part, place))
            yield _piece(_done(part, place))


def _piece(*events: Tree) -> Tree:
    return {"events": list(events)}


def _added(part: Part, place: int, **more: Any) -> Tree:
    item = _item(part, place, arguments="", status="in_progress") | more
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def _done(part: Part, place: int) -> Tree:
    return {"type": "response.output_item.done", "output_index": place, "item": _item(part, place)}


def _text_track(part: Text, place: int) -> Iterator[Tree]:
    at = {"item_id": f"msg_{place}", "output_index": place, "content_index": 0}
    yield _piece(
        _added(part, place, content=[]),
        {"type": "response.content_part.added", **at, "part": _output_text("")},
    )
    for word in re.findall(r"\s*\S+|\s+$", part.text):
        yield _piece({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []})
    yield _piece(
        {"type": "response.output_text.done", **at, "text": part.text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": _output_text(part.text)},
        _done(part, place),
    )


def _reasoning_track(part: Reasoning, place: int) -> Iterator[Tree]:
    at = {"item_id": f"rs_{place}", "output_index": place, "summary_index": 0}
    summary = {"type": "summary_text", "text": part.text}
    yield _piece(
        _added(part, place),
        {"type": "response.reasoning_summary_part.added", **at, "part": {**summary, "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **at, "delta": part.text},
        {"type": "response.reasoning_summary_text.done", **at, "text": part.text},
        {"type": "response.reasoning_summary_part.done", **at, "part": summary},
        _done(part, place),
    )


def _text_call_track(call: Call, place: int) -> Iterator[Tree]:
    at = {"item_id": f"item_{call.id}", "output_index": place}
    events, noise = _TEXT_EVENTS[call.shape], ({"obfuscation": call.noise} if call.noise else {})
    for count, piece in enumerate(cut(call.arguments, call.pieces)):
        delta = {"type": f"response.{events}.delta", **at, "delta": piece, **noise}
        yield _piece(*([] if count else [_added(call, place)]), delta)
    yield _piece(
        {"type": f"response.{events}.done", **at, _TEXTS[call.shape]: call.arguments, **noise}, _done(call, place)
    )


def _shell_track(call: Call, place: int) -> Iterator[Tree]:
    """The commands as they are written; the item is complete when it is done."""
    commands = json.loads(call.arguments)["commands"]
    yield _piece(_added(call, place, action={"commands": []}))
    for index, command in enumerate(commands):
        at = {"output_index": place, "command_index": index}
        yield _piece({"type": "response.shell_call_command.added", **at, "command": ""})
        for piece in cut(command, call.pieces):
            yield _piece({"type": "response.shell_call_command.delta", **at, "delta": piece})
        yield _piece({"type": "response.shell_call_command.done", **at, "command": command})
    yield _piece(_done(call, place))


def _done_items_only(parts: Sequence[Part]) -> Iterator[Tree]:
    for place, part in enumerate(parts):
        yield _done(part, place)


def _nothing_but_the_end(parts: Sequence[Part]) -> Iterator[Tree]:
    yield from ()


def _without_deltas(parts: Sequence[Part]) -> Iterator[Tree]:
    """Texts and arguments in their done events alone."""
    for place, part in enumerate(parts):
        for piece in _track(part, place):
            for event in piece["events"]:
                if not event["type"].endswith(".delta") or "shell" in event["type"]:
                    yield event


def _unnumbered(parts: Sequence[Part]) -> Iterator[Tree]:
    """No call's arguments but in its item, when that is done."""
    for place, part in enumerate(parts):
        if isinstance(part, Call):
            yield _added(part, place)
            yield _done(part, place)
        else:
            for piece in _track(part, place):
                yield from piece["events"]


_VARIANTS: Mapping[str, Callable[[Sequence[Part]], Iterator[Tree]]] = {
    "done items only": _done_items_only,
    "the terminal event only": _nothing_but_the_end,
    "without deltas": _without_deltas,
    "items without pieces": _unnumbered,
}


# --- reading -----------------------------------------------------------------------------------------------------


def _events(frames: Iterable[Frame]) -> Iterator[Tree]:
    for frame in frames:
        if frame.tree is not None:
            yield dict(frame.tree)


def _ending(frames: Sequence[Frame]) -> Any:
    """The complete answer: of the terminal event, or the whole body."""
    for event in _events(frames):
        if event.get("type") in _TERMINAL:
            return event["response"]
        if event.get("object") == "response":
            return event
    return None


def _is_text_delta(event: Tree) -> bool:
    return event.get("type") in ("response.output_text.delta", "response.refusal.delta")


def _texts(item: Tree) -> str:
    if item["type"] != "message":
        return ""
    return "".join(part.get("text", "") + part.get("refusal", "") for part in item["content"])


_NO_CALLS = frozenset({"message", "reasoning"})


def _read_items(items: Iterable[Tree]) -> list[ReadCall]:
    return [_read_item(item) for item in items if item["type"] not in _NO_CALLS]


def _read_item(item: Tree) -> ReadCall:
    type = item["type"]
    if type in _TEXTS:
        space = item.get("server_label" if type == _APPROVAL else "namespace")
        name = f"{space}.{item['name']}" if space else item["name"]
        return ReadCall(0, type, name, item.get(_TEXTS[type]) or "")
    if type not in _STRUCTURES:
        return ReadCall(0, "opaque", type, encode(item).decode())
    given = {field: item[field] for field in _STRUCTURES[type] if item.get(field) is not None}
    value = given if len(_STRUCTURES[type]) > 1 else next(iter(given.values()), None)
    return ReadCall(0, type, type.removesuffix("_call"), encode(value).decode())


def _from_terminal(frames: Sequence[Frame]) -> list[ReadCall]:
    response = _ending(frames)
    return _read_items(response["output"]) if response else []


def _from_done_items(by: str) -> ReadCalls:
    """A client that acts when an item is done, and knows items by their index or by their id."""

    def read(frames: Sequence[Frame]) -> list[ReadCall]:
        found: dict[Any, Tree] = {}
        for event in _events(frames):
            if event.get("type") == "response.output_item.done":
                found[event.get("output_index") if by == "index" else event["item"].get("id")] = event["item"]
        return _read_items(found.values()) if found else _from_terminal(frames)

    return read


def _from_pieces(frames: Sequence[Frame]) -> list[ReadCall]:
    """A client that puts the pieces together itself, in the item that was added."""
    items: dict[str, Tree] = {}
    grown: set[str] = set()
    for event in copy.deepcopy(list(_events(frames))):
        type = str(event.get("type"))
        if type.startswith("response.output_item."):
            if event["item"]["id"] not in grown:
                items[event["item"]["id"]] = event["item"]
        elif type.startswith("response.shell_call_command."):
            _grow_command([*items.values()][event["output_index"]], event, type, grown)
        elif type.removesuffix(".delta").removeprefix("response.") in _TEXT_EVENTS.values():
            item = items[event["item_id"]]
            item[_TEXTS[item["type"]]] += event["delta"]
            grown.add(event["item_id"])
    return _read_items(items.values()) if items else _from_terminal(frames)


def _grow_command(item: Tree, event: Tree, type: str, grown: set[str]) -> None:
    commands = item["action"]["commands"]
    grown.add(item["id"])
    if type.endswith(".added"):
        commands.append(event["command"])
    elif type.endswith(".delta"):
        commands[event["command_index"]] += event["delta"]


def _sdk_stream(frames: Sequence[Frame]) -> list[ReadCall]:
    """The official SDK's streaming helper. It has an answer only where that was completed."""
    from openai import omit
    from openai._models import construct_type
    from openai.lib.streaming.responses._responses import ResponseStreamState
    from openai.types.responses import ResponseStreamEvent

    state: Any = ResponseStreamState(text_format=omit, input_tools=omit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, about items of a type that nobody knows
        for event in _events(frames):
            state.handle_event(construct_type(type_=ResponseStreamEvent, value=copy.deepcopy(event)))
    if state._completed_response is None:
        return []
    return _read_items(state._completed_response.to_dict(warnings=False)["output"])


def _sdk_whole(frames: Sequence[Frame]) -> list[ReadCall]:
    from openai._models import construct_type
    from openai.types.responses import Response

    answer: Any = construct_type(type_=Response, value=copy.deepcopy(frames[0].tree))
    return _read_items(answer.to_dict(warnings=False)["output"])


_STREAM_READERS: Mapping[str, ReadCalls] = {
    "official SDK": _sdk_stream,
    "the terminal event": _from_terminal,
    "done items by index": _from_done_items("index"),
    "done items by id": _from_done_items("id"),
    "pieces": _from_pieces,
}
_WHOLE_READERS: Mapping[str, ReadCalls] = {"official SDK": _sdk_whole, "by hand": _from_terminal}


# --- objections --------------------------------------------------------------------------------------------------


def _wrong_order(frames: Sequence[Frame]) -> Iterator[str]:
    events = list(_events(frames))
    numbers = [event.get("sequence_number") for event in events]
    if numbers != list(range(len(events))):
        yield f"sequence numbers are {numbers}"
    if [event["type"] in _TERMINAL for event in events].index(True) != len(events) - 1:
        yield "the terminal event is not the last"
    ids = {event["response"]["id"] for event in events if "response" in event}
    if len(ids) != 1:
        yield f"{len(ids)} ids"
    if any(frame.event != (frame.tree or {}).get("type") for frame in frames):
        yield "an event has another name than its type"


def _wrong_items(frames: Sequence[Frame]) -> Iterator[str]:
    events = list(_events(frames))
    added = [event for event in events if event["type"] == "response.output_item.added"]
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    if [event["output_index"] for event in added] != list(range(len(added))):
        yield f"items were added at {[event['output_index'] for event in added]}"
    if len({event["item"]["id"] for event in added}) != len(added):
        yield "two items have one id"
    if list(_ending(frames)["output"]) != [done.get(event["output_index"]) for event in added]:
        yield "the list at the end is not of the items that were done"
    for event in added:
        yield from _wrong_texts(events, event["output_index"], event["item"]["id"])


def _wrong_texts(events: Sequence[Tree], index: int, id: str) -> Iterator[str]:
    own = [event for event in events if event.get("item_id") == id]
    if any(event["output_index"] != index for event in own):
        yield f"item {index} has events of another index"
    kinds = {"output_text": "text", "refusal": "refusal", **{event: _TEXTS[k] for k, event in _TEXT_EVENTS.items()}}
    for event in own:
        kind = event["type"].removeprefix("response.").removesuffix(".done")
        if kind in kinds and event[kinds[kind]] != _said(own, kind, event.get("content_index")):
            yield f"item {index} was done with another text than it had"


def _said(events: Iterable[Tree], kind: str, content_index: int | None) -> str:
    deltas = (event for event in events if event["type"] == f"response.{kind}.delta")
    return "".join(event["delta"] for event in deltas if event.get("content_index") == content_index)
