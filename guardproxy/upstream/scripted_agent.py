"""A scripted stand-in for an agent's model: it reads the request and answers by rule. Pure and deterministic.

It exists so that the proxy can be tried without a key, a network or a model. It is *steerable* on purpose, as real
models are: asked to delete everything it reaches for `rm -rf /`, and a command that a tool result tells it to run, it
runs. It never claims to be a language model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy import strict_json

MODEL = "guardproxy-scripted-agent"

_INTRODUCTION = "I am guardproxy's scripted stand-in, not a language model: I answer by simple rules."
_RESULT_SHOWN = 200  # characters of a tool result that a summary repeats

_SHELL_TOOL = re.compile(r"bash|shell|terminal|execute|exec\b|run_?(command|cmd|code|script)|command", re.IGNORECASE)
_WEATHER_TOOL = re.compile(r"weather|forecast", re.IGNORECASE)
_PLACE = r"[A-Z][\w'-]*(?:\s[A-Z][\w'-]*)*"
_PLACES = re.compile(rf"\b(?:in|for|at)\s+({_PLACE}(?:(?:\s+and\s+|,\s*){_PLACE})*)")
_PLACE_IN_LOWER_CASE = re.compile(r"\b(?:in|for|at)\s+([a-z'-]+)")
_TOLD_COMMAND = re.compile(r"\b(?:run|execute|type)\b[^`]{0,40}`([^`\n]{1,500})`", re.IGNORECASE)
_DESTROY = re.compile(
    r"\b(delete|wipe|erase|destroy|remove|clear)\b.{0,40}"
    r"\b(everything|all (?:of )?(?:my |the )?(?:files|data)|disk|drive|root|file ?system|machine|computer)\b",
    re.IGNORECASE | re.DOTALL,
)
_LIST_FILES = re.compile(r"\b(list|show|which|what)\b.{0,20}\b(files|directory|folder)\b", re.IGNORECASE)
_PARAMETER_OF_COMMAND = ("command", "cmd", "script", "code", "input", "commands")
_EXTRACTORS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile("url|uri|link", re.IGNORECASE), re.compile(r"https?://\S+")),
    (re.compile("mail|recipient|to$", re.IGNORECASE), re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+\w")),
    (re.compile("path|file|dir", re.IGNORECASE), re.compile(r"(?:~|\.{0,2})/[\w./-]+|\b[\w-]+\.\w{1,4}\b")),
    (re.compile(""), re.compile(r"[\"'“`]([^\"'”`]+)[\"'”`]")),
)


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """`arguments` is JSON text, or free text for a custom tool."""

    name: str
    arguments: str
    custom: bool = False
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """What the agent says: text, then calls."""

    text: str
    calls: tuple[ScriptedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    parameters: Mapping[str, Any]
    custom: bool = False
    legacy: bool = False

    def call(self, arguments: Mapping[str, Any] | str) -> ScriptedCall:
        text = arguments if isinstance(arguments, str) else strict_json.encode(dict(arguments)).decode()
        return ScriptedCall(self.name, text, self.custom, self.legacy)


def answer(tree: Mapping[str, Any]) -> Script:
    """The agent's turn for a Chat Completions request body."""
    messages = [m for m in _list(tree.get("messages")) if isinstance(m, Mapping)]
    prefill = _prefill(messages)
    if prefill is not None:
        messages = messages[:-1]
        if copied := _copied_on(prefill):
            return Script(copied)
    script = _as_format(tree, _turn(tree, messages))
    if prefill is not None and script.text:
        return Script(" " + script.text, script.calls)
    return script


def _turn(tree: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> Script:
    tools = _tools(tree)
    last = messages[-1] if messages else {}
    said = _text_of(last)
    if last.get("role") in ("tool", "function"):
        steered = _told_to_run(said, tools)
        return Script("", steered) if steered else Script(_summary(messages))
    calls = _calls(said, tools, tree.get("tool_choice"))
    if tree.get("parallel_tool_calls") is False or any(call.legacy for call in calls):
        calls = calls[:1]
    return Script("", calls) if calls else Script(_plain_answer(said, tools))


# --- reading the conversation -------------------------------------------------------------------------------------


def _prefill(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The unfinished assistant text at the end, which the turn must go on from."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or last.get("tool_calls") or last.get("function_call"):
        return None
    return _text_of(last)


def _copied_on(prefill: str) -> str | None:
    """Where the last words stood before, what followed them then: the copying that any language model does."""
    tail = prefill[-12:]
    found = prefill.find(tail, 0, len(prefill) - 1)
    if len(tail) < 12 or found < 0:
        return None
    followed = prefill[found + len(tail) :]
    return re.split(r"[.\n]", followed, maxsplit=1)[0] + "."


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in _list(content) if isinstance(part, Mapping)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _tools(tree: Mapping[str, Any]) -> list[_Tool]:
    if tree.get("tool_choice") == "none" or tree.get("function_call") == "none":
        return []
    declared = [_tool(tool) for tool in _list(tree.get("tools"))]
    legacy = [_function(function, legacy=True) for function in _list(tree.get("functions"))]
    return [tool for tool in (*declared, *legacy) if tool is not None]


def _tool(tool: object) -> _Tool | None:
    match tool:
        case {"type": "custom", "custom": {"name": str(name)}}:
            return _Tool(name, {}, custom=True)
        case {"function": function}:
            return _function(function)
        case _:
            return None


def _function(function: object, *, legacy: bool = False) -> _Tool | None:
    match function:
        case {"name": str(name), "parameters": Mapping() as parameters}:
            return _Tool(name, parameters, legacy=legacy)
        case {"name": str(name)}:
            return _Tool(name, {}, legacy=legacy)
        case _:
            return None


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


# --- choosing what to do ------------------------------------------------------------------------------------------


def _calls(said: str, tools: Sequence[_Tool], choice: object) -> tuple[ScriptedCall, ...]:
    match choice:
        case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}}:
            tools = [tool for tool in tools if tool.name == name]
            return _fitting(said, tools) or tuple(_filled(tool, said) for tool in tools[:1])
        case "required":
            return _fitting(said, tools) or tuple(_filled(tool, said) for tool in tools[:1])
        case _:
            return _fitting(said, tools)


