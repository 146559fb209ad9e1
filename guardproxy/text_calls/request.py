"""From a request to what must be looked for in its answer."""

import re
from enum import StrEnum

from guardproxy.model import Request
from guardproxy.text_calls.evidence import code_tags, shown_formats
from guardproxy.text_calls.marks import ACTION, MARKER, fences, is_program
from guardproxy.text_calls.watch import Format, Watch

_NATIVE = frozenset({Format.MARKERS, Format.JSON, Format.PYTHONIC})
_ACTION_INPUT = re.compile(r"Action[\s\d*_]*Input[\s\d*_]*:")


class TextCallMode(StrEnum):
    """`auto` decides by the request: by the tools that it declares, or by what shows that its client parses text."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def watch_for(request: Request, mode: TextCallMode, hold_text_actions: bool) -> Watch | None:
    """What to look for in the answers to a request; None where there is nothing.

    With tools declared, a text counts as a call only if it names one of them: clients that fall back to text know no
    others. Without, any name counts, in the formats that the request shows. `hold_text_actions` looks for code and
    actions in the answers of all other requests too.
    """
    if mode is TextCallMode.NEVER:
        return None
    if mode is TextCallMode.ALWAYS:
        return Watch(frozenset(Format) - {Format.PROGRAM} | shown_formats(request), None, code_tags(request))
    if request.tools:
        return Watch(_NATIVE | (shown_formats(request) & {Format.REACT}), _names(request))
    shown = shown_formats(request)
    if shown:
        return Watch(shown | {Format.MARKERS}, None, code_tags(request))
    return Watch(frozenset({Format.CODE, Format.REACT}), None) if hold_text_actions else None


def text_action(request: Request, text: str) -> bool:
    """Whether an answer to a request without tools looks like code to run or like an action. Only counted."""
    if request.tools:
        return False
    if MARKER.search(text) or (ACTION.search(text) and _ACTION_INPUT.search(text)):
        return True
    return any(is_program(fence.label) for fence in fences(text))


def _names(request: Request) -> frozenset[str]:
    """Of the declared tools; those of a namespace also without it."""
    names = {tool.name for tool in request.tools}
    return frozenset(names | {name.rpartition(".")[2] for name in names})
