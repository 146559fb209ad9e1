"""Reading what stands behind a marker: the formats that models are trained to write their calls in.

Hermes and Qwen, Qwen coder, GLM, Mistral, Llama, DeepSeek, Kimi, MiniMax, Granite, InternLM, Command, harmony, and
the XML of prompts. A reader that finds nothing leaves it to the next; what none can read is a call all the same.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from guardproxy.strict_json import Json
from guardproxy.text_calls.lax import UnreadableValue, read_value, skip_space, unescape
from guardproxy.text_calls.marks import MARKER
from guardproxy.text_calls.objects import (
    PYTHON,
    UNREADABLE,
    Spelled,
    arguments_text,
    calls_in_region,
    calls_in_tree,
    dumps,
    read_values,
)
from guardproxy.text_calls.pythonic import spelled
from guardproxy.text_calls.watch import MAX_CALLS, Watch

_NAME_IN_TAG = re.compile(r"""\s*(?:name\s*=\s*|=\s*)?["']?([^"'<>\s/]{1,200})["']?[^<>]{0,200}>""")
_PARAMETER = re.compile(
    r"""<[\s|｜]*(?:\w{1,20}[|｜:])?param(?:eter)?\s*(?:=|\s+name\s*=)\s*["']?([^"'<>]{1,200})["']?[^<>]{0,200}>(.*?)
    (?:</[\s|｜]*(?:\w{1,20}[|｜:])?param|(?=<[\s|｜]*(?:\w{1,20}[|｜:])?param)|(?=</[\s|｜]*(?:function|(?:\w{1,20}[|｜:])?invoke))|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_PAIR = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|(?=<arg_key>)|\Z)", re.DOTALL)
_GLM_NAME = re.compile(r"\s*([^\s<>{}\[\]()]{1,200})\s*(?=<arg_key>|</tool_call>|\Z)")
_NAME_BEFORE_BRACE = re.compile(r"(?<![\w-])([\w-]{1,200})(?=\{)")
_TO_TOOL = re.compile(r"\bto=([\w.:/-]{1,200})[^{]{0,200}(?=\{)")
_BEFORE_OBJECT = re.compile(
    r"""[\s\[:]*(?:function\s*<[^<>]{0,64}>\s*|call:)?([^\s<>{}\[\]()"'`]{1,200})
    (?:\s|<[^<>]{0,64}>|\[(?:ARGS|CALL_ID)\]\w{0,64}|`{3}\w{0,16}|✿ARGS✿:?)*(?=\{)""",
    re.VERBOSE,
)
_XML_TOOL = re.compile(
    r"\s*([^<>]{1,200})</\s*tool\s*>\s*(?:<\s*tool_input\s*>(.*?)(?:</\s*tool_input|\Z))?", re.DOTALL
)
_TO_VALUE = re.compile(r"[\s>|｜:]*(?:```\w{0,16}\s*|<[^<>]{0,64}>\s*){0,8}")
_WRAPPER = re.compile(r"[^<>{\[\]()]{0,64}>?\s*\[?\s*")
_REST_OF_TAG = re.compile(r"[^<>{}\[\]\n]{0,200}>")
_CLOSING = re.compile(r"</|<[|｜](?:[\w▁]{0,40}[_▁])?end|<\|(?:call|eom_id|eot_id)\|>")
_CALL_LIKE = re.compile(r"[{(\[<=]")
_ANY_NAME = re.compile(r"""["'](?:name|tool|tool_name|action|function)["']\s*:\s*["']([^"'\n]{1,200})""")


class Marked(NamedTuple):
    """The calls behind one marker."""

    start: int
    end: int  # of the objects that these calls were read from
    calls: list[Spelled]


def marked_calls(text: str, watch: Watch) -> Iterator[Marked]:
    """The calls behind every marker. One that stands within another's arguments counts too: some clients look for
    markers first and for quotes later."""
    marks = list(MARKER.finditer(text))
    start = 0
    for i, mark in enumerate(marks):
        limit = marks[i + 1].start() if i + 1 < len(marks) else len(text)
        if not (i and _WRAPPER.fullmatch(text, marks[i - 1].end(), mark.start())):
            start = mark.start()
        calls, end = _read(text, mark, limit, watch)
        if calls:
            yield Marked(start, end, calls)


def _read(text: str, mark: re.Match[str], limit: int, watch: Watch) -> tuple[list[Spelled], int]:
    begin = mark.end()
    if mark[0][0] == "<" and mark[0][-1] not in ">=" and (tag := _REST_OF_TAG.match(text, begin, limit)):
        begin = tag.end()
    segment = text[begin:limit]
    found, end = _values(text, begin, mark, watch) or (_spelled_out(mark, segment), begin)
    if mark[0].startswith("["):
        found = [*found, *_names_before_braces(text[max(begin, end) : limit], watch)]
    wanted = [call._replace(name=name) for call in found if (name := watch.wants(call.name)) is not None]
    if found:
        return wanted, end
    closing = _CLOSING.search(segment)
    body = segment[: closing.start()] if closing and closing.start() > 0 else segment
    return list(_unreadable(body, mark, watch)), begin


def _values(text: str, begin: int, mark: re.Match[str], watch: Watch) -> tuple[list[Spelled], int] | None:
    """Objects right behind the marker, each with its name in it."""
    to_value = _TO_VALUE.match(text, begin)
    at = to_value.end() if to_value else begin
    if mark[0].endswith("=") or not text.startswith(("{", "["), at):
        return None
    values, end = read_values(text, at)
    anything = Watch(watch.formats, None)
    found = [call for value in values for call in calls_in_tree(value, anything)]
    if not found:
        return None
    rest = text[end : end + 4096].lstrip()
    more = calls_in_region(text[end:], watch) if rest.startswith(("{", "[")) else []
    return found + more, end


