"""From a request to what must be looked for in its answer."""

import re
from enum import StrEnum

from guardproxy.errors import MalformedRequest
from guardproxy.model import Request
from guardproxy.text_calls.evidence import code_tags, elements, shown_formats
from guardproxy.text_calls.marks import ACTION, KNOWN_ELEMENTS, MARKER, element, fences, is_program
from guardproxy.text_calls.watch import Format, Watch

_NATIVE = frozenset({Format.MARKERS, Format.JSON, Format.PYTHONIC, Format.XML})
_ELEMENT = element(KNOWN_ELEMENTS, frozenset())
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

    Raises MalformedRequest where the answer is to repeat the prompt: the calls in that are not the model's.
    """
    watch = _watch_for(request, mode, hold_text_actions)
    if watch is not None and request.echoes:
        why = "calls written in text are judged here, and those of the prompt could not be told from the model's"
        raise MalformedRequest(f"'echo' is refused: {why}.", param="echo", code="field_refused")
    return watch


def _watch_for(request: Request, mode: TextCallMode, hold_text_actions: bool) -> Watch | None:
    if mode is TextCallMode.NEVER:
        return None
    if mode is TextCallMode.ALWAYS:
        formats = frozenset(Format) - {Format.PROGRAM} | shown_formats(request)
        return Watch(formats, None, code_tags(request), elements(request))
    shown = shown_formats(request)
    tags = elements(request) if Format.XML in shown else frozenset()
    if request.tools:
        return Watch(_NATIVE | (shown & {Format.REACT}), _names(request), elements=tags)
    if shown:
        return Watch(shown | {Format.MARKERS}, None, code_tags(request), tags)
    if hold_text_actions:
        return Watch(frozenset({Format.CODE, Format.REACT, Format.XML}), None, elements=KNOWN_ELEMENTS)
    return None


def text_action(request: Request, text: str) -> bool:
    """Whether an answer to a request without tools looks like code to run or like an action. Only counted."""
    if request.tools:
        return False
    if request.echoes:
        text = text.removeprefix(next((m.text for m in request.messages if text.startswith(m.text)), ""))
    if MARKER.search(text) or _ELEMENT.search(text) or (ACTION.search(text) and _ACTION_INPUT.search(text)):
        return True
    return any(is_program(fence.label) for fence in fences(text))


def _names(request: Request) -> frozenset[str]:
    """Of the declared tools; those of a namespace also without it."""
    names = {tool.name for tool in request.tools}
    return frozenset(names | {name.rpartition(".")[2] for name in names})
