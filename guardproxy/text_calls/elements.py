"""Calls as elements, the tool's name being the tag: <f><a>1</a></f>, as Cline, Roo Code and their kin read them."""

import html
import re
from collections.abc import Iterator

from guardproxy.text_calls.markers import unique, value_of
from guardproxy.text_calls.marks import element
from guardproxy.text_calls.objects import Spelled
from guardproxy.text_calls.watch import MAX_CALLS, Watch

_PARAMETER = re.compile(r"<\s{0,8}([A-Za-z_][\w.-]{0,100})(?:\s[^<>]{0,200})?>")
_MAX_NESTED = 32
_MAX_BODY = 65_536  # characters of an element that others stand in

Pairs = list[tuple[str, str]]


def element_calls(text: str, watch: Watch) -> Iterator[tuple[int, Spelled]]:
    """The calls and where each begins. One that stands within another's parameters counts too."""
    openings = list(element(watch.elements, watch.tools).finditer(text))
    nested = 0
    for i, opening in enumerate(openings):
        name = opening["element"] or opening["declared"]
        limit = openings[i + 1].start() if i + 1 < len(openings) else len(text)
        body, closed = _body(text, opening.end(), limit, name)
        if not closed and limit < len(text) and nested < _MAX_NESTED:
            nested += 1
            body, closed = _body(text, opening.end(), opening.end() + _MAX_BODY, name, first=True)
        wanted = _name(name, watch)
        for arguments in _readings(body):
            if closed or arguments:
                yield opening.start(), Spelled(wanted, arguments or "{}")


def _name(name: str, watch: Watch) -> str:
    return next((known for known in watch.elements if known.casefold() == name.casefold()), None) or (
        watch.wants(name) or name
    )


def _body(text: str, begin: int, limit: int, name: str, *, first: bool = False) -> tuple[str, bool]:
    """What stands in the element, to the last of its ends, and whether there is one."""
    closing = re.compile(rf"<\s{{0,8}}/\s{{0,8}}{re.escape(name)}(?![\w-])", re.IGNORECASE)
    ends = [match.start() for match in closing.finditer(text, begin, limit)]
    if not ends:
        return text[begin:limit], False
    return text[begin : ends[0 if first else -1]], True


def _readings(body: str) -> list[str]:
    """The arguments as clients take them: a parameter ends at the first of its closing tags or at the last, and some
    clients read entities. Empty where there are no parameters."""
    found: dict[str, None] = {}
    for greedy in (False, True):
        pairs = _pairs(body, greedy)
        if pairs is None:
            return [body]
        readings = (pairs, [(name, html.unescape(value)) for name, value in pairs] if "&" in body else pairs)
        for read in dict.fromkeys(map(tuple, readings)):
            found[unique([(name, value_of(value)) for name, value in read], body) if read else ""] = None
    return list(found)


def _pairs(body: str, greedy: bool) -> Pairs | None:
    """None where there are more than anyone has tools for."""
    pairs: Pairs = []
    at = 0
    while opening := _PARAMETER.search(body, at):
        closing = f"</{opening[1]}>"
        end = (body.rfind if greedy else body.find)(closing, opening.end())
        pairs.append((opening[1], body[opening.end() : end if end >= 0 else len(body)]))
        if end < 0:
            break
        if len(pairs) > MAX_CALLS:
            return None
        at = end + len(closing)
    return pairs
