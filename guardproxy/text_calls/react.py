"""Actions of ReAct agents: `Action: f` and `Action Input: x`, as LangChain, LlamaIndex and CrewAI read them."""

import re
from collections.abc import Iterator

from guardproxy.text_calls.lax import UnreadableValue, read_value, skip_space
from guardproxy.text_calls.marks import ACTION
from guardproxy.text_calls.objects import UNREADABLE, Spelled, arguments_text, calls_in_region, dumps
from guardproxy.text_calls.pythonic import spelled
from guardproxy.text_calls.watch import MAX_NAME, NO_TOOL, Watch

_REST_OF_MARK = re.compile(r"[\s\d*_]*:?")
_INPUT = re.compile(r"Action[\s\d*_]*Input[\s\d*_]*:", re.IGNORECASE)
_AT_LINE_START = re.compile(r"(?:^|[\r\n])[ \t>*#_\-`]*\Z")
_FENCE = re.compile(r"[\s*]*(?:(?:`{3,}|~{3,})[ \t]*\w{0,16}\s*)?")
_LOOKUP = re.compile(r"\s*([\w.-]{1,200})\[(.*)\]", re.DOTALL)  # Search[a title]
_ALONE = re.compile(r"\s*[\"'`*]*([^\W\d][\w.:/-]{0,199})[\"'`*]*[ \t\r]*(?:\n|\Z)")
_FIRST_WORD = re.compile(r"[^\s()\[\]{}*`\"',]{1,200}")
_NEXT_STEP = re.compile(
    r"[\s`*#>_]*(?:Observation|Thought|Action|Final Answer|Question|Answer|PAUSE|\Z)", re.IGNORECASE
)


def actions(text: str, watch: Watch) -> Iterator[tuple[int, Spelled]]:
    """The actions of a text and where each begins."""
    marks = list(ACTION.finditer(text))
    for i, mark in enumerate(marks):
        rest = _REST_OF_MARK.match(text, mark.end()) if not mark[0].endswith(":") else None
        begin = rest.end() if rest else mark.end()
        limit = marks[i + 1].start() if i + 1 < len(marks) else len(text)
        given = _INPUT.search(text, begin, limit)
        if given:
            found = [_with_input(text[begin : given.start()], text[given.end() :], watch)]
        elif _AT_LINE_START.search(text, max(0, mark.start() - 64), mark.start()):
            found = _without_input(text[begin:limit], watch)
        else:
            continue
        yield from ((mark.start(), call) for call in found if call is not None)


def _with_input(named: str, given: str, watch: Watch) -> Spelled | None:
    """`given` is all that follows: some clients hand all of it to the tool."""
    said = named.strip(" \t\r\n*`\"'")
    if watch.tools is not None:
        words = (said, *_FIRST_WORD.findall(said))
        name = next((tool for word in words if (tool := watch.wants(word)) is not None), None)
    else:
        name = None if said in NO_TOOL else said.partition("\n")[0].strip() or UNREADABLE
    return Spelled(name[:MAX_NAME], _arguments(given)) if name else None


def _arguments(given: str) -> str:
    fence = _FENCE.match(given)
    at = fence.end() if fence else 0
    if not given.startswith(("{", "["), at):
        at = skip_space(given, 0)
    if given.startswith(("{", "["), at):
        try:
            value, end = read_value(given, at)
            if _NEXT_STEP.match(given, end):
                return arguments_text(value)
        except (UnreadableValue, RecursionError):
            pass
    return dumps({"input": given.strip(" \t\r\n*")})


def _without_input(body: str, watch: Watch) -> list[Spelled | None]:
    """An object, a lookup, a Python call or a bare name behind `Action:`; anything else is prose."""
    fence = _FENCE.match(body)
    at = fence.end() if fence else 0
    if body.startswith(("{", "["), at):
        return [*calls_in_region(body[at:], watch)]
    at = skip_space(body, 0)
    if call := spelled(body, at):
        return [call._replace(name=name)] if (name := watch.wants(call.name)) else []
    if match := _LOOKUP.match(body):
        return [Spelled(name, dumps({"input": match[2]}))] if (name := watch.wants(match[1])) else []
    if match := _ALONE.match(body):
        return [Spelled(name, "{}")] if (name := watch.wants(match[1])) else []
    return []
