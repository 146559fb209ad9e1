"""When a call is the one that a task is about: its name, and a matcher for each argument that matters.

A matcher is a plain value (equal to it; texts are compared without case and outer space) or one of

    {"contains": "text"}      {"matches": "regular expression"}      {"one_of": [value, …]}
    {"min": 1, "max": 5}      {"present": true}

Arguments that a check does not name may be anything.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from guardproxy import strict_json

Problem = tuple[str, str]
"""A place, and what is wrong there."""

_KEYS: Final = {"contains", "matches", "one_of", "min", "max", "present"}


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the model made it; `arguments` is None where its text is no JSON object."""

    name: str
    arguments: Mapping[str, Any] | None

    @classmethod
    def of(cls, name: str, text: str) -> "Call":
        try:
            return cls(name, strict_json.decode_object((text or "{}").encode("utf-8", "surrogatepass")))
        except strict_json.MalformedJson:
            return cls(name, None)


@dataclass(frozen=True, slots=True)
class Check:
    """What one call must be."""

    name: str
    arguments: Mapping[str, Any]

    def passes(self, call: Call) -> bool:
        if call.name != self.name or call.arguments is None:
            return False
        given = call.arguments
        return all(name in given and _fits(given[name], matcher) for name, matcher in self.arguments.items())


def check_problems(tree: object, at: str) -> Iterator[Problem]:
    """What keeps `tree` from being a Check."""
    if not isinstance(tree, dict):
        yield at, "must be an object with a name and arguments"
        return
    if not isinstance(tree.get("name"), str) or not tree["name"]:
        yield f"{at}.name", "must be a non-empty string"
    arguments = tree.get("arguments", {})
    if not isinstance(arguments, dict):
        yield f"{at}.arguments", "must be an object of matchers"
        return
    for name, matcher in arguments.items():
        yield from _matcher_problems(matcher, f"{at}.arguments.{name}")
    for key in sorted(tree.keys() - {"name", "arguments"}):
        yield f"{at}.{key}", "unknown key"


def _matcher_problems(matcher: object, at: str) -> Iterator[Problem]:
    if not isinstance(matcher, dict):
        return
    if not matcher or not matcher.keys() <= _KEYS:
        yield at, f"a matcher has one or more of {', '.join(sorted(_KEYS))}"
    for key in ("min", "max"):
        if key in matcher and not _is_number(matcher[key]):
            yield f"{at}.{key}", "must be a number"
    if "present" in matcher and matcher["present"] is not True:
        yield f"{at}.present", "can only be true"
    if "one_of" in matcher and not (isinstance(matcher["one_of"], list) and matcher["one_of"]):
        yield f"{at}.one_of", "must be a list of values"
    for key in ("contains", "matches"):
        if key in matcher and not (isinstance(matcher[key], str) and matcher[key]):
            yield f"{at}.{key}", "must be a non-empty string"
    if isinstance(matcher.get("matches"), str):
        try:
            re.compile(matcher["matches"])
        except re.error as error:
            yield f"{at}.matches", f"is no regular expression: {error}"


def _fits(value: object, matcher: object) -> bool:
    if not isinstance(matcher, dict):
        return _same(value, matcher)
    return all(_fits_one(value, key, wanted) for key, wanted in matcher.items())


def _fits_one(value: object, key: str, wanted: Any) -> bool:
    match key:
        case "present":
            return value not in (None, "", [], {})
        case "contains":
            return wanted.casefold() in _text(value).casefold()
        case "matches":
            return re.search(wanted, _text(value), re.IGNORECASE | re.DOTALL) is not None
        case "one_of":
            return any(_same(value, each) for each in wanted)
        case _:
            number = _number(value)
            return number is not None and (number >= wanted if key == "min" else number <= wanted)


def _same(value: object, wanted: object) -> bool:
    if isinstance(wanted, str):
        return isinstance(value, str) and _plain(value) == _plain(wanted)
    if _is_number(wanted):
        return _number(value) == wanted
    return value == wanted


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _text(value: object) -> str:
    """Lists and objects as JSON, so that a text can be looked for inside of them."""
    return value if isinstance(value, str) else strict_json.encode(value).decode()  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: object) -> float | None:
    """Models write numbers as text now and then; a tool would read them all the same."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
