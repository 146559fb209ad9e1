"""The ways in which the proxy edits a request of the Messages API."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from guardproxy.model import CallKey, CallKind, Injection, Position, Request, ToolCall, Turn
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.messages.amend import input_of, plain_block
from guardproxy.surfaces.messages.blocks import Block


def with_injection(request: Request, injection: Injection) -> Request:
    """The learned prefix: as the beginning of the assistant's turn, or at the end of the instructions."""
    if injection.position is Position.INSTRUCTION:
        system = _joined(request.tree.get("system"), injection.text)
        return replace(request, tree={**request.tree, "system": system})
    if injection.position is Position.SUFFIX:
        suffixed = _with_suffix(request.tree["messages"], injection.text)
        return replace(request, tree={**request.tree, "messages": suffixed})
    prefill: JsonObject = {"role": "assistant", "content": injection.text}
    return _with_messages(request, [prefill])


def _with_suffix(messages: Sequence[Any], text: str) -> list[Json]:
    """At the end of the last message of the user, behind the tool results that it may hold; said by the user where
    there is none."""
    last = next((i for i in reversed(range(len(messages))) if messages[i].get("role") == "user"), None)
    if last is None:
        return [*messages, {"role": "user", "content": text}]
    joined = messages[last] | {"content": _joined(messages[last].get("content"), text)}
    return [*messages[:last], joined, *messages[last + 1 :]]


def _joined(content: Any, text: str) -> Json:
    if isinstance(content, list):  # the blocks before keep their place in the provider's cache
        return [*content, {"type": "text", "text": text}]
    return f"{content}\n\n{text}" if content else text


def with_feedback(request: Request, turn: Turn, feedback: Mapping[CallKey, str], said: Sequence[Block] = ()) -> Request:
    """The turn as the model said it, answered by a synthetic result for every call of it.

    `said` are the blocks of the answer: where the model was thinking, the provider wants its thoughts back, signed.
    """
    content: list[Json] = [b for b in map(_said_again, said) if b] if said else list(_turn_content(turn))
    answers: list[Json] = [_answer(call, feedback[call.key]) for call in turn.calls]
    return _with_messages(request, [{"role": "assistant", "content": content}, {"role": "user", "content": answers}])


def _said_again(block: Block) -> Json:
    """A block of an answer as one of a request; None for what a request may not hold."""
    again = plain_block(block)
    match block.type:
        case "text":
            return {"type": "text", "text": block.text} if block.text.strip() else None
        case "thinking":
            return again | {"thinking": block.text} | block.late
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            return again | {"input": input_of(block.arguments)}
        case _:
            return again | block.late


def _turn_content(turn: Turn) -> Iterator[Json]:
    text = turn.texts.get(0, "")
    if text.strip():
        yield {"type": "text", "text": text}
    for call in turn.calls:
        if call.kind is not CallKind.TEXT:
            yield {"type": "tool_use", "id": call.id, **_name(call), "input": input_of(call.arguments)}


def _answer(call: ToolCall, text: str) -> Json:
    if call.kind is CallKind.TEXT:  # an agent that parses text also answers in text
        return {"type": "text", "text": f"Observation: {text}"}
    toolset = _name(call).get("toolset_name")
    named: JsonObject = {"toolset_name": toolset} if toolset else {}
    return {"type": "tool_result", "tool_use_id": call.id, **named, "content": text, "is_error": True}


def _name(call: ToolCall) -> JsonObject:
    """The member of a toolset is called `toolset.member` here, and by two fields in the API."""
    toolset, dot, member = call.name.partition(".")
    if call.kind is CallKind.BUILTIN and dot:
        return {"name": member, "toolset_name": toolset}
    return {"name": call.name}


def without_results(request: Request, digests: frozenset[str], notice: str) -> Request:
    """Tool results that a guard flagged, replaced by a notice. A request's results are those of its tree, in order."""
    results = iter(request.results)

    def checked(block: Any) -> Any:
        if not isinstance(block, dict) or block.get("type") != "tool_result":
            return block
        result = next(results, None)
        return block | {"content": notice} if result is not None and result.digest in digests else block

    def edited(message: Any) -> Any:
        content = message.get("content")
        return message | {"content": [checked(b) for b in content]} if isinstance(content, list) else message

    return replace(request, tree={**request.tree, "messages": [edited(m) for m in request.tree["messages"]]})


def _with_messages(request: Request, more: Sequence[JsonObject]) -> Request:
    return replace(request, tree={**request.tree, "messages": [*request.tree["messages"], *more]})
