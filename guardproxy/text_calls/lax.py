"""A lenient reading of values, as forgiving as the parsers of agents: JSON, JSON5, Python literals and in between.

It is used to find out what a client could make of a text, never to decide what is forwarded. What has two readings
(a key that is given twice) is refused.
"""

import re
from typing import Final

from guardproxy.strict_json import Json

MAX_DEPTH = 60

_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]{1,64}|(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][-+]?\d{1,3})?)(?!\w)"
)
_WORD = re.compile(r"[^\W\d][\w$.-]*")
_QUOTE = re.compile(r"(?<!\w)[rRbBuUfF]{0,2}(\"\"\"|'''|\"|')")
_STRING_PART: Final = {
    mark: re.compile(
        rf"[^\\{mark[0]}]*(?:(?:\\.{'' if len(mark) == 1 else f'|(?!{mark}){mark[0]}'})[^\\{mark[0]}]*)*", re.DOTALL
    )
    for mark in ('"""', "'''", '"', "'")
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U(00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})|(.))", re.DOTALL)
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": "", **{c: c for c in "\"'\\/"}}
_WORDS: dict[str, Json] = {
    "true": True, "false": False, "null": None, "True": True, "False": False, "None": None, "undefined": None,
}  # fmt: skip
_CLOSER = {"[": "]", "(": ")", "{": "}"}


class UnreadableValue(ValueError):
    """The text is no value, not even to a lenient reader."""


def read_value(text: str, start: int = 0, depth: int = 0) -> tuple[Json, int]:
    """The value at `start` and the place after it. Raises UnreadableValue."""
    at = skip_space(text, start)
    first = text[at : at + 1]
    if depth > MAX_DEPTH or not first:
        raise UnreadableValue
    if first == "{":
        return _read_object(text, at + 1, depth)
    if first in "[(":
        return _read_list(text, at + 1, _CLOSER[first], depth)
    if _QUOTE.match(text, at):
        return read_string(text, at)
    return _read_plain(text, at)


def skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def unescape(text: str) -> str:
    """The text without JSON's and Python's escapes; unknown ones stay as they are."""
    if "\\" not in text:
        return text
    return _PAIR.sub(lambda m: m[0].encode("utf-16", "surrogatepass").decode("utf-16"), _ESCAPE.sub(_character, text))


def read_string(text: str, at: int) -> tuple[str, int]:
    """One string, or several that stand side by side as Python lets them."""
    pieces: list[str] = []
    while opening := _QUOTE.match(text, at):
        body = _STRING_PART[opening[1]].match(text, opening.end())
        if body is None or not text.startswith(opening[1], body.end()):
            raise UnreadableValue
        pieces.append(unescape(body[0]))
        end = body.end() + len(opening[1])
        at = skip_space(text, end)
    return "".join(pieces), end


def read_key(text: str, at: int) -> tuple[str, int]:
    """A key of an object, quoted or not."""
    if _QUOTE.match(text, at):
        return read_string(text, at)
    word = _WORD.match(text, at) or _NUMBER.match(text, at)
    if word is None:
        raise UnreadableValue
    return word[0], word.end()


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    return chr(int(code, 16)) if code else _ESCAPED.get(escape[4], escape[0])


def _read_object(text: str, at: int, depth: int) -> tuple[Json, int]:
    members: dict[str, Json] = {}
    at = skip_space(text, at)
    while not text.startswith("}", at):
        key, at = read_key(text, at)
        at = skip_space(text, at)
        if key in members or not text.startswith(":", at):
            raise UnreadableValue
        members[key], at = read_value(text, at + 1, depth + 1)
        at = _after_comma(text, at, "}")
    return members, at + 1


def _read_list(text: str, at: int, closer: str, depth: int) -> tuple[Json, int]:
    values: list[Json] = []
    at = skip_space(text, at)
    while not text.startswith(closer, at):
        value, at = read_value(text, at, depth + 1)
        values.append(value)
        at = _after_comma(text, at, closer)
    return values, at + 1


def _after_comma(text: str, at: int, closer: str) -> int:
    at = skip_space(text, at)
    if text.startswith(",", at):
        return skip_space(text, at + 1)
    if not text.startswith(closer, at):
        raise UnreadableValue
    return at


def _read_plain(text: str, at: int) -> tuple[Json, int]:
    if number := _NUMBER.match(text, at):
        return _number(number[0]), number.end()
    if (word := _WORD.match(text, at)) and word[0] in _WORDS:
        return _WORDS[word[0]], word.end()
    raise UnreadableValue


def _number(digits: str) -> Json:
    try:
        return int(digits, 0)
    except ValueError:
        value = float.fromhex(digits) if "x" in digits.lower() else float(digits)
        if value in (float("inf"), float("-inf")):
            raise UnreadableValue from None
        return value
