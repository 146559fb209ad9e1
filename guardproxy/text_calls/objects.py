"""Calls written as objects: {"name": ..., "arguments": ...} and all its relatives, wherever they stand in a tree."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from guardproxy import strict_json
from guardproxy.strict_json import Json
from guardproxy.text_calls.lax import UnreadableValue, read_value, skip_space, unescape
from guardproxy.text_calls.watch import Format, Watch

UNREADABLE = "unreadable_text_call"
PYTHON = "python_interpreter"

_SURE_NAME_KEYS = ("tool_name", "action", "tool", "function_name", "recipient_name", "tool_call_name", "Action")
_NAME_KEYS = (*_SURE_NAME_KEYS, "name", "function", "command", "Name")
_ARGUMENT_KEYS = (
    "arguments", "parameters", "args", "params", "action_input", "tool_input", "input", "kwargs", "tool_args",
    "tool_arguments", "tool_parameters", "function_args", "function_arguments", "Action Input", "actionInput",
)  # fmt: skip
_COMPANIONS = frozenset({*_NAME_KEYS, *_ARGUMENT_KEYS, "id", "type", "call_id", "tool_call_id", "thought", "thoughts"})

_QUOTED_NAME = re.compile(
    rf"""["']?\b(?P<key>{"|".join(_NAME_KEYS)})["']?\s*[:=]\s*["'](?P<name>[^"'\n]{{1,200}})["']"""
)
_ARGUMENT_KEY = re.compile(rf"""\b(?:{"|".join(_ARGUMENT_KEYS)})["']?\s*[:=]""")


class Spelled(NamedTuple):
    """A call as a text spells it: the tool that would run and its arguments."""

    name: str
    arguments: str


def calls_in_region(region: str, watch: Watch) -> list[Spelled]:
    """The calls of a piece of text that begins with a bracket; it may lack its end."""
    values, end = read_values(region)
    found = [call for value in values for call in calls_in_tree(value, watch)]
    return [*found, *_calls_in_unreadable(region[end:], watch)]


def read_values(text: str, at: int = 0) -> tuple[list[Json], int]:
    """The objects and lists that stand side by side at a place, and where what can be read ends."""
    values: list[Json] = []
    end = at
    while text.startswith(("{", "["), at):
        try:
            value, end = _strict_or_lax(text, at)
        except (UnreadableValue, RecursionError):
            break
        values.append(value)
        at = skip_space(text, end)
        at = skip_space(text, at + 1) if text.startswith((";", ","), at) else at
    return values, end


def calls_in_tree(tree: Json, watch: Watch) -> Iterator[Spelled]:
    match tree:
        case dict():
            call = _call_of(tree, watch)
            if call is not None:
                yield call
                return
            for value in tree.values():
                yield from calls_in_tree(value, watch)
        case list():
            for value in tree:
                yield from calls_in_tree(value, watch)
        case _:
            return


def arguments_text(value: Json) -> str:
    """The arguments of a call as JSON text, from whatever stands in their place."""
    match value:
        case None:
            return "{}"
        case dict():
            return dumps(value)
        case str():
            return value if _is_object(value) else dumps({"input": value})
        case _:
            return dumps({"input": value})


def dumps(value: Json) -> str:
    try:
        return strict_json.encode(value).decode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value)


def _is_object(text: str) -> bool:
    try:
        return isinstance(strict_json.decode(text.encode("utf-8", "surrogatepass")), dict)
    except strict_json.MalformedJson:
        return False


def _strict_or_lax(text: str, at: int) -> tuple[Json, int]:
    try:
        if at == 0:  # nearly always the whole of a region
            return strict_json.decode(text.encode()), len(text)
    except (strict_json.MalformedJson, UnicodeEncodeError):
        pass
    return read_value(text, at)


def _call_of(tree: dict[str, Json], watch: Watch) -> Spelled | None:
    if Format.CODE in watch.formats and isinstance(code := tree.get("code"), str):
        return Spelled(PYTHON, dumps({"code": code}))
    for key in _NAME_KEYS:
        named = tree.get(key)
        if not isinstance(named, str) or (name := watch.wants(named)) is None:
            continue
        given = next((k for k in _ARGUMENT_KEYS if k in tree and k != key), None)
        if given is not None:
            return Spelled(name, arguments_text(tree[given]))
        if tree.keys() <= _COMPANIONS or (watch.tools is not None and key in _SURE_NAME_KEYS):
            return Spelled(name, "{}") if watch.tools is not None or key in _SURE_NAME_KEYS else None
    return None


def _calls_in_unreadable(region: str, watch: Watch) -> Iterator[Spelled]:
    """What no reader of ours can take apart, but one of a client's perhaps: judged with its raw text."""
    text = unescape(region)
    has_arguments = _ARGUMENT_KEY.search(text) is not None
    seen: set[str] = set()
    for match in _QUOTED_NAME.finditer(text):
        name = watch.wants(match["name"])
        if name is None or name in seen:
            continue
        if has_arguments or match["key"] in _SURE_NAME_KEYS:
            seen.add(name)
            yield Spelled(name, region)
