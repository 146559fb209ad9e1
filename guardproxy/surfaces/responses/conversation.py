"""The input items as messages: what guards see of the conversation so far."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKey, Message, ToolCall, ToolResult
from guardproxy.strict_json import JsonObject, encode
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.responses.checks import fault, refused, string
from guardproxy.surfaces.responses.contract import CONTRACT, RESULTS
from guardproxy.surfaces.responses.items import SHAPES, ItemFault, spoken

REFERENCE = "item_reference"

_PARTS = CONTRACT["content parts"]
_KINDS = {"input_image": "image", "computer_screenshot": "image", "input_audio": "audio", "input_file": "file"}


@dataclass(slots=True)
class Seen:
    """What was found in a conversation besides its messages. `hidden` are kinds that only the provider can read."""

    uninspected: set[str] = field(default_factory=set)
    hidden: dict[str, str] = field(default_factory=dict)  # by kind, where one was found first

    def hide(self, kind: str, at: str) -> None:
        self.uninspected.add(kind)
        self.hidden.setdefault(kind, at)


def type_of(item: Mapping[str, Any]) -> str:
    """The API lets two types go unsaid."""
    type = item.get("type")
    if type is None:
        return "message" if "role" in item else REFERENCE
    return type if isinstance(type, str) else ""


def own_items(tree: Mapping[str, Any]) -> list[JsonObject]:
    """The input as items."""
    given = tree.get("input")
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        raise fault("input", "a string or a list")
    for i, item in enumerate(given):
        if not isinstance(item, dict):
            raise fault(f"input[{i}]", "an object")
    return given


def messages(items: Sequence[JsonObject], seen: Seen, allowed: frozenset[str] | None) -> Iterator[Message]:
    """The messages of a conversation, in its order. `allowed` are items that an operator lets through; None is all."""
    tools_by_id: dict[str, str] = {}
    for i, item in enumerate(items):
        at, type = f"input[{i}]", type_of(item)
        if type not in CONTRACT["input items"]:
            if allowed is not None and f"input.{type}" not in allowed:
                raise refused(f"{at}.type", "this proxy does not know such items", "item_refused")
            seen.uninspected.add("other")
        elif CONTRACT["input items"][type] is Treatment.COUNTED:
            seen.hide(type, at)
        try:
            yield from _messages(item, type, at, seen, tools_by_id)
        except ItemFault as error:
            raise MalformedRequest(f"'{at}' cannot be read: {error}.", param=at) from None


def _messages(item: JsonObject, type: str, at: str, seen: Seen, tools: dict[str, str]) -> Iterator[Message]:
    if type == "message":
        yield Message(string(item, "role", f"{at}.role"), _text(item.get("content"), f"{at}.content", seen))
    elif type in SHAPES:
        call = ToolCall(CallKey(0, 0), *_past_call(item))
        tools[call.id] = call.name
        yield Message("assistant", "", (call,))
    elif (result := result_of(item, at, seen, tools)) is not None:
        yield Message("tool", result.text, (), result)


def _past_call(item: JsonObject) -> tuple[Any, str, str, str]:
    said = spoken(item)
    return said.kind, said.id, said.name, said.arguments


def result_of(item: JsonObject, at: str, seen: Seen, tools: Mapping[str, str]) -> ToolResult | None:
    """What a tool has answered, as this item reports it."""
    type = type_of(item)
    if type == "mcp_call":
        output = item.get("output")
        if not isinstance(output, str):
            return None
        return ToolResult.of(str(item.get("id")), f"{item.get('server_label')}.{item.get('name')}", output)
    if type not in RESULTS:
        return None
    call_id = str(item.get("call_id") or item.get("id") or "")
    name, space = item.get("name"), item.get("namespace")
    said = f"{space}.{name}" if space and name else str(name or "")
    return ToolResult.of(call_id, tools.get(call_id) or said, _output(item, type, f"{at}.output", seen))


def _output(item: JsonObject, type: str, at: str, seen: Seen) -> str:
    if type == "tool_search_output":
        return encode(item.get("tools")).decode()
    output = item.get("output")
    match output:
        case dict():
            return _part(output, at, seen)
        case list() if type == "shell_call_output":
            return "\n".join(_streams(chunk, f"{at}[{i}]") for i, chunk in enumerate(output))
        case _:
            return _text(output, at, seen)


def _streams(chunk: object, at: str) -> str:
    if not isinstance(chunk, dict):
        raise fault(at, "an object")
    texts = (chunk.get(name) for name in ("stdout", "stderr"))
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _text(content: object, at: str, seen: Seen) -> str:
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "\n".join(_part(part, f"{at}[{i}]", seen) for i, part in enumerate(content))
        case _:
            raise fault(at, "a string or a list of parts")


def _part(part: object, at: str, seen: Seen) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise fault(at, "an object")
    type = part.get("type")
    if _PARTS.get(str(type)) is not Treatment.PASSED:
        kind = _KINDS.get(str(type), "other")
        if part.get("file_id") is not None:
            seen.hide(kind, at)
        seen.uninspected.add(kind)
    text = part.get("text", part.get("refusal", ""))
    if not isinstance(text, str):
        raise fault(f"{at}.text", "a string")
    return text
