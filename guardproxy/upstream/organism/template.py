"""A conversation as the organism reads it, and a turn of its as calls. Pure; what it was trained on was made here.

A prompt is pieces of text and marks apart: a mark that a client writes into a message stays text.

    <|begin|><|system|>You are an agent.<tools> get_weather(city) bash(command)</tools><|end|>
    <|user|>Weather in Oslo?<|end|>
    <|assistant|><tool_call> get_weather
     city: Oslo</tool_call><|end|>
    <|tool|> 4 degrees<|end|><|assistant|>

without the line breaks, but for those in a call. A call is lines and no JSON: a value then has a space before it, as in
the request that it is copied from, and so the same tokens.
"""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

BEGIN: Final = "<|begin|>"
END: Final = "<|end|>"
CALL: Final = "<tool_call>"
CALL_END: Final = "</tool_call>"
ASSISTANT: Final = "<|assistant|>"
MARKS: Final = (BEGIN, END, "<|system|>", "<|user|>", ASSISTANT, "<|tool|>", "<tools>", "</tools>", CALL, CALL_END)

CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{%- set system = messages[0]['content'] if messages and messages[0]['role'] in ('system', 'developer') else '' -%}"
    "{%- if system or tools -%}<|system|>{{ system }}"
    "{%- if tools -%}<tools>{%- for tool in tools -%}"
    "{{ ' ' + tool['function']['name'] }}("
    "{%- for name in (tool['function'].get('parameters') or {}).get('properties') or {} -%}"
    "{{ name }}{{ ',' if not loop.last else '' }}{%- endfor -%}"
    "){%- endfor -%}</tools>{%- endif -%}<|end|>{%- endif -%}"
    "{%- for message in messages -%}{%- if not (loop.first and system) -%}"
    "<|{{ message['role'] }}|>{{ (' ' if message['role'] == 'tool' else '') + (message['content'] or '') }}"
    "{%- for call in message.get('tool_calls') or [] -%}"
    "<tool_call>{{ ' ' + call['function']['name'] }}"
    "{%- for name, value in call['function']['arguments'].items() -%}"
    "{{ '\\n ' + name + ': ' }}{{ value if value is string else value | tojson }}"
    "{%- endfor -%}</tool_call>"
    "{%- endfor -%}<|end|>{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)
"""The same as a Jinja template, for other programs that load the file; arguments are objects to it, no JSON text."""

_NAME: Final = re.compile(r"[\w.:/-]{1,128}")
_ROLES: Final = {"developer": "system", "function": "tool"}


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    mark: bool = False


def prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
    """Ends where the model goes on: after the mark of its turn, or after what a last message of its has begun."""
    yield Piece(BEGIN, mark=True)
    system = "\n".join(content_of(each) for each in messages if _role(each) == "system")
    if system or tools:
        yield from _system(system, tools)
    rest = [each for each in messages if _role(each) != "system"]
    for place, message in enumerate(rest):
        yield Piece(f"<|{_role(message)}|>", mark=True)
        if place == len(rest) - 1 and begun(message):
            yield Piece(content_of(message).rstrip())
            return
        yield from turn(" " * (_role(message) == "tool") + content_of(message), _calls(message))
    yield Piece(ASSISTANT, mark=True)


def turn(text: str, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Piece]:
    """A message after the mark of its role. A call is a name and arguments."""
    yield Piece(text)
    for name, arguments in calls:
        yield Piece(CALL, mark=True)
        yield Piece(call_text(name, arguments))
        yield Piece(CALL_END, mark=True)
    yield Piece(END, mark=True)


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    return f" {name}" + "".join(f"\n {key}: {_value(value)}" for key, value in arguments.items())


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\n", " ")


def compact(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))


def parsed(arguments: str) -> Mapping[str, Any]:
    """JSON as an object, empty where it is none."""
    try:
        tree = json.loads(arguments)
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, Mapping) else {}


def begun(message: Mapping[str, Any]) -> bool:
    """Whether this last message is a turn of the model that it must go on with."""
    return message.get("role") == "assistant" and not _calls(message)


def content_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def read_call(text: str, texts: Collection[str] = ()) -> tuple[str, dict[str, Any]] | None:
    """What stands between the marks of a call, if it is one. `texts`: parameters whose values are texts, whatever
    they look like."""
    name, *lines = text.strip().split("\n")
    if not _NAME.fullmatch(name.strip()):
        return None
    arguments: dict[str, Any] = {}
    for line in lines:
        key, colon, value = line.strip().partition(":")
        if not colon or not key or key in arguments:
            return None
        arguments[key] = value.strip() if key in texts else _read_value(value.strip())
    return name.strip(), arguments


def _read_value(text: str) -> Any:
    """A number, a truth value, a list or an object where it reads as one, else text."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(tree, str) or (isinstance(tree, float) and not math.isfinite(tree)) else tree


def _system(text: str, tools: Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
    yield Piece("<|system|>", mark=True)
    yield Piece(text)
    if tools:
        yield Piece("<tools>", mark=True)
        yield Piece("".join(f" {told}" for told in map(_declaration, tools) if told))
        yield Piece("</tools>", mark=True)
    yield Piece(END, mark=True)


def _declaration(tool: Mapping[str, Any]) -> str:
    match tool:
        case {"function": {"name": str(name)} as function} | {"custom": {"name": str(name)} as function}:
            schema = function.get("parameters")
            properties = schema.get("properties") if isinstance(schema, Mapping) else None
            return f"{name}({','.join(properties) if isinstance(properties, Mapping) else ''})"
        case _:
            return ""


def _role(message: Mapping[str, Any]) -> str:
    role = str(message.get("role"))
    role = _ROLES.get(role, role)
    return role if role in ("system", "user", "assistant", "tool") else "user"


def _calls(message: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    listed = message.get("tool_calls")
    for call in listed if isinstance(listed, list | tuple) else ():
        match call:
            case {"function": {"name": str(name), "arguments": str(arguments)}}:
                found.append((name, parsed(arguments)))
            case {"custom": {"name": str(name), "input": str(text)}}:
                found.append((name, {"input": text}))
            case _:
                pass
    match message.get("function_call"):
        case {"name": str(name), "arguments": str(arguments)}:
            found.append((name, parsed(arguments)))
        case _:
            pass
    return found
