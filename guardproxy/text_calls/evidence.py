"""What in a request shows that its client reads calls out of text, and which.

Agents of this kind explain their format to the model, stop it where the observation would come, and report what a
tool said as a message of the user. Each of these is evidence.
"""

import re
from collections.abc import Iterable, Iterator

from guardproxy.model import Message, Request
from guardproxy.text_calls.marks import ACTION, CODE_TAGS, KNOWN_ELEMENTS, MARKER, element, fences
from guardproxy.text_calls.watch import Format

_INSTRUCTING = frozenset({"system", "developer", "user"})

_REACT = re.compile(r"\bAction[ _]?Input\b|\bAction\s*\d*:[^\n]*\n(?:.*\n){0,12}?.{0,40}\bObservation\b")
_MARKERS = re.compile(
    r"</?tools?>|</?tool_calls?\b|<function[=_]|<\|python_tag\|>|\[(?:TOOL_CALLS|AVAILABLE_TOOLS)\]|<invoke\b|✿FUNCTION✿"
    r"|<\|tool|<｜tool|<function_calls>|<tool_use\b"
)
_CODE = re.compile(
    r"(?:cod(?:e|ing)\s+(?:blocks?|blobs?|snippets?|sequences?)|```(?:python|py|sh|bash)|<code>|<execute)",
    re.IGNORECASE,
)
_RUNS = re.compile(r"\bexecut\w*\b|\binterpreter\b|\bObservation:", re.IGNORECASE)
_JSON_NAME = re.compile(r"[\"'](?:name|tool|tool_name|action|function|function_name)[\"']\s*:")
_JSON_ARGUMENTS = re.compile(
    r"[\"'](?:arguments|parameters|args|action_input|tool_input|input|params|tool_args|kwargs)[\"']\s*:"
)
_JSON_SPEAKS_OF = re.compile(r"\b(?:tools?|functions?|actions?)\b", re.IGNORECASE)
_PYTHONIC = re.compile(r"\[\s*[A-Za-z_]\w*\([^()\n]{0,200}=[^()\n]{0,200}\)")
_XML = re.compile(
    rf"XML[- ]style tags|<tool_name>\s*<parameter|<(?:{'|'.join(sorted(KNOWN_ELEMENTS))})>\s*<", re.IGNORECASE
)
_EXAMPLE = re.compile(r"<([A-Za-z_][\w.-]{0,63})>\s{0,64}<([A-Za-z_][\w.-]{0,63})>[^<>]{0,400}</\2>")
_PLACEHOLDERS = frozenset({"tool_name", "actual_tool_name", "tools", "tool", "invoke", "function_calls", "tool_call"})
_MAX_ELEMENTS = 256
_OBSERVED = re.compile(
    r"\s*(?:\[?Observations?\b|<tool_response|Tool (?:result|response|output)s?\b|Function (?:result|response)"
    r"|exitcode:|Execution logs:|Code output:|TOOL[ _]RESULT"
    r"|\[\w{1,64}[^\[\]\n]{0,400}\] Result:)",
    re.IGNORECASE,
)
_CLOSING_TAG = re.compile(r"\s*</([A-Za-z][\w.-]{0,40})>?\s*")
_ELEMENT = element(KNOWN_ELEMENTS, None)
_CALL_TAGS = frozenset({"tool_call", "tool_calls", "function_call", "function_calls", "tool_response", "function"})


def shown_formats(request: Request) -> frozenset[Format]:
    """The formats that the request's client appears to read; empty where nothing shows it."""
    found = {*_by_stops(request.stop)}
    for i, message in enumerate(request.messages):
        if message.role in _INSTRUCTING:
            found |= _by_instruction(message.text, first=i == 0 or message.role != "user")
        if i and _OBSERVED.match(message.text) and message.role in ("user", "tool"):
            found |= _by_answer(request.messages[i - 1])
    return frozenset(found)


def code_tags(request: Request) -> frozenset[str]:
    """The tags around programs that the stop sequences close, beside the usual ones."""
    tags = {tag[1].casefold() for stop in request.stop if (tag := _CLOSING_TAG.fullmatch(stop))}
    return frozenset(tags - CODE_TAGS - _CALL_TAGS)


def elements(request: Request) -> frozenset[str]:
    """The tags that are calls by themselves: those of known agents, and those that the instructions show with a
    parameter in them."""
    shown: set[str] = set()
    for message in request.messages:
        if message.role in ("system", "developer") and _XML.search(message.text):
            shown |= {example[1] for example in _EXAMPLE.finditer(message.text)} - _PLACEHOLDERS
    return KNOWN_ELEMENTS | frozenset(sorted(shown)[:_MAX_ELEMENTS])


def _by_stops(stops: Iterable[str]) -> Iterator[Format]:
    for stop in stops:
        plain = stop.strip().casefold()
        if plain.startswith(("observation", "\nobservation", "pause")) or "observ" in plain:
            yield from (Format.REACT, Format.JSON)
        elif plain in ("calling tools:", "<end_code>", "<end_action>"):  # smolagents; without tools, its code agent
            yield from (Format.CODE, Format.PROGRAM, Format.JSON)
        elif plain.startswith(("</tool_", "<tool_response", "</function", "[/tool", "<|eom_id|>")):
            yield Format.MARKERS
        elif _CLOSING_TAG.fullmatch(stop):
            yield Format.CODE


def _by_instruction(text: str, *, first: bool) -> set[Format]:
    """Most texts lack the characters that a pattern cannot do without, which is seen far sooner."""
    found: set[Format] = set()
    tags, folded = "<" in text, text.casefold()
    if "Action" in text and _REACT.search(text):
        found |= {Format.REACT, Format.JSON}
    if (tags or "[" in text or "✿" in text) and _MARKERS.search(text):
        found |= {Format.MARKERS, Format.JSON}
    if (tags or "xml" in folded) and _XML.search(text):
        found.add(Format.XML)
    if first and (tags or "```" in text or "cod" in folded) and _CODE.search(text) and _RUNS.search(text):
        found.add(Format.CODE)
    if _JSON_NAME.search(text) and _JSON_ARGUMENTS.search(text) and _JSON_SPEAKS_OF.search(text):
        found.add(Format.JSON)
    if first and _PYTHONIC.search(text) and _JSON_SPEAKS_OF.search(text):
        found |= {Format.PYTHONIC, Format.JSON}
    return found


def _by_answer(message: Message) -> set[Format]:
    """By an answer of the model that was followed by an observation."""
    found: set[Format] = set()
    if message.role != "assistant":
        return found
    if ACTION.search(message.text):
        found |= {Format.REACT, Format.JSON}
    if MARKER.search(message.text):
        found |= {Format.MARKERS, Format.JSON}
    if _ELEMENT.search(message.text):
        found.add(Format.XML)
    if any(True for _ in fences(message.text)) or "<code>" in message.text:
        found.add(Format.CODE)
    return found or {Format.JSON, Format.PYTHONIC, Format.MARKERS}
