"""The ways in which the proxy edits a request, and what it remembers of a stored answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from guardproxy.decision import Permit
from guardproxy.history import Past
from guardproxy.model import CallKey, CallKind, Injection, Position, Request, ToolCall, ToolSpec, Turn
from guardproxy.strict_json import Json, JsonObject, MalformedJson, decode
from guardproxy.surfaces.responses.checks import hidden_refusal
from guardproxy.surfaces.responses.conversation import REFERENCE, Seen, messages, own_items, result_of, type_of
from guardproxy.surfaces.responses.items import BUILTIN_TYPES, SHAPES, answer, with_result
from guardproxy.surfaces.responses.plan import refusal_item, written
from guardproxy.surfaces.responses.reader import ResponsesReader
from guardproxy.surfaces.responses.request import ResponsesRequest, instructions, tools_of
from guardproxy.surfaces.responses.seen import Item
from guardproxy.surfaces.responses.tools import named
from guardproxy.surfaces.responses.writer import ResponsesWriter
from guardproxy.surfaces.surface import Refusal

_REFUSED = "Not executed: this call was refused. Do not repeat it."
_REFUSED_NOTE = "[guardproxy] A tool call of the last answer was refused and not executed. Do not repeat it."


def with_injection(request: Request, injection: Injection) -> Request:
    """The learned prefix, at the end of the instructions or of what the user said last."""
    if injection.position is Position.SUFFIX:
        return replace(request, tree={**request.tree, "input": _with_suffix(own_items(request.tree), injection.text)})
    given = request.tree.get("instructions")
    text = f"{given}\n\n{injection.text}" if given else injection.text
    return replace(request, tree={**request.tree, "instructions": text})


def _with_suffix(items: Sequence[JsonObject], text: str) -> list[Json]:
    """Where the input holds no word of the user's, which then lie in a stored answer, they say the suffix alone."""
    last = next((i for i in reversed(range(len(items))) if items[i].get("role") == "user"), None)
    if last is None:
        return [*items, {"type": "message", "role": "user", "content": text}]
    content = items[last].get("content")
    if isinstance(content, list):
        joined: Json = [*content, {"type": "input_text", "text": text}]
    else:
        joined = f"{content}\n\n{text}" if content else text
    return [*items[:last], {**items[last], "content": joined}, *items[last + 1 :]]


def with_feedback(request: Request, turn: Turn, feedback: Mapping[CallKey, str]) -> Request:
    """The turn as the model said it, answered by a synthetic result for every call of it.

    What a conversation of the provider's already holds is not said again.
    """
    said: list[JsonObject] = []
    answers: list[JsonObject] = []
    if text := turn.texts.get(0):
        said.append({"type": "message", "role": "assistant", "content": text})
    for call in turn.calls:
        if call.kind is CallKind.TEXT:  # an agent that parses text also answers in text
            answers.append({"type": "message", "role": "user", "content": f"Observation: {feedback[call.key]}"})
            continue
        item = _item_of(call, request)
        said.append(item)
        answers.append(answer(item, feedback[call.key]))
    before = [] if request.conversation else [*own_items(request.tree), *said]
    return replace(request, tree={**request.tree, "input": [*before, *answers]})


def _item_of(call: ToolCall, request: Request) -> JsonObject:
    """A call as an input item."""
    if call.kind is CallKind.BUILTIN:
        return _builtin(call)
    space, name = _split(call, request)
    if call.kind is CallKind.APPROVAL:
        label: JsonObject = {"server_label": space, "name": name, "arguments": call.arguments}
        return {"type": "mcp_approval_request", "id": call.id, **label}
    type, field = ("custom_tool_call", "input") if call.kind is CallKind.CUSTOM else ("function_call", "arguments")
    item: JsonObject = {"type": type, "call_id": call.id, "name": name, field: call.arguments}
    return {**item, "namespace": space} if space else item


