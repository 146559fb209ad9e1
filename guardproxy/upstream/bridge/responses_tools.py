"""The tools of a Responses request, and the choice among them, as chat completions have them."""

from collections.abc import Iterator

from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.bridge.conversation import function_tool
from guardproxy.upstream.bridge.custom_tools import custom_as_function
from guardproxy.upstream.bridge.fields import Fields
from guardproxy.upstream.bridge.tool_names import ToolName, ToolNames, flat_name

_UNSAID = frozenset({"output_schema", "defer_loading"})
_Tool = tuple[str, JsonObject]
"""A tool's flat name and its declaration."""


def chat_tools(body: Fields, names: ToolNames) -> JsonObject:
    """`tools`, `tool_choice` and `parallel_tool_calls`, which a chat server takes only together with tools."""
    tools = [tool for declared in body.objects("tools") for tool in _tools(declared, names)]
    choice, allowed = _choice(body)
    parallel = body.take("parallel_tool_calls")
    if allowed is not None:
        tools = [tool for tool in tools if tool[0] in allowed]
    if not tools:
        return {} if choice in (None, "auto", "none") else {"tool_choice": choice}
    chat: JsonObject = {"tools": [declaration for _, declaration in tools]}
    given = {"tool_choice": choice, "parallel_tool_calls": parallel}
    return chat | {name: value for name, value in given.items() if value is not None}


def _tools(tool: Fields, names: ToolNames, namespace: str = "") -> Iterator[_Tool]:
    match tool.take("type"):
        case "function":
            yield _function(tool, names, namespace)
        case "custom":
            yield _custom(tool, names, namespace)
        case "namespace" if not namespace:
            name = tool.string("name")
            for member in tool.objects("tools"):
                yield from _tools(member, names, name)
            tool.end(frozenset({"description"}))
        case _:
            raise tool.refused("type", "it has functions and custom tools alone")


def _function(tool: Fields, names: ToolNames, namespace: str) -> _Tool:
    flat = _declare(tool, names, namespace)
    description = tool.optional_string("description")
    translated = function_tool(flat, description, tool.take("parameters"), tool.take("strict"))
    tool.end(_UNSAID)
    return flat, translated


def _custom(tool: Fields, names: ToolNames, namespace: str) -> _Tool:
    flat = _declare(tool, names, namespace, custom=True)
    description = tool.optional_string("description") or ""
    form = tool.object("format")
    grammar = _grammar(form) if form is not None else ""
    tool.end(_UNSAID)
    return flat, custom_as_function(flat, description, grammar)


def _grammar(form: Fields) -> str:
    match form.string("type"):
        case "text":
            grammar = ""
        case "grammar":
            form.take("syntax")
            grammar = form.string("definition")
        case _:
            raise form.refused("type", "it has no such format")
    form.end()
    return grammar


def _declare(tool: Fields, names: ToolNames, namespace: str, *, custom: bool = False) -> str:
    tool.require("async", False)
    callers = tool.take("allowed_callers")
    if isinstance(callers, list) and "direct" not in callers:
        raise tool.refused("allowed_callers", "its tools are called by the model alone")
    return names.declare(ToolName(tool.string("name"), namespace, custom), tool.place("name"))


def _choice(body: Fields) -> tuple[Json, set[str] | None]:
    """The `tool_choice`, and the flat names of the tools that it leaves; None where it leaves all."""
    value = body.take("tool_choice")
    if value is None or isinstance(value, str):
        return value, None
    choice = Fields.of(value, "tool_choice")
    match choice.string("type"):
        case "function" | "custom":
            return {"type": "function", "function": {"name": _chosen(choice)}}, None
        case "allowed_tools":
            return choice.take("mode"), {_allowed(tool) for tool in choice.objects("tools")}
        case _:
            raise choice.refused("type", "it has functions and custom tools alone")


def _allowed(tool: Fields) -> str:
    if tool.string("type") not in ("function", "custom"):
        raise tool.refused("type", "it has functions and custom tools alone")
    return _chosen(tool)


def _chosen(choice: Fields) -> str:
    name = flat_name(ToolName(choice.string("name"), choice.optional_string("namespace") or ""))
    choice.end()
    return name