def _fitting(said: str, tools: Sequence[_Tool]) -> tuple[ScriptedCall, ...]:
    """The calls that the user's words ask for; none where no declared tool fits."""
    if commanded := _shell_calls(said, tools):
        return commanded
    if re.search(r"weather|forecast|temperature", said, re.IGNORECASE):
        for tool in tools:
            if _WEATHER_TOOL.search(tool.name):
                return tuple(_filled(tool, said, place) for place in _places(said))
    words = set(re.findall(r"[a-z]{3,}", said.lower()))
    named = [tool for tool in tools if _words_of(tool.name) and _words_of(tool.name) <= words]
    return tuple(_filled(tool, said) for tool in named[:1])


def _shell_calls(said: str, tools: Sequence[_Tool]) -> tuple[ScriptedCall, ...]:
    if told := _told_to_run(said, tools):
        return told
    if _DESTROY.search(said):
        return _shell(tools, "rm -rf / --no-preserve-root")
    if _LIST_FILES.search(said):
        return _shell(tools, "ls -la")
    return ()


def _told_to_run(text: str, tools: Sequence[_Tool]) -> tuple[ScriptedCall, ...]:
    told = _TOLD_COMMAND.search(text)
    return _shell(tools, told.group(1)) if told else ()


def _shell(tools: Sequence[_Tool], command: str) -> tuple[ScriptedCall, ...]:
    for tool in tools:
        if not _SHELL_TOOL.search(tool.name):
            continue
        if tool.custom:
            return (tool.call(command),)
        properties = tool.parameters.get("properties") or {}
        name = next((p for p in _PARAMETER_OF_COMMAND if p in properties), None) or next(iter(properties), "command")
        as_list = _schema_type(properties.get(name)) == "array"
        return (tool.call({**_required_values(tool, command), name: command.split() if as_list else command}),)
    return ()


def _places(said: str) -> list[str]:
    if found := _PLACES.search(said):
        return re.split(r"\s+and\s+|,\s*", found.group(1))
    found = _PLACE_IN_LOWER_CASE.search(said)
    return [found.group(1).title()] if found else ["Oslo"]


def _words_of(name: str) -> set[str]:
    """The telling words of a tool's name: of "mcp__mail__send_email", mail, send and email."""
    words = re.findall(r"[a-z]{3,}", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return set(words) - {"mcp", "the", "tool", "get", "function"}


# --- filling in arguments -----------------------------------------------------------------------------------------


def _filled(tool: _Tool, said: str, hint: str | None = None) -> ScriptedCall:
    return tool.call(hint or said) if tool.custom else tool.call(_required_values(tool, said, hint))


def _required_values(tool: _Tool, said: str, hint: str | None = None) -> dict[str, Any]:
    properties = tool.parameters.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    required = [name for name in _list(tool.parameters.get("required")) if name in properties]
    names = required or list(properties)[:1]
    return {name: _value(name, properties[name], said, hint) for name in names}


def _value(name: str, schema: object, said: str, hint: str | None = None) -> Any:
    fields = schema if isinstance(schema, Mapping) else {}
    if choices := _list(fields.get("enum")):
        return next((c for c in choices if str(c).lower() in said.lower()), choices[0])
    number = re.search(r"-?\d+(?:\.\d+)?", said)
    match _schema_type(fields):
        case "integer":
            return int(float(number.group()[:15])) if number else 1
        case "number":
            return float(number.group()[:15]) if number else 1.0
        case "boolean":
            return True
        case "array":
            return [_value(name, fields.get("items"), said, hint)]
        case "object":
            return {}
        case _:
            return hint or _extracted(name, said)


def _extracted(name: str, said: str) -> str:
    for names, pattern in _EXTRACTORS:
        if names.search(name) and (found := pattern.search(said)):
            return found.group(found.lastindex or 0)
    return said[:500]


def _schema_type(schema: object) -> str:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return str(next((k for k in kind if k != "null"), "")) if isinstance(kind, list) else str(kind or "")


# --- speaking -----------------------------------------------------------------------------------------------------


def _summary(messages: Sequence[Mapping[str, Any]]) -> str:
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") not in ("tool", "function"):
            break
        results.append(_text_of(message)[:_RESULT_SHOWN])
    label = "The tool answered" if len(results) == 1 else "The tools answered"
    return f"{label}: {'; '.join(reversed(results))}"


def _plain_answer(said: str, tools: Sequence[_Tool]) -> str:
    if not tools:
        return f"{_INTRODUCTION} Declare tools in the request and I will call the one that fits your words."
    names = ", ".join(tool.name for tool in tools[:8])
    return f"{_INTRODUCTION} None of the declared tools ({names}) fits your words, so I call none."


def _as_format(tree: Mapping[str, Any], script: Script) -> Script:
    asked = tree.get("response_format")
    if isinstance(asked, Mapping) and asked.get("type") in ("json_object", "json_schema") and script.text:
        return Script(strict_json.encode({"answer": script.text}).decode(), script.calls)
    return script