def _spelled_out(mark: re.Match[str], segment: str) -> list[Spelled]:
    """The formats in which the name stands outside of an object."""
    head = mark[0].casefold()
    for reader in (_tagged, _harmony, _xml_tool, _glm, _before_object, _python):
        found = reader(head, segment)
        if found:
            return found
    return []


def _tagged(head: str, segment: str) -> list[Spelled]:
    """<function=NAME> or <invoke name="NAME">, with parameters in tags or an object."""
    if not head.endswith("="):
        return []
    name = _NAME_IN_TAG.match(segment)
    if name is None:
        return []
    body = segment[name.end() :]
    at = skip_space(body, 0)
    if body.startswith("{", at):
        try:
            return [Spelled(name[1], arguments_text(read_value(body, at)[0]))]
        except (UnreadableValue, RecursionError):
            return [Spelled(name[1], body)]
    parameters = [(match[1].strip(), value_of(match[2])) for match in _PARAMETER.finditer(body)]
    return [Spelled(name[1], unique(parameters, segment))]


def _harmony(head: str, segment: str) -> list[Spelled]:
    target = _TO_TOOL.search(segment) if head.startswith("<|") else None
    return [Spelled(target[1], _object_text(segment, target.end()))] if target else []


def _xml_tool(head: str, segment: str) -> list[Spelled]:
    match = _XML_TOOL.match(segment) if re.fullmatch(r"<\s*tool\s*>", head) else None
    if match is None:
        return []
    return [Spelled(match[1].strip(), arguments_text(value_of(match[2]) if match[2] is not None else None))]


def _glm(head: str, segment: str) -> list[Spelled]:
    name = _GLM_NAME.match(segment) if "tool" in head and head.endswith("call") else None
    if name is None or (not (pairs := _PAIR.findall(segment)) and "</tool_call>" not in segment):
        return []
    return [Spelled(name[1], unique([(key.strip(), value_of(value)) for key, value in pairs], segment))]


def _before_object(head: str, segment: str) -> list[Spelled]:
    """NAME{...}, with whatever a format puts between the two; several may follow each other."""
    found: list[Spelled] = []
    at = 0
    while match := _BEFORE_OBJECT.match(segment, at):
        found.append(Spelled(match[1], _object_text(segment, match.end())))
        try:
            _, at = read_value(segment, match.end())
        except (UnreadableValue, RecursionError):
            break
        between = re.match(r"\s*(?:[,;]|\[TOOL_CALLS\])?\s*", segment[at : at + 64])
        at += between.end() if between else 0
    return found


def _names_before_braces(segment: str, watch: Watch) -> list[Spelled]:
    """Mistral's parsers look for NAME{...} all over what stands behind the token."""
    found: dict[Spelled, None] = {}
    for name in _NAME_BEFORE_BRACE.finditer(segment):
        if watch.wants(name[1]) is not None:
            found[Spelled(name[1], _object_text(segment, name.end()))] = None
        if len(found) > MAX_CALLS:  # too many to judge: the turn is refused
            break
    return list(found)


def _python(head: str, segment: str) -> list[Spelled]:
    """f(a=1), in a list or one a line; behind Llama's tag also a program."""
    found: list[Spelled] = []
    for start in re.finditer(r"(?:^|[\[,;>\n])\s*(?=[^\W\d][\w.-]*\s*\()", segment):
        call = spelled(segment, start.end())
        if call is not None:
            found.append(call)
    if not found and head == "<|python_tag|>" and segment.strip():
        return [Spelled(PYTHON, dumps({"code": segment}))]
    return [call._replace(name=call.name.removesuffix(".call")) for call in found]


def _unreadable(body: str, mark: re.Match[str], watch: Watch) -> Iterator[Spelled]:
    """Fails closed: a client's parser may be laxer than all of ours."""
    text = unescape(body)
    if watch.tools is not None:
        named = watch.named_in(text)
        if named is not None:
            yield Spelled(named, body)
    elif (_CALL_LIKE.search(body) and not _is_mention(mark)) or "{" in body:
        quoted = _ANY_NAME.search(text)
        yield Spelled((quoted and watch.wants(quoted[1])) or UNREADABLE, body)


def _is_mention(mark: re.Match[str]) -> bool:
    """Whether prose speaks of the marker, in quotes, as `<tool_call>`."""
    text = mark.string
    return text[mark.start() - 1 : mark.start()] == "`" and "`" in text[mark.end() : mark.end() + 2]


def _object_text(segment: str, at: int) -> str:
    try:
        return arguments_text(read_value(segment, at)[0])
    except (UnreadableValue, RecursionError):
        return segment[at:]


def unique(pairs: list[tuple[str, Json]], raw: str) -> str:
    """The parameters as an object; the raw text where one is given twice."""
    arguments = dict(pairs)
    return dumps(arguments) if len(arguments) == len(pairs) else raw


def value_of(text: str) -> Json:
    """A parameter's value: JSON where it is an object, a list, a number or a word of JSON, else the text."""
    text = text.removeprefix("\n").removesuffix("\n")
    try:
        value, end = read_value(text)
    except (UnreadableValue, RecursionError):
        return text
    return value if not isinstance(value, str) and not text[end:].strip() else text
