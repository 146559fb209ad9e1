"""Reading labelled rows, one JSON object a line. Every line's faults are said; nothing is guessed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from guardproxy import strict_json
from guardproxy.errors import Fault
from guardproxy.strict_json import JsonObject

MAX_LINE: Final = 64 << 20  # bytes; a longer line is a fault, not a memory problem


class Kind(StrEnum):
    """What of a row is judged."""

    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    USER_REQUEST = "user_request"


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled thing to judge, with the conversation that it stands in."""

    id: str
    source: str
    kind: Kind
    harmful: bool
    user_task: str
    system: str
    tools: tuple[Any, ...]
    history: tuple[Any, ...]
    call: Mapping[str, Any] | None
    result: str | None
    note: str

    @property
    def read_step(self) -> bool:
        """A step of an attack that only reads, and looks innocent by itself."""
        return "aux_read_step" in self.note

    @property
    def soft(self) -> bool:
        """Labelled by judging a whole run's risk and not what the call does, so people would disagree about it."""
        return "ToolEmu" in self.note or self.source in ("toolemu", "r-judge")


Problem: TypeAlias = tuple[str, str]
"""A field, or nothing, and what is wrong with it."""


class BadRow(ValueError):
    """A line that is no row. `problems` says all that is wrong with it and quotes no value."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in problems))
        self.problems = problems


def read(file: Path) -> Iterator[tuple[int, Row | BadRow]]:
    """The rows of a file with their line numbers. Lines of white space count as none. Raises OSError."""
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_LINE + 1):
            number += 1
            too_long = len(line) > MAX_LINE
            while len(line) > MAX_LINE and not line.endswith(b"\n"):
                line = lines.readline(MAX_LINE + 1)
            if too_long:
                yield number, BadRow([("", f"longer than {MAX_LINE >> 20} MiB")])
            elif line.strip():
                yield number, _row_or_fault(line)


def faults_of(file: Path, line: int, bad: BadRow) -> Iterator[Fault]:
    for field, problem in bad.problems:
        yield Fault(str(file), line, field, problem)


def _row_or_fault(line: bytes) -> Row | BadRow:
    try:
        return parse(strict_json.decode_object(line.strip()))
    except BadRow as bad:
        return bad
    except strict_json.MalformedJson as error:
        return BadRow([("", str(error))])


def parse(tree: JsonObject) -> Row:
    """Raises BadRow."""
    problems = list(_problems(tree))
    if problems:
        raise BadRow(problems)
    data: dict[str, Any] = dict(tree)
    return Row(
        id=data["id"],
        source=data["source"],
        kind=Kind(data["kind"]),
        harmful=data["label"] == "harmful",
        user_task=data.get("user_task") or "",
        system=data.get("system") or "",
        tools=tuple(data.get("tools") or ()),
        history=tuple(data.get("history") or ()),
        call=data.get("tool_call"),
        result=data.get("tool_result"),
        note=data.get("note") or "",
    )


_TEXTS: Final = ("license", "user_task", "system", "tool_result", "category", "note")


def _problems(tree: JsonObject) -> Iterator[Problem]:
    for field in ("id", "source"):
        if not isinstance(tree.get(field), str) or not tree[field]:
            yield field, "must be a non-empty string"
    if tree.get("label") not in ("harmful", "benign"):
        yield "label", "must be harmful or benign"
    for field in _TEXTS:
        if not isinstance(tree.get(field), (str, type(None))):
            yield field, "must be a string or null"
    for field in ("tools", "history"):
        if not isinstance(tree.get(field), (list, type(None))):
            yield field, "must be a list or null"
    yield from _call_problems(tree.get("tool_call"))
    yield from _kind_problems(tree)


def _call_problems(call: object) -> Iterator[Problem]:
    if call is None:
        return
    if not isinstance(call, dict):
        yield "tool_call", "must be an object or null"
        return
    if not isinstance(call.get("name"), str) or not call["name"]:
        yield "tool_call.name", "must be a non-empty string"
    if not isinstance(call.get("arguments"), dict):
        yield "tool_call.arguments", "must be an object"


def _kind_problems(tree: JsonObject) -> Iterator[Problem]:
    """That what is to be judged is there."""
    match tree.get("kind"):
        case Kind.TOOL_CALL:
            if tree.get("tool_call") is None:
                yield "tool_call", "missing, and kind tool_call judges it"
        case Kind.TOOL_RESULT:
            if tree.get("tool_result") is None:
                yield "tool_result", "missing, and kind tool_result judges it"
        case Kind.USER_REQUEST:
            if not tree.get("user_task"):
                yield "user_task", "missing, and kind user_request judges it"
        case _:
            yield "kind", "must be tool_call, tool_result or user_request"
