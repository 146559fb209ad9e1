"""What the text model reads: a call, a tool result or a user's request, as bounded plain text. Pure.

A `Reading` has two parts. The lead says of what kind it is, and stands before every window of the body: a call is
always read beside what the user asked for last. The body is what is judged.

The format is part of the model: a head trained on one version means nothing for another, so `VERSION` stands in the
model's manifest and is compared at load. Everything here is bounded before it is normalised, and whatever was left
out is said in `Reading.truncated`, never silent.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, islice, takewhile
from typing import Final

from guardproxy import strict_json
from guardproxy.model import Request, ToolCall
from guardproxy.printable import printable
from guardproxy.strict_json import Json

VERSION: Final = "2"

MAX_NAME: Final = 120  # characters, as are all limits here
MAX_DESCRIPTION: Final = 300
MAX_ARGUMENTS: Final = 6000
MAX_WORDS: Final = 2000  # keys and scalars of an argument tree: bounds the walk, not the text
MAX_CHARACTERS: Final = 6500  # of a whole serialised call: the limits above and the few words between them
MAX_TASK: Final = 1000  # of a lead, which is cut further by its tokens
MAX_BODY: Final = 6000  # of a request, and of what is read of a result

_GAP: Final = " [cut] "
_UNSAFE = re.compile(r"[^\x20-\x7e]")
_WORD_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-./:]+")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Reading:
    """`truncated` says that not all of what is judged stands in the body."""

    lead: str
    body: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Serialised:
    text: str
    truncated: bool


def read_call(call: ToolCall, request: Request, task: str) -> Reading:
    """A call beside its `task`: what the user asked for last (`Conversation.asked`)."""
    written = serialise_call(call, request)
    return Reading(f"task: {_bounded(task, MAX_TASK)[0]}".rstrip(), written.text, written.truncated)


def read_result(body: str) -> Reading:
    """A tool result, as its units in one text (`ResultOpinion.body`)."""
    return Reading("result:", body)


def read_request(request: Request) -> Reading | None:
    """What came in the user's name last, whoever said it: also what an agent sends there of its tools. None where
    there is nothing."""
    text = latest_request(request)
    return Reading("request:", *_bounded(text, MAX_BODY)) if text.strip() else None


def latest_request(request: Request) -> str:
    """The user's last message, or the last ones where several stand together."""
    ending = dropwhile(lambda message: message.role != "user", reversed(request.messages))
    latest = [message.text for message in takewhile(lambda message: message.role == "user", ending)]
    return "\n".join(reversed(latest))


def serialise_call(call: ToolCall, request: Request) -> Serialised:
    """The tool's name and purpose, and the decoded arguments, each on a line of its own."""
    arguments, cut = _arguments(call.arguments)
    parts = (
        ("tool", *_bounded(_words(call.name), MAX_NAME)),
        ("purpose", *_bounded(_description(call.name, request), MAX_DESCRIPTION)),
        ("arguments", *_bounded(arguments, MAX_ARGUMENTS)),
    )
    # A long description is cut by design: it is the operator's text, the same for every call of the tool.
    cut |= any(was_cut for title, _, was_cut in parts if title != "purpose")
    return Serialised("\n".join(f"{title}: {body}" for title, body, _ in parts if body), cut)


def safe(text: str) -> str:
    """Printable, normalised text on one line.

    NFKC undoes full-width and styled letters; tag characters become the ASCII that they stand for; other format
    characters (zero-width, bidirectional) vanish; control characters and runs of white space become one space; lone
    surrogates, which UTF-8 cannot carry, become U+FFFD.
    """
    if _UNSAFE.search(text):
        text = "".join(map(printable, unicodedata.normalize("NFKC", text)))
    return _SPACES.sub(" ", text).strip()


def _bounded(text: str, limit: int) -> tuple[str, bool]:
    """`text` made safe and at most `limit` characters long, its middle left out if it must be, and whether it was."""
    body = safe(_clip(text, limit))
    return _clip(body, limit), max(len(text), len(body)) > limit  # NFKC can make text longer


def _clip(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = limit // 3
    return text[: limit - tail - len(_GAP)] + _GAP + text[-tail:]


def _words(name: str) -> str:
    """`mcp__mail__sendEmail` -> `mcp mail send Email`: a WordPiece vocabulary has words, not identifiers."""
    return _WORD_BREAKS.sub(" ", _clip(name, MAX_NAME))


def _description(name: str, request: Request) -> str:
    return next((tool.description for tool in request.tools if tool.name == name), "")


def _arguments(raw: str) -> tuple[str, bool]:
    """The arguments as `key: value` words, so that JSON escapes hide nothing; raw where they are not strict JSON."""
    try:
        tree = strict_json.decode(raw.encode("utf-8", "surrogatepass"))
    except ValueError:
        return raw, False
    words = _tree_words(tree)
    text = " ".join(islice(words, MAX_WORDS))
    return text, next(words, None) is not None


def _tree_words(tree: Json) -> Iterator[str]:
    """Every key and every scalar of a tree, once each, in document order."""
    for key, scalar in fields(tree):
        if key:
            yield f"{key}:"
        if scalar is not None:
            yield scalar


def fields(tree: Json) -> Iterator[tuple[str, str | None]]:
    """Every key with its scalar as text (None before a container; no key within a list), in document order.

    Lazy, and not recursive.
    """
    stack: list[Iterator[tuple[str, Json]]] = [iter([("", tree)])]
    while stack:
        key, node = next(stack[-1], ("", _END))
        if node is _END:
            stack.pop()
            continue
        match node:
            case dict():
                yield key, None
                stack.append(iter(node.items()))
            case list():
                yield key, None
                stack.append(("", child) for child in node)
            case str():
                yield key, node
            case _:
                yield key, json.dumps(node)


_END: Final[Json] = []  # its identity, not its value, says that a container is at its end