def _split(call: ToolCall, request: Request) -> tuple[str, str]:
    """The namespace or the server of a call, and its name there. A dot may be part of a name too."""
    tools: Sequence[Any] = request.tree.get("tools") or []
    if call.name in named(tools, call.kind.value, "name"):
        return "", call.name
    approval = call.kind is CallKind.APPROVAL
    spaces = named(tools, "mcp", "server_label") if approval else named(tools, "namespace", "name")
    for space in sorted(spaces, key=len, reverse=True):
        if call.name.startswith(f"{space}."):
            return space, call.name[len(space) + 1 :]
    return "", call.name


def _builtin(call: ToolCall) -> JsonObject:
    type = BUILTIN_TYPES[call.name]
    item: JsonObject = {"type": type, "id": call.id, "call_id": call.id, "status": "completed"}
    try:
        value = decode(call.arguments.encode())
    except MalformedJson:
        value = None
    match type:
        case "computer_call":
            return {**item, "pending_safety_checks": [], **(value if isinstance(value, dict) else {})}
        case "tool_search_call":
            return {**item, "execution": "client", "arguments": value}
        case _:
            return {**item, SHAPES[type].arguments[0]: value}


def without_results(request: Request, digests: frozenset[str], notice: str) -> Request:
    """Tool results that a guard flagged, replaced by a notice. Those of a stored past have been read already."""

    def clean(item: JsonObject) -> JsonObject:
        result = result_of(item, "input", Seen(), {})
        return with_result(item, notice) if result is not None and result.digest in digests else item

    given = request.tree.get("input")
    if not isinstance(given, list):
        return request
    items: list[Json] = [clean(item) for item in given]
    request = replace(request, tree={**request.tree, "input": items})
    if isinstance(request, ResponsesRequest):
        return replace(request, own=tuple(map(clean, request.own)), before=tuple(map(clean, request.before)))
    return request


# --- stored answers ----------------------------------------------------------------------------------------------


def with_references(request: ResponsesRequest, known: Mapping[str, JsonObject]) -> ResponsesRequest:
    """The request with the items that it names in their places, as its client saw them: so they are judged, and what
    goes to the upstream is what was judged."""
    own = tuple(known.get(str(item["id"]), item) if type_of(item) == REFERENCE else item for item in request.own)
    seen = Seen()
    found = tuple(messages(own, seen, None))
    if request.refuses_hidden and seen.hidden:
        raise hidden_refusal(next(iter(seen.hidden.values())))
    return replace(
        request,
        tree={**request.tree, "input": list(own)},
        messages=(*instructions(request.tree), *found),
        tools=(*_new_tools(own, request.tools), *request.tools),
        uninspected=tuple(sorted({*request.uninspected} - {REFERENCE} | seen.uninspected)),
        own=own,
    )


def with_past(request: ResponsesRequest, past: Past, *, whole: bool) -> ResponsesRequest:
    """The request going on from a stored answer."""
    before = (*past.items, *past.pending)
    seen = Seen()
    return replace(
        request,
        tree=_whole_tree(request, before) if whole else _tree_after(request, past),
        messages=(*instructions(request.tree), *messages((*before, *request.own), seen, None)),
        tools=(*_new_tools(before, request.tools), *request.tools),
        uninspected=tuple(sorted({*request.uninspected, *seen.uninspected})),
        before=before,
    )


def _new_tools(items: tuple[JsonObject, ...], known: tuple[ToolSpec, ...]) -> Iterator[ToolSpec]:
    """What a past declares was allowed when it was new."""
    names = {(spec.kind, spec.name) for spec in known}
    return (spec for spec in tools_of(items) if (spec.kind, spec.name) not in names)


def _tree_after(request: ResponsesRequest, past: Past) -> dict[str, Any]:
    tree = dict(request.tree)
    if request.continues:
        tree["previous_response_id"] = past.upstream_id
        if not past.upstream_id:
            del tree["previous_response_id"]
    if past.since or past.pending:
        tree["input"] = [*past.since, *past.pending, *own_items(tree)]
    return tree


