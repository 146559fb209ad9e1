"""Reading a request of the Messages API."""

from collections.abc import Iterator, Mapping
from typing import Any

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKind, Request, ToolSpec
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.messages.content import Conversation, fault, refused
from guardproxy.surfaces.messages.contract import CONTRACT, TOOLSETS, family
from guardproxy.surfaces.surface import ProviderTools, RequestRules

_FIELDS = CONTRACT["request fields"]
_TOOLS = CONTRACT["tools"]
_SERVERS = "mcp_servers"
_CANNOT_STOP = "tools that the provider runs itself cannot be stopped by the guard"


def parse(tree: JsonObject, rules: RequestRules) -> Request:
    """Raises MalformedRequest, naming the field."""
    _check_fields(tree, rules)
    tree = _without_provider_tools(tree, rules)
    conversation = _conversation(tree, rules)
    tools = [spec for tool, at in _declared(tree, conversation) for spec in _tool_specs(tool, at, rules)]
    return Request(
        surface="messages",
        model=_string(tree, "model"),
        stream=_bool(tree, "stream"),
        tree=tree,
        messages=tuple(conversation.messages),
        tools=tuple(tools),
        forced_tool=_forced_tool(tree.get("tool_choice")),
        structured_output=_structured_output(tree),
        uninspected=tuple(sorted(conversation.uninspected)),
        stop=tuple(text for text in _list(tree, "stop_sequences") if isinstance(text, str)),
    )


def _check_fields(tree: JsonObject, rules: RequestRules) -> None:
    for field, value in tree.items():
        treatment = _FIELDS.get(field)
        if field in rules.allow_fields or field == _SERVERS:
            continue
        if treatment is Treatment.REFUSED and value:
            raise refused(field, "the provider keeps what this proxy would have to see")
        if treatment is None and isinstance(value, dict | list):
            raise refused(field, "this proxy does not know it; the operator can name it in request.allow_fields")


def _conversation(tree: JsonObject, rules: RequestRules) -> Conversation:
    conversation = Conversation(rules.allow_fields)
    conversation.read_system(tree.get("system"))
    messages = tree.get("messages")
    if not isinstance(messages, list):
        raise fault("messages", "a list")
    for i, message in enumerate(messages):
        conversation.read_message(message, f"messages[{i}]")
    for field in ("container", "thread"):
        if tree.get(field):
            conversation.uninspected.add(field)
            conversation.hidden.append(field)
    if rules.refuse_hidden_content and conversation.hidden:
        why = "it names content that the provider keeps and this proxy cannot see"
        raise refused(conversation.hidden[0], why, "hidden_content_refused")
    return conversation


# --- tools -------------------------------------------------------------------------------------------------------


def _without_provider_tools(tree: JsonObject, rules: RequestRules) -> JsonObject:
    """The tree as it may be forwarded. Raises MalformedRequest for a tool that may not be, unless it is stripped."""
    tools = _list(tree, "tools")
    if not all(isinstance(tool, dict) for tool in tools):
        raise fault("tools", "a list of objects")
    kept: list[Json] = [tool for i, tool in enumerate(tools) if _may_pass(tool, f"tools[{i}]", rules)]
    if tree.get(_SERVERS) and not _server_may_pass(rules):
        tree = {name: value for name, value in tree.items() if name != _SERVERS}
    return tree if len(kept) == len(tools) else _with_tools(tree, kept)


def _may_pass(tool: JsonObject, at: str, rules: RequestRules) -> bool:
    kind = _tool_type(tool, at)
    if _TOOLS.get(kind) is Treatment.GUARDED or not {kind, family(kind)}.isdisjoint(rules.allow_provider_tools):
        return True
    if rules.provider_tools is ProviderTools.STRIP:
        return False
    raise _provider_tool(f"{at}.type")


def _server_may_pass(rules: RequestRules) -> bool:
    if not rules.allow_provider_tools.isdisjoint({_SERVERS, "mcp_toolset"}):
        return True
    if rules.provider_tools is ProviderTools.STRIP:
        return False
    raise refused(_SERVERS, _CANNOT_STOP)


def _provider_tool(param: str) -> MalformedRequest:
    return refused(param, _CANNOT_STOP, "provider_tool_refused")


def _with_tools(tree: JsonObject, tools: list[Json]) -> JsonObject:
    """Without a choice that nothing answers to any more."""
    without = {name: value for name, value in tree.items() if name != "tools"}
    choice = tree.get("tool_choice")
    names = [tool.get("name") for tool in tools if isinstance(tool, dict)]
    if not tools or (isinstance(choice, dict) and choice.get("type") == "tool" and choice.get("name") not in names):
        without.pop("tool_choice", None)
    return without | ({"tools": tools} if tools else {})


def _declared(tree: JsonObject, conversation: Conversation) -> Iterator[tuple[JsonObject, str]]:
    for i, tool in enumerate(_list(tree, "tools")):
        yield tool, f"tools[{i}]"
    yield from conversation.definitions


def _tool_specs(tool: JsonObject, at: str, rules: RequestRules) -> Iterator[ToolSpec]:
    """What of a tool the client may be asked to run. A tool in a message cannot be stripped, only refused."""
    kind = _tool_type(tool, at)
    if not _may_pass(tool, at, rules):
        raise _provider_tool(f"{at}.type")
    if kind in TOOLSETS:
        name, members = TOOLSETS[kind]
        yield from (ToolSpec(CallKind.BUILTIN, f"{name}.{member}", "", None) for member in members)
    elif kind == "custom":
        yield _function(tool, at)
    elif _TOOLS.get(kind) is Treatment.GUARDED or (kind not in _TOOLS and tool.get("name")):
        yield ToolSpec(CallKind.BUILTIN, _string(tool, "name", f"{at}.name"), "", None)


def _tool_type(tool: JsonObject, at: str) -> str:
    kind = tool.get("type", "custom")
    if kind is None:
        return "custom"
    if not isinstance(kind, str):
        raise fault(f"{at}.type", "a string")
    return kind


def _function(tool: JsonObject, at: str) -> ToolSpec:
    schema, description = tool.get("input_schema"), tool.get("description")
    if schema is not None and not isinstance(schema, dict):
        raise fault(f"{at}.input_schema", "an object")
    if description is not None and not isinstance(description, str):
        raise fault(f"{at}.description", "a string")
    return ToolSpec(CallKind.FUNCTION, _string(tool, "name", f"{at}.name"), description or "", schema)


def _forced_tool(choice: Json) -> bool:
    return isinstance(choice, dict) and choice.get("type") in ("any", "tool")


def _structured_output(tree: JsonObject) -> bool:
    config = tree.get("output_config")
    return bool(tree.get("output_format")) or (isinstance(config, dict) and bool(config.get("format")))


# --- plain fields ------------------------------------------------------------------------------------------------


def _list(tree: Mapping[str, Any], field: str) -> list[Any]:
    value = tree.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise fault(field, "a list")
    return value


def _string(tree: Mapping[str, Any], field: str, param: str | None = None) -> str:
    value = tree.get(field)
    if not isinstance(value, str) or not value:
        raise fault(param or field, "a non-empty string")
    return value


def _bool(tree: Mapping[str, Any], field: str) -> bool:
    value = tree.get(field)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise fault(field, "true or false")
    return value
