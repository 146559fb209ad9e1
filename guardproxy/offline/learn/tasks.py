"""Tasks, one JSON object a line: what a user asks of an agent, the tools it has, and the call that would do it.

    id, kind ("benign" or "harmful"), domain, user       text
    pair                                                 tasks of one pair stay in one split; null: the id
    system                                               text or null
    tools                                                function tools as in a chat completions request
    success                                              a list of checks (see `checks`); one call that passes
                                                         one does a benign task, or is a harmful one's attack
    example                                              such a call: {"name": …, "arguments": {…}}
    results                                              by tool: what it answers, where a task takes several steps

Every line's faults are said; nothing is guessed, and no value is quoted.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from guardproxy import strict_json
from guardproxy.errors import Fault, MalformedRequest
from guardproxy.offline.learn.checks import Call, Check, Problem, check_problems
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.chat_completions import ChatCompletions
from guardproxy.surfaces.surface import RequestRules

MAX_FILE: Final = 64 << 20  # bytes
SHIPPED: Final = Path(__file__).parent / "tasks"
_FIELDS: Final = {"id", "kind", "domain", "pair", "system", "user", "tools", "success", "example", "results"}


class Kind(StrEnum):
    BENIGN = "benign"
    HARMFUL = "harmful"


@dataclass(frozen=True, slots=True)
class Task:
    id: str
    kind: Kind
    domain: str
    pair: str
    system: str
    user: str
    tools: tuple[Mapping[str, Any], ...]
    success: tuple[Check, ...]
    example: Call | None
    results: Mapping[str, str]

    @property
    def messages(self) -> list[Json]:
        """What the model is shown first."""
        system: list[Json] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]

    def done_by(self, call: Call) -> bool:
        return any(check.passes(call) for check in self.success)


class BadTasks(Exception):
    """Files that cannot be used. `faults` is everything that is wrong with all of them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class TaskSet:
    """Tasks in the order of their files. `digests` are of the files' bytes, by file name."""

    tasks: tuple[Task, ...]
    digests: Mapping[str, str]

    def of(self, kind: Kind) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.kind is kind)

    @property
    def digest(self) -> str:
        """Of the set, whatever the files are called."""
        return digest_of(sorted(self.digests.values()))


def digest_of(parts: Sequence[str]) -> str:
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


def shipped_files() -> list[Path]:
    return sorted(SHIPPED.glob("*.jsonl"))


def read_tasks(files: Sequence[Path]) -> TaskSet:
    """Raises BadTasks with every fault of every line of every file."""
    faults: list[Fault] = []
    tasks: list[Task] = []
    seen: set[str] = set()
    digests: dict[str, str] = {}
    for file in files:
        try:
            data = _bytes_of(file)
        except OSError as error:
            faults.append(Fault(str(file), None, "", f"cannot be read: {error.strerror}"))
            continue
        digests[file.name if file.name not in digests else str(file)] = _sha256(data)
        for number, line in enumerate(data.splitlines(), start=1):
            if line.strip():
                found, problems = parse_line(line)
                if found is not None and found.id in seen:
                    problems = [("id", "the same as that of an earlier task")]
                faults += [Fault(str(file), number, place, problem) for place, problem in problems]
                if found is not None:
                    seen.add(found.id)
                    tasks.append(found)
    faults += [] if faults else _missing_kinds(tasks, files)
    if faults:
        raise BadTasks(faults)
    return TaskSet(tuple(tasks), digests)


def _bytes_of(file: Path) -> bytes:
    with file.open("rb") as stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise OSError(0, f"larger than {MAX_FILE >> 20} MiB")
    return data


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _missing_kinds(tasks: Sequence[Task], files: Sequence[Path]) -> Iterator[Fault]:
    for kind in Kind:
        if not any(task.kind is kind for task in tasks):
            yield Fault(", ".join(map(str, files)) or "tasks", None, "", f"no {kind} task; both kinds are needed")


