"""Reading a chat completions request, and the three ways in which the proxy edits one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from guardproxy.errors import MalformedRequest
from guardproxy.model import (
    CallKey,
    CallKind,
    Injection,
    Message,
    Position,
    Request,
    ToolCall,
    ToolResult,
    ToolSpec,
    Turn,
)
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.chat_completions.fields import PROVIDER_TOOL_FIELDS, SAMPLER_FIELDS, SDK_FIELDS, TOOL_TYPES
from guardproxy.surfaces.surface import RequestRules

MAX_CHOICES = 128


def parse(tree: JsonObject, rules: RequestRules) -> Request:
    """Raises MalformedRequest, naming the field."""
    _check_fields(tree, rules)
    messages = tuple(_messages(_list(tree, "messages", required=True)))
    return Request(
        surface="chat_completions",
        model=_string(tree, "model"),
        stream=_bool(tree, "stream"),
        tree=tree,
        messages=messages,
        tools=(*_tools(tree, rules), *_functions(tree)),
        forced_tool=_forced_tool(tree),
        choices=_choices(tree),
        structured_output=_structured_output(tree),
        uninspected=tuple(sorted(set(_uninspected(tree)))),
        stop=_stop(tree),
    )


# --- reading -----------------------------------------------------------------------------------------------------


def _check_fields(tree: JsonObject, rules: RequestRules) -> None:
    for field, value in tree.items():
        if field in SDK_FIELDS or field in SAMPLER_FIELDS or field in rules.allow_fields:
            continue
        if field in PROVIDER_TOOL_FIELDS:
            if value is not None and field not in rules.allow_provider_tools:
                raise _refused(field, "it makes the provider run a tool that the guard cannot stop")
        elif isinstance(value, (dict, list)):
            raise _refused(field, "this proxy does not know it; the operator can name it in request.allow_fields")


def _refused(field: str, why: str) -> MalformedRequest:
    return MalformedRequest(f"The field is refused: {why}.", param=field[:64], code="field_refused")


def _fault(param: str, wanted: str) -> MalformedRequest:
    return MalformedRequest(f"'{param}' must be {wanted}.", param=param)


def _list(tree: Mapping[str, Any], field: str, param: str | None = None, *, required: bool = False) -> list[Any]:
    value = tree.get(field)
    if value is None and not required:
        return []
    if not isinstance(value, list):
        raise _fault(param or field, "a list")
    return value


def _string(tree: Mapping[str, Any], field: str, param: str | None = None) -> str:
    value = tree.get(field)
    if not isinstance(value, str) or not value:
        raise _fault(param or field, "a non-empty string")
    return value


def _bool(tree: Mapping[str, Any], field: str) -> bool:
    value = tree.get(field)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _fault(field, "true or false")
    return value


def _choices(tree: Mapping[str, Any]) -> int:
    value = tree.get("n")
    if value is None:
        return 1
    if type(value) is not int or not 1 <= value <= MAX_CHOICES:
        raise _fault("n", f"a whole number from 1 to {MAX_CHOICES}")
    return value


def _tools(tree: Mapping[str, Any], rules: RequestRules) -> Iterable[ToolSpec]:
    for i, tool in enumerate(_list(tree, "tools")):
        at = f"tools[{i}]"
        if not isinstance(tool, dict):
            raise _fault(at, "an object")
        kind = tool.get("type")
        if isinstance(kind, str) and kind in TOOL_TYPES:
            yield _tool_spec(CallKind(kind), tool.get(kind), f"{at}.{kind}")
        elif not isinstance(kind, str) or kind not in rules.allow_provider_tools:
            message = f"'{at}.type' must be function or custom: tools that the provider runs itself are refused."
            raise MalformedRequest(message, param=f"{at}.type", code="provider_tool_refused")


def _functions(tree: Mapping[str, Any]) -> Iterable[ToolSpec]:
    for i, function in enumerate(_list(tree, "functions")):
        yield _tool_spec(CallKind.LEGACY_FUNCTION, function, f"functions[{i}]")


def _tool_spec(kind: CallKind, spec: object, at: str) -> ToolSpec:
    if not isinstance(spec, dict):
        raise _fault(at, "an object")
    parameters = spec.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise _fault(f"{at}.parameters", "an object")
    description = spec.get("description")
    if description is not None and not isinstance(description, str):
        raise _fault(f"{at}.description", "a string")
    return ToolSpec(kind, _string(spec, "name", f"{at}.name"), description or "", parameters)


def _forced_tool(tree: Mapping[str, Any]) -> bool:
    choice = tree.get("tool_choice")
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        return not isinstance(allowed, dict) or allowed.get("mode") == "required"
    return choice == "required" or isinstance(tree.get("function_call"), dict)


def _stop(tree: Mapping[str, Any]) -> tuple[str, ...]:
    stop = tree.get("stop")
    return tuple(s for s in (stop if isinstance(stop, list) else [stop]) if isinstance(s, str))


def _structured_output(tree: Mapping[str, Any]) -> bool:
    form = tree.get("response_format")
    return isinstance(form, dict) and form.get("type") not in (None, "text")


def _messages(messages: list[Any]) -> Iterable[Message]:
    tools_by_id: dict[str, str] = {}
    for i, message in enumerate(messages):
        at = f"messages[{i}]"
        if not isinstance(message, dict):
            raise _fault(at, "an object")
        role = _string(message, "role", f"{at}.role")
        text = _text(message.get("content"), f"{at}.content")
        calls = tuple(_past_calls(message, at))
        tools_by_id |= {call.id: call.name for call in calls}
        yield Message(role, text, calls, _result(role, message, text, tools_by_id))


def _text(content: object, at: str) -> str:
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "\n".join(_part_text(part, f"{at}[{i}]") for i, part in enumerate(content))
        case _:
            raise _fault(at, "a string or a list of parts")


def _part_text(part: object, at: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise _fault(at, "an object")
    text = part.get("text", part.get("refusal", ""))
    if not isinstance(text, str):
        raise _fault(f"{at}.text", "a string")
    return text


def _uninspected(tree: Mapping[str, Any]) -> Iterable[str]:
    for message in tree["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else "text"
            if kind not in ("text", "refusal"):
                yield {"image_url": "image", "input_audio": "audio", "file": "file"}.get(str(kind), "other")


def _past_calls(message: Mapping[str, Any], at: str) -> Iterable[ToolCall]:
    for i, call in enumerate(_list(message, "tool_calls", f"{at}.tool_calls")):
        if not isinstance(call, dict):
            raise _fault(f"{at}.tool_calls[{i}]", "an object")
        kind = CallKind.CUSTOM if call.get("type") == "custom" else CallKind.FUNCTION
        body = call.get(kind.value)
        if not isinstance(body, dict):
            raise _fault(f"{at}.tool_calls[{i}].{kind.value}", "an object")
        arguments = body.get("input" if kind is CallKind.CUSTOM else "arguments")
        yield ToolCall(CallKey(0, i), kind, str(call.get("id")), str(body.get("name")), str(arguments))
    legacy = message.get("function_call")
    if legacy is not None:
        if not isinstance(legacy, dict):
            raise _fault(f"{at}.function_call", "an object")
        name = str(legacy.get("name"))
        yield ToolCall(CallKey(0, -1), CallKind.LEGACY_FUNCTION, name, name, str(legacy.get("arguments")))


def _result(role: str, message: Mapping[str, Any], text: str, tools_by_id: Mapping[str, str]) -> ToolResult | None:
    if role not in ("tool", "function"):
        return None
    call_id = str(message.get("tool_call_id") or message.get("name") or "")
    tool = tools_by_id.get(call_id) or str(message.get("name") or "")
    return ToolResult.of(call_id, tool, text)


# --- editing -----------------------------------------------------------------------------------------------------


def with_injection(request: Request, injection: Injection) -> Request:
    """The learned prefix, written in at its position."""
    tree = dict(request.tree)
    prefill: JsonObject = {"role": "assistant", "content": injection.text}
    match injection.position:
        case Position.CONTINUE_FINAL_MESSAGE:
            tree |= {"continue_final_message": True, "add_generation_prompt": False}
        case Position.PREFIX_FLAG:
            prefill["prefix"] = True
        case Position.TRAILING_ASSISTANT:
            pass
        case Position.SUFFIX:
            return replace(request, tree=tree | {"messages": _with_suffix(tree["messages"], injection.text)})
        case Position.INSTRUCTION:
            return replace(request, tree=tree | {"messages": _with_instruction(tree["messages"], injection.text)})
    return replace(request, tree=tree | {"messages": [*tree["messages"], prefill]})


def _with_instruction(messages: list[Any], text: str) -> list[Any]:
    """At the end of the first system message: some templates refuse a system message anywhere but at the start."""
    first = messages[0] if messages else {}
    if first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": text}, *messages]
    return [first | {"content": _joined(first, text)}, *messages[1:]]


def _with_suffix(messages: list[Any], text: str) -> list[Any]:
    """At the end of what the user said last; where they said nothing, said by them."""
    last = next((i for i in reversed(range(len(messages))) if messages[i].get("role") == "user"), None)
    if last is None:
        return [*messages, {"role": "user", "content": text}]
    return [*messages[:last], messages[last] | {"content": _joined(messages[last], text)}, *messages[last + 1 :]]


def _joined(message: Mapping[str, Any], text: str) -> object:
    content = message.get("content")
    if isinstance(content, list):
        return [*content, {"type": "text", "text": text}]
    return f"{content}\n\n{text}" if content else text


def with_feedback(request: Request, turn: Turn, feedback: Mapping[CallKey, str]) -> Request:
    """The turn as the model said it, answered by a synthetic result for every call of it."""
    assistant: JsonObject = {"role": "assistant", "content": turn.texts.get(0) or None}
    results: list[JsonObject] = []
    for call in turn.calls:
        if call.kind is CallKind.TEXT:  # an agent that parses text also answers in text
            results.append({"role": "user", "content": f"Observation: {feedback[call.key]}"})
        elif call.kind is CallKind.LEGACY_FUNCTION:
            assistant["function_call"] = {"name": call.name, "arguments": call.arguments}
            results.append({"role": "function", "name": call.name, "content": feedback[call.key]})
        else:
            assistant["tool_calls"] = [*assistant.get("tool_calls", []), _past_call(call)]  # type: ignore[misc]
            results.append({"role": "tool", "tool_call_id": call.id, "content": feedback[call.key]})
    return replace(request, tree={**request.tree, "messages": [*request.tree["messages"], assistant, *results]})


def _past_call(call: ToolCall) -> JsonObject:
    field = "input" if call.kind is CallKind.CUSTOM else "arguments"
    return {"id": call.id, "type": call.kind.value, call.kind.value: {"name": call.name, field: call.arguments}}


def without_results(request: Request, digests: frozenset[str], notice: str) -> Request:
    """Tool results that a guard flagged, replaced by a notice."""
    messages = [
        tree | {"content": notice} if message.result and message.result.digest in digests else tree
        for tree, message in zip(request.tree["messages"], request.messages, strict=True)
    ]
    return replace(request, tree={**request.tree, "messages": messages})