def _whole_tree(request: ResponsesRequest, before: tuple[JsonObject, ...]) -> dict[str, Any]:
    tree = {name: v for name, v in request.tree.items() if name not in ("previous_response_id", "conversation")}
    return {**tree, "input": [*before, *own_items(tree)]}


def past(
    request: ResponsesRequest, reader: ResponsesReader, writer: ResponsesWriter, permit: Permit, refusal: Refusal
) -> Past | None:
    """What to remember of a complete answer, under what its client calls it; a conversation keeps its own id."""
    upstream_id = reader.response_id
    if not request.stored or reader.response.get("store") is False or not upstream_id:
        return None
    output, lost = _said(reader, permit, refusal)
    pending = tuple(_pending(reader, permit))
    since: tuple[JsonObject, ...] = ()
    id = request.conversation or writer.id or upstream_id
    if request.conversation:
        upstream_id = request.conversation
        pending = (*pending, *_note(lost))
    elif lost:
        upstream_id = str(request.tree.get("previous_response_id") or "")
        since = (*own_items(request.tree), *output)
    return Past(
        id=id,
        upstream_id=upstream_id,
        items=(*request.before, *request.own, *output),
        pending=pending,
        since=since,
        shown=_shown(reader, writer, output, permit, refusal),
    )


def _said(reader: ResponsesReader, permit: Permit, refusal: Refusal) -> tuple[tuple[JsonObject, ...], bool]:
    """The answer's items as the model said them, and whether one is lost: a blocked call that nobody knows how
    to answer. In its place is what its client saw. The reasoning that led to it cannot stand alone."""
    said: list[JsonObject] = []
    lost = False
    for item in reader.items:
        if not item.listed:
            continue
        if not _blocked(item, permit) or item.type in SHAPES:
            said.append(_as_input(item.tree))
            continue
        while said and said[-1].get("type") == "reasoning":
            said.pop()
        said += [] if lost else [_as_input(refusal_item(permit, refusal))]
        lost = True
    return tuple(said), lost


def _blocked(item: Item, permit: Permit) -> bool:
    return item.call is not None and written(item, permit) is None


def _as_input(item: JsonObject) -> JsonObject:
    """An output item as it goes back in: a log-probability is of no use there."""
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, list):
        return item
    parts: list[Json] = [
        {name: value for name, value in part.items() if name != "logprobs"} if isinstance(part, dict) else part
        for part in content
    ]
    return {**item, "content": parts}


def _pending(reader: ResponsesReader, permit: Permit) -> Iterator[JsonObject]:
    """An answer for every call that the client never sees and that can be answered."""
    for item in reader.items:
        if item.type in SHAPES and _blocked(item, permit):
            yield answer(item.tree, _REFUSED)


def _note(lost: bool) -> Iterator[JsonObject]:
    """A conversation of the provider's keeps a call that nobody can answer, so it is told in words."""
    if lost:
        yield {"type": "message", "role": "developer", "content": _REFUSED_NOTE}


def _shown(
    reader: ResponsesReader,
    writer: ResponsesWriter,
    said: tuple[JsonObject, ...],
    permit: Permit,
    refusal: Refusal,
) -> dict[str, JsonObject]:
    """The answer's items as the client saw them, by id. One that it was not shown is to it what it saw instead."""
    shown: dict[str, JsonObject] = {}
    refused = _as_input(refusal_item(permit, refusal))
    for item in reader.items:
        if item.listed and _blocked(item, permit):
            shown[str(item.tree.get("id"))] = refused
    alike = {str(item.get("id")): item for item in said}
    for given in writer.items:
        id, tree = str(given.get("id")), _as_input(given)
        shown[id] = alike[id] if alike.get(id) == tree else tree  # one object, so that it is kept once
    shown.pop(str(None), None)
    return shown
