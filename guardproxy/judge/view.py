"""What a judge is shown of a call: the user's task, the tool, the arguments, and the results that matter. Pure.

All of it is someone else's text. Each becomes one line here (a line break is shown as `\\n`), without characters that
nobody sees, and with whatever looks like the marks of a prompt bent out of shape. So a text cannot begin a line, and
with that a turn, of its own. That no text becomes a special token is the tokenizer's part (see `engine`).
"""

import re
from dataclasses import astuple, dataclass
from hashlib import blake2b
from typing import Final

from guardproxy import strict_json
from guardproxy.model import Request, ToolCall
from guardproxy.printable import printable
from guardproxy.provenance import Conversation, Origin, trace

VERSION: Final = "1"

MAX_TASK: Final = 2000  # characters, as are all limits here
MAX_NAME: Final = 120
MAX_DESCRIPTION: Final = 400
MAX_ARGUMENTS: Final = 24_000
MAX_RESULTS: Final = 3
MAX_RESULT: Final = 2000
_MAX_DECODED: Final = 100_000  # longer arguments are shown as they were written
_MAX_TRACED: Final = 8_000

_GAP: Final = " [cut] "
_ODD = re.compile(r"[^\x20-\x7e]")
_MARKS = re.compile(
    r"<(?=\s*[/|\\]?\s*(?:begin|end|start|stop|im_|eo[smt]|bos|s>|unk|pad|think|score|user|assistant|system|tool|inst|sys)"
    r"|\||\uff5c|[^<>\s]{0,40}[|\uff5c]>)"
    r"|\[(?=\s*/?\s*(?:inst|(?:user's task|tool|tool call|arguments|data returned by a tool)\s*\]))",
    re.IGNORECASE,
)
_BENT: Final = {"<": "\u2039", "[": "("}


@dataclass(frozen=True, slots=True)
class View:
    """One line each. `results` are the texts of tool results, the most telling first. `truncated`: more was said."""

    task: str
    tool: str
    description: str
    arguments: str
    results: tuple[str, ...]
    truncated: bool

    @property
    def digest(self) -> bytes:
        """Names all that a judge is shown, for whoever keeps verdicts."""
        return blake2b(repr((VERSION, astuple(self))).encode("utf-8", "backslashreplace"), digest_size=16).digest()


def view_of(call: ToolCall, request: Request) -> View:
    """The bounded view of a call in its conversation."""
    conversation = Conversation.of(request)
    task, task_cut = _bounded(_task(conversation), MAX_TASK)
    arguments, arguments_cut = _bounded(_arguments(call.arguments), MAX_ARGUMENTS)
    results = [_excerpt(text, call) for text in _telling(call, conversation)]
    description = next((tool.description for tool in request.tools if tool.name == call.name), "")
    return View(
        task,
        _bounded(call.name, MAX_NAME)[0],
        _bounded(description, MAX_DESCRIPTION)[0],
        arguments,
        tuple(text for text, _ in results),
        task_cut or arguments_cut or any(cut for _, cut in results),
    )


def line(text: str) -> str:
    """`text` on one line, visible, and free of a prompt's marks."""
    text = text.replace("\r\n", "\\n").replace("\n", "\\n").replace("\t", " ")
    if _ODD.search(text):
        text = "".join(map(_visible, text))
    return _MARKS.sub(lambda mark: _BENT[mark[0]], text)


def _visible(character: str) -> str:
    return "\\n" if character in "\u2028\u2029" else printable(character)


def _bounded(text: str, limit: int) -> tuple[str, bool]:
    """`text` as a line of at most `limit` characters, its middle left out if it must be, and whether it was."""
    body = line(_clip(text, limit))
    return _clip(body, limit), max(len(text), len(body)) > limit  # a line break takes two characters


def _clip(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = limit // 3
    return text[: limit - tail - len(_GAP)] + _GAP + text[-tail:]


def _task(conversation: Conversation) -> str:
    """What the user asked for first and last; what only passes for the user's words is not among it."""
    said = [text.raw.strip() for text in conversation.user.texts if text.raw.strip()]
    if len(said) < 2:
        return "".join(said)
    return f"{said[0]}\n{said[-1]}"


def _arguments(raw: str) -> str:
    """With the escapes undone that could hide something, where it is JSON and not too long."""
    if len(raw) > _MAX_DECODED:
        return raw
    try:
        return strict_json.encode(strict_json.decode(raw.encode())).decode()
    except (ValueError, TypeError):
        return raw


def _telling(call: ToolCall, conversation: Conversation) -> list[str]:
    """The results that arguments came from, then the last ones."""
    sources: set[int | None] = set()
    if len(call.arguments) <= _MAX_TRACED:
        sources = {a.result for a in trace(call, conversation).arguments if a.origin is Origin.RESULT}
    results = conversation.result
    latest = list(zip(results.places, results.texts, strict=True))[::-1]
    latest.sort(key=lambda found: found[0] not in sources)
    return [text.raw for _, text in latest[:MAX_RESULTS]]


def _excerpt(text: str, call: ToolCall) -> tuple[str, bool]:
    """The result, or where it is long the part around what the call took from it."""
    if len(text) <= MAX_RESULT:
        return _bounded(text, MAX_RESULT)
    found = min((at for word in _words(call.arguments) if (at := text.find(word)) >= 0), default=0)
    start = max(0, min(found - MAX_RESULT // 2, len(text) - MAX_RESULT))
    body, _ = _bounded(text[start : start + MAX_RESULT], MAX_RESULT)
    return f"{_GAP.strip()} {body}" if start else body, True


def _words(arguments: str) -> list[str]:
    return re.findall(r"[\w@.:/+-]{8,}", arguments[:_MAX_TRACED])[:32]
