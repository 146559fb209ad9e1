"""The tools that a request declares: those that the client runs, and those that the provider would run itself.

Tools arrive in `tools` and in input items too. A search over deferred tools runs nothing, whoever does it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKind, ToolSpec
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.responses.checks import fault, objects, optional_string, string
from guardproxy.surfaces.responses.contract import CONTRACT
from guardproxy.surfaces.surface import ProviderTools, RequestRules

ITEMS_WITH_TOOLS = frozenset({"additional_tools", "tool_search_output"})

_DATED = re.compile(r"_\d{4}_\d{2}_\d{2}$")
_BUILTIN = {
    "shell": "shell",
    "local_shell": "local_shell",
    "apply_patch": "apply_patch",
    "computer": "computer",
    "computer_use_preview": "computer",
    "tool_search": "tool_search",
}
_KINDS = {"function": CallKind.FUNCTION, "custom": CallKind.CUSTOM}


@dataclass(frozen=True, slots=True)
class Declared:
    """Of one list of tools: what the guards see, what goes on to the upstream, and whether a shell of the provider's
    is among that."""

    specs: tuple[ToolSpec, ...]
    kept: list[dict[str, Any]]
    stripped: frozenset[str]
    hosted_shell: bool


def declared(value: object, at: str, rules: RequestRules | None) -> Declared:
    """Raises MalformedRequest for a tool that the provider runs and the operator has not allowed; without rules all
    are allowed."""
    specs: list[ToolSpec] = []
    kept: list[dict[str, Any]] = []
    stripped: set[str] = set()
    hosted_shell = False
    for i, tool in enumerate(objects(value, at)):
        type = string(tool, "type", f"{at}[{i}].type")
        if rules is not None and _by_provider(tool, type) and not _allowed(type, rules):
            if rules.provider_tools is ProviderTools.REFUSE:
                raise _refusal(f"{at}[{i}].type")
            stripped.add(type)
            continue
        kept.append(tool)
        hosted_shell = hosted_shell or (type == "shell" and _by_provider(tool, type))
        specs += _specs(tool, type, f"{at}[{i}]")
    return Declared(tuple(specs), kept, frozenset(stripped), hosted_shell)


def listed_by_server(item: Mapping[str, Any], at: str) -> Iterator[ToolSpec]:
    """The tools of an MCP server, as the provider has listed them: of these a client may be asked to approve a call."""
    label = optional_string(item, "server_label", f"{at}.server_label")
    for i, tool in enumerate(objects(item.get("tools"), f"{at}.tools")):
        schema = tool.get("input_schema")
        description = tool.get("description")
        yield ToolSpec(
            CallKind.APPROVAL,
            f"{label}.{string(tool, 'name', f'{at}.tools[{i}].name')}",
            description if isinstance(description, str) else "",
            schema if isinstance(schema, dict) else None,
        )


def _by_provider(tool: Mapping[str, Any], type: str) -> bool:
    if type == "shell":
        environment = tool.get("environment")
        return environment is not None and not (isinstance(environment, dict) and environment.get("type") == "local")
    return CONTRACT["tools"].get(type, Treatment.REFUSED) is Treatment.REFUSED


def _allowed(type: str, rules: RequestRules) -> bool:
    return type in rules.allow_provider_tools or _DATED.sub("", type) in rules.allow_provider_tools


def _refusal(param: str) -> MalformedRequest:
    message = f"'{param}' is refused: the provider would run this tool itself, where no call of it can be stopped."
    return MalformedRequest(message, param=param, code="provider_tool_refused")


def _specs(tool: Mapping[str, Any], type: str, at: str) -> Iterator[ToolSpec]:
    match type:
        case "function" | "custom":
            yield _spec(tool, type, at)
        case "namespace":
            space = string(tool, "name", f"{at}.name")
            for i, nested in enumerate(objects(tool.get("tools"), f"{at}.tools")):
                nested_at = f"{at}.tools[{i}]"
                nested_type = nested.get("type")
                if nested_type not in ("function", "custom"):
                    raise fault(f"{nested_at}.type", "function or custom")
                yield _spec(nested, nested_type, nested_at, f"{space}.")
        case "tool_search" if tool.get("execution") == "client":
            yield _builtin(tool, "tool_search", at)
        case "shell" if not _by_provider(tool, type):
            yield _builtin(tool, "shell", at)
        case "local_shell" | "apply_patch" | "computer" | "computer_use_preview":
            yield _builtin(tool, _BUILTIN[type], at)
        case "mcp":
            yield from _of_mcp(tool, at)
        case _:
            return


def _spec(tool: Mapping[str, Any], type: str, at: str, space: str = "") -> ToolSpec:
    name = f"{space}{string(tool, 'name', f'{at}.name')}"
    description = optional_string(tool, "description", f"{at}.description")
    return ToolSpec(_KINDS[type], name, description, _parameters(tool, at))


def _builtin(tool: Mapping[str, Any], name: str, at: str) -> ToolSpec:
    description = optional_string(tool, "description", f"{at}.description")
    return ToolSpec(CallKind.BUILTIN, name, description, _parameters(tool, at))


def _parameters(tool: Mapping[str, Any], at: str) -> Mapping[str, Any] | None:
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise fault(f"{at}.parameters", "an object")
    return parameters


def _of_mcp(tool: Mapping[str, Any], at: str) -> Iterator[ToolSpec]:
    """What is known of an MCP server's tools before it has listed them: the names that the request allows."""
    label = string(tool, "server_label", f"{at}.server_label")
    allowed = tool.get("allowed_tools")
    names = allowed.get("tool_names") if isinstance(allowed, dict) else allowed
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str):
            yield ToolSpec(CallKind.APPROVAL, f"{label}.{name}", "", None)


def without_choice(tree: Mapping[str, Any], stripped: frozenset[str]) -> dict[str, Any]:
    """The request without a choice of a tool that is gone, and without a list of tools that is empty."""
    written = dict(tree)
    if not written.get("tools"):
        written.pop("tools", None)
    choice = written.get("tool_choice")
    if isinstance(choice, dict):
        tools = choice.get("tools")
        if choice.get("type") in stripped:
            del written["tool_choice"]
        elif isinstance(tools, list):
            kept = [tool for tool in tools if not (isinstance(tool, dict) and tool.get("type") in stripped)]
            written["tool_choice"] = {**choice, "tools": kept}
    elif choice == "required" and "tools" not in written:
        del written["tool_choice"]
    return written


def forces_tool(choice: object) -> bool:
    if isinstance(choice, dict):
        return choice.get("type") != "allowed_tools" or choice.get("mode") == "required"
    return choice == "required"


def named(tools: Sequence[Any], type: str, field: str) -> frozenset[str]:
    """What tools of a type are called."""
    of_type = (tool.get(field) for tool in tools if isinstance(tool, dict) and tool.get("type") == type)
    return frozenset(name for name in of_type if isinstance(name, str))