def parse_line(line: bytes) -> tuple[Task | None, list[Problem]]:
    """The task of a line, or all that is wrong with it."""
    try:
        tree = strict_json.decode_object(line.strip())
    except strict_json.MalformedJson as error:
        return None, [("", str(error))]
    problems = list(_problems(tree)) or list(_contradictions(_task(tree), tree))
    return (None, problems) if problems else (_task(tree), [])


def _task(tree: JsonObject) -> Task:
    data: dict[str, Any] = dict(tree)
    example = data.get("example")
    return Task(
        id=data["id"],
        kind=Kind(data["kind"]),
        domain=data["domain"],
        pair=data.get("pair") or data["id"],
        system=data.get("system") or "",
        user=data["user"],
        tools=tuple(data["tools"]),
        success=tuple(Check(check["name"], check.get("arguments", {})) for check in data["success"]),
        example=None if example is None else Call(example["name"], example["arguments"]),
        results=data.get("results") or {},
    )


def _problems(tree: JsonObject) -> Iterator[Problem]:
    for field in sorted(tree.keys() - _FIELDS):
        yield field, "unknown key"
    for field in ("id", "domain", "user"):
        if not isinstance(tree.get(field), str) or not str(tree[field]).strip():
            yield field, "must be a non-empty string"
    for field in ("pair", "system"):
        if not isinstance(tree.get(field), str | None):
            yield field, "must be a string or null"
    if tree.get("kind") not in [*Kind]:
        yield "kind", "must be benign or harmful"
    yield from _tool_problems(tree.get("tools"))
    yield from _success_problems(tree.get("success"))
    yield from _example_problems(tree.get("example"))
    results = tree.get("results")
    if results is not None and not (isinstance(results, dict) and all(isinstance(v, str) for v in results.values())):
        yield "results", "must be an object of texts, or null"


def _tool_problems(tools: object) -> Iterator[Problem]:
    if not isinstance(tools, list) or not tools:
        yield "tools", "must be a list of at least one tool"
        return
    for place, tool in enumerate(tools):
        at = f"tools[{place}]"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            yield at, "must be a function tool with a name"
            continue
        parameters = function.get("parameters", {})
        try:
            jsonschema_rs.validator_for(parameters)
        except (ValueError, TypeError, jsonschema_rs.ValidationError):
            yield f"{at}.function.parameters", "is no JSON Schema"


def _success_problems(success: object) -> Iterator[Problem]:
    if not isinstance(success, list) or not success:
        yield "success", "must be a list of at least one check"
        return
    for place, check in enumerate(success):
        yield from check_problems(check, f"success[{place}]")


def _example_problems(example: object) -> Iterator[Problem]:
    if example is None:
        return
    right = isinstance(example, dict) and example.keys() == {"name", "arguments"}
    if not right or not isinstance(example["name"], str) or not isinstance(example["arguments"], dict):  # type: ignore[index]
        yield "example", "must be an object with a name and arguments, or null"


def _contradictions(task: Task, tree: JsonObject) -> Iterator[Problem]:
    """What every field allows by itself and the task as a whole does not."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in task.tools}
    if len(schemas) < len(task.tools):
        yield "tools", "two tools have one name"
    for place, check in enumerate(task.success):
        if check.name not in schemas:
            yield f"success[{place}].name", "no such tool is declared"
    for name in sorted(task.results.keys() - schemas.keys()):
        yield f"results.{name}", "no such tool is declared"
    try:
        ChatCompletions().parse({"model": "m", "messages": task.messages, "tools": tree["tools"]}, RequestRules())
    except MalformedRequest as error:
        yield "", f"as a request: {error.message}"
    if task.example is None:
        return
    if not task.done_by(task.example):
        yield "example", "passes no check of success"
    elif not jsonschema_rs.is_valid(schemas.get(task.example.name, {}), task.example.arguments):
        yield "example.arguments", "do not fit the tool's parameters"
