"""Programs in an answer, for agents whose action is code."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from guardproxy import strict_json
from guardproxy.text_calls.marks import NO_PROGRAM, SHELLS, code_tag, fences
from guardproxy.text_calls.objects import PYTHON, Spelled, dumps
from guardproxy.text_calls.watch import Format, Watch

_LINE_FENCE = {mark: re.compile(rf"\n[ \t]*{mark}{{3}}") for mark in "`~"}
_SHELL_LINE = re.compile(
    r"\s*(?:#!.*(?:ba|z)?sh\b|\$ |(?:sudo|pip3?|ls|cd|rm|curl|wget|echo|python3?|bash|sh|apt|apt-get|git|mkdir|cat"
    r"|export|npm|npx|docker|chmod|chown|mv|cp|kill|source)\s|\./)"
)
_PYTHON_LABEL = re.compile(r"(?:python|py)", re.IGNORECASE)
_SCRIPTS = frozenset({"js", "javascript", "node", "ts", "typescript"})


class Program(NamedTuple):
    start: int
    tool: str
    code: str


def programs(text: str, watch: Watch) -> list[tuple[int, Spelled]]:
    """The programs of a text, those of one language joined: an agent runs them as one, or one after the other in one
    session, and what is spread over several must be judged as a whole."""
    found = sorted({program for program in (*_fenced(text), *_tagged(text, watch.tags)) if program.code.strip()})
    if not found and Format.PROGRAM in watch.formats and text.strip() and not NO_PROGRAM.match(text):
        found = [Program(0, PYTHON, text)]
    by_tool: dict[str, list[Program]] = {}
    for program in found:
        by_tool.setdefault(program.tool, []).append(program)
    joined = [(tool, parts[0].start, "\n\n".join(part.code for part in parts)) for tool, parts in by_tool.items()]
    wanted = [(start, tool, code) for tool, start, code in joined if watch.tools is None or watch.wants(tool)]
    return [(start, Spelled(tool, dumps({_key(tool): code}))) for start, tool, code in wanted]


def _fenced(text: str) -> Iterator[Program]:
    """Where a fence within a line could end the program too, both readings count."""
    for fence in fences(text):
        begin = fence.end
        known = _PYTHON_LABEL.match(fence.label)
        if known and fence.label.casefold() not in ("python", "python3", "py", "py3", "pycon"):
            begin -= len(fence.label) - known.end()  # the code begins right behind the label
        mark = text[fence.start]
        ending = _LINE_FENCE[mark].search(text, begin)
        body = text[begin : ending.start() if ending else len(text)]
        if not fence.label and _is_data(body):
            continue
        yield _program(fence.start, fence.label, body)
        shorter, inner, _ = body.partition(mark * 3)
        if inner:
            yield _program(fence.start, fence.label, shorter)


def _is_data(body: str) -> bool:
    """Whether what stands in a fence without a label is JSON: read as a program it does nothing."""
    try:
        return isinstance(strict_json.decode(body.strip().encode()), (dict, list))
    except (strict_json.MalformedJson, UnicodeEncodeError):
        return False


def _tagged(text: str, tags: frozenset[str]) -> Iterator[Program]:
    for opening in code_tag(tags).finditer(text):
        tag = opening["tag"]
        closing = re.compile(rf"</\s*{re.escape(tag)}|<end_code>|\Z", re.IGNORECASE).search(text, opening.end())
        body = text[opening.end() : closing.start() if closing else len(text)]
        yield _program(opening.start(), tag.casefold().removeprefix("execute_"), body)


def _program(start: int, label: str, body: str) -> Program:
    label = label.casefold()
    code = body.strip("\n\r")
    if label in SHELLS or (not label and _SHELL_LINE.match(code)):
        return Program(start, "powershell" if label in ("powershell", "pwsh", "ps1") else "bash", code)
    return Program(start, "execute_javascript" if label in _SCRIPTS else PYTHON, code)


def _key(tool: str) -> str:
    return "command" if tool in ("bash", "powershell") else "code"
