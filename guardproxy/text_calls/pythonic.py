"""Calls written as Python would: f(a=1, b="x"), alone or in a list."""

import re
from collections.abc import Iterator

from guardproxy.strict_json import Json
from guardproxy.text_calls.lax import UnreadableValue, read_value, skip_space
from guardproxy.text_calls.objects import Spelled, dumps
from guardproxy.text_calls.watch import Watch

_NAME = re.compile(r"(?<![\w.-])([^\W\d][\w.-]*)\s*\(")
_KEYWORD = re.compile(r"([^\W\d]\w*)\s*=(?!=)")
_NAMED_ARGUMENTS = re.compile(r"(?<![\w.-])([^\W\d][\w.-]*)\s*\(\s*[^\W\d]\w*\s*=(?!=)")


def calls_in_list(region: str, watch: Watch) -> list[Spelled]:
    """The calls of a text that begins with a square bracket; it may lack its end."""
    try:
        calls = list(_read_list(region))
    except UnreadableValue:
        return list(_calls_in_unreadable(region, watch))
    wanted = [(watch.wants(name), positional, named) for name, positional, named in calls]
    if watch.tools is None and any(positional and not named for _, positional, named in wanted):
        return []  # such as the interval [f(a), f(b)]: the parsers of this format know named arguments only
    return [Spelled(name, _arguments(positional, named)) for name, positional, named in wanted if name is not None]


def read_call(text: str, at: int) -> tuple[str, list[Json], dict[str, Json], int]:
    """Name, arguments and end of the call at a place. Raises UnreadableValue."""
    head = _NAME.match(text, at)
    if head is None:
        raise UnreadableValue
    positional: list[Json] = []
    named: dict[str, Json] = {}
    at = skip_space(text, head.end())
    while not text.startswith(")", at):
        keyword = _KEYWORD.match(text, at)
        value, at = read_value(text, keyword.end() if keyword else at)
        if keyword is None:
            positional.append(value)
        elif keyword[1] in named:
            raise UnreadableValue
        else:
            named[keyword[1]] = value
        at = skip_space(text, at)
        if text.startswith(",", at):
            at = skip_space(text, at + 1)
        elif not text.startswith(")", at):
            raise UnreadableValue
    return head[1], positional, named, at + 1


def spelled(text: str, at: int) -> Spelled | None:
    """The call at a place, whatever its name."""
    try:
        name, positional, named, _ = read_call(text, at)
    except (UnreadableValue, RecursionError):
        return None
    return Spelled(name, _arguments(positional, named))


def _read_list(region: str) -> Iterator[tuple[str, list[Json], dict[str, Json]]]:
    at = skip_space(region, 1)
    while not region.startswith("]", at):
        try:
            name, positional, named, at = read_call(region, at)
        except RecursionError:
            raise UnreadableValue from None
        yield name, positional, named
        at = skip_space(region, at)
        if region.startswith((",", ";"), at):
            at = skip_space(region, at + 1)
        elif not region.startswith("]", at):
            raise UnreadableValue


def _arguments(positional: list[Json], named: dict[str, Json]) -> str:
    return dumps({**named, **({"args": positional} if positional else {})})


def _calls_in_unreadable(region: str, watch: Watch) -> Iterator[Spelled]:
    """Of a list that holds more than values, such as an expression: with its raw text."""
    pattern = _NAMED_ARGUMENTS if watch.tools is None else _NAME
    seen: set[str] = set()
    for match in pattern.finditer(region):
        name = watch.wants(match[1])
        if name is not None and name not in seen:
            seen.add(name)
            yield Spelled(name, region)
