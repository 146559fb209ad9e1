"""Harmful tasks from an audit: what users asked for when a guard blocked the call that came of it. Pure.

Only the audit's full content says what was asked. Left out is what the user did not ask for: calls behind a tool result
that a guard flagged, and calls of tools that were not declared. What is left was blocked, which is not the same as
harmful: somebody has to read the tasks before a prefix is learned from them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guardproxy import strict_json
from guardproxy.offline.learn.tasks import parse_line
from guardproxy.strict_json import Json, JsonObject

_EXACT: Final = 200  # characters of an argument, up to which another one would be another call
_NOT_OF_HARM: Final = ("declared_tools",)

Record = Mapping[str, Any]


@dataclass(slots=True)
class Audited:
    """`lines` are tasks as task files have them; `lacking` counts the blocked calls that made none, by cause."""

    lines: list[bytes] = field(default_factory=list)
    lacking: Counter[str] = field(default_factory=Counter)

    @property
    def told(self) -> str:
        """For a person."""
        left_out = ", ".join(f"{count} {_CAUSES[cause]}" for cause, count in sorted(self.lacking.items()))
        return f"{len(self.lines)} tasks from blocked calls" + (f"; left out: {left_out}" if left_out else "")


_CAUSES: Final = {
    "unreadable": "lines that are no record",
    "redacted": "whose audit holds no content (`audit: {content: full}` is needed)",
    "tainted": "behind a flagged tool result, so that the user may not have asked for them",
    "undeclared": "of tools that were not declared",
    "no_user": "without a word of the user's",
    "no_function": "that are no function with arguments",
    "repeated": "that others repeat",
}


def tasks_of(lines: Iterable[bytes]) -> Audited:
    audited = Audited()
    seen: set[str] = set()
    for line in lines:
        if not line.strip():
            continue
        try:
            record = strict_json.decode_object(line.strip())
        except strict_json.MalformedJson:
            audited.lacking["unreadable"] += 1
            continue
        for call in _blocked(record):
            made = _task(record, call)
            if isinstance(made, str):
                audited.lacking[made] += 1
            elif made["id"] in seen:
                audited.lacking["repeated"] += 1
            else:
                seen.add(str(made["id"]))
                audited.lines.append(strict_json.encode(made) + b"\n")
    return audited


def _blocked(record: Record) -> Iterator[Record]:
    """Also what a guard in monitor mode would have blocked."""
    for attempt in record.get("attempts") or ():
        yield from (call for call in attempt.get("calls") or () if call.get("verdict") == "block")


def _task(record: Record, call: Record) -> JsonObject | str:
    """A task, or why there is none."""
    if record.get("tainted_results"):
        return "tainted"
    if all(finding.get("guard") in _NOT_OF_HARM for finding in _against(call)):
        return "undeclared"
    text = (call.get("arguments") or {}).get("text")
    if record.get("content") != "full" or not isinstance(text, str):
        return "redacted"
    messages = record.get("messages") or ()
    user, system = _last(messages, "user"), _last(messages, "system")
    if not user.strip():
        return "no_user"
    arguments = _arguments(text)
    made = None if arguments is None else _line(user, system, str(call.get("tool")), arguments)
    if made is None or parse_line(strict_json.encode(made))[1]:
        return "no_function"
    return made


def _against(call: Record) -> list[Record]:
    return [finding for finding in call.get("findings") or () if finding.get("verdict") == "block"]


def _last(messages: Iterable[Record], role: str) -> str:
    texts = [str(message.get("text") or "") for message in messages if message.get("role") == role]
    return texts[-1] if texts else ""


def _arguments(text: str) -> JsonObject | None:
    try:
        return strict_json.decode_object((text or "{}").encode("utf-8", "surrogatepass"))
    except strict_json.MalformedJson:
        return None


def _line(user: str, system: str, tool: str, arguments: JsonObject) -> JsonObject:
    properties: JsonObject = {name: {} for name in arguments}
    matchers: JsonObject = {
        name: _matcher(value) for name, value in arguments.items() if value not in (None, "", [], {})
    }
    function: JsonObject = {"name": tool, "parameters": {"type": "object", "properties": properties}}
    whole = strict_json.encode([user, tool, arguments])
    id = f"audit-{hashlib.sha256(whole).hexdigest()[:12]}"
    return {
        "id": id,
        "kind": "harmful",
        "domain": "audit",
        "pair": id,
        "system": system or None,
        "user": user,
        "tools": [{"type": "function", "function": function}],
        "success": [{"name": tool, "arguments": matchers}],
        "example": {"name": tool, "arguments": arguments},
    }


def _matcher(value: Json) -> Json:
    """Short values as they were; of others, that there is one."""
    plain = isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _EXACT)
    return value if plain else {"present": True}
