"""From deltas to calls. Where two clients could put the same deltas together in two ways, the stream is refused.

Some clients concatenate every string of a delta, some let the first value win, some the last. So a call's name may
come once, its id must not change, and nothing of a call may follow its choice's finish. Of a call that nobody
knows how to read in pieces, one piece alone may bring arguments.

Some clients know a call by its index, some by its place in a list. So the calls of a choice must begin in the order
of their indexes, without gaps, and one event may bring but one piece of each.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never

from guardproxy.errors import UpstreamProtocolError
from guardproxy.model import (
    CallDelta,
    CallKey,
    CallKind,
    Delta,
    FinishDelta,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    Turn,
    UninspectedDelta,
    UsageDelta,
)

MAX_CALLS = 256


@dataclass(slots=True)
class _Parts:
    kind: CallKind | None = None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Assembler:
    """Collects one turn. `feed` raises UpstreamProtocolError on a delta that has no single reading."""

    def __init__(self) -> None:
        self._calls: dict[CallKey, _Parts] = {}
        self._texts: dict[int, list[str]] = {}
        self._finish: dict[int, str] = {}
        self._seen_choices: set[int] = set()
        self._usage: dict[str, Any] | None = None
        self._uninspected: list[str] = []

    def feed(self, deltas: Iterable[Delta]) -> None:
        """The deltas of one event."""
        pieces: set[CallKey] = set()
        for delta in deltas:
            match delta:
                case TextDelta():
                    self._seen_choices.add(delta.choice)
                    self._texts.setdefault(delta.choice, []).append(delta.text)
                case CallDelta():
                    if delta.key in pieces:
                        raise UpstreamProtocolError("the upstream sent a tool call twice in one event")
                    pieces.add(delta.key)
                    self._add_call(delta)
                case FinishDelta():
                    self._add_finish(delta)
                case UsageDelta():
                    self._usage = {**(self._usage or {}), **delta.usage}
                case ReasoningDelta():
                    self._seen_choices.add(delta.choice)
                case UninspectedDelta():
                    self._uninspected.append(delta.kind)
                case _:
                    assert_never(delta)

    def turn(self) -> Turn:
        """The complete turn. Raises UpstreamProtocolError when a choice has not ended or a call has no name or id."""
        if unfinished := self._seen_choices - self._finish.keys():
            raise UpstreamProtocolError(f"the upstream's answer ends before choice {min(unfinished)} has finished")
        return Turn(
            calls=tuple(_call(key, parts) for key, parts in sorted(self._calls.items())),
            texts={choice: "".join(pieces) for choice, pieces in self._texts.items()},
            finish_reasons=dict(self._finish),
            usage=self._usage,
            uninspected=tuple(self._uninspected),
        )

    def _begin_call(self, key: CallKey) -> _Parts:
        if len(self._calls) >= MAX_CALLS:
            raise UpstreamProtocolError(f"the upstream sent more than {MAX_CALLS} tool calls")
        if key.position > 0 and key._replace(position=key.position - 1) not in self._calls:
            raise UpstreamProtocolError("the upstream began its tool calls out of order")
        self._calls[key] = parts = _Parts()
        return parts

    def _add_call(self, delta: CallDelta) -> None:
        self._seen_choices.add(delta.key.choice)
        if delta.key.choice in self._finish:
            raise UpstreamProtocolError("the upstream sent part of a tool call after its choice had finished")
        parts = self._calls.get(delta.key) or self._begin_call(delta.key)
        if delta.kind is not None:
            if parts.kind not in (None, delta.kind):
                raise UpstreamProtocolError("the upstream changed the type of a tool call midway")
            parts.kind = delta.kind
        if delta.id:
            if parts.id not in ("", delta.id):
                raise UpstreamProtocolError("the upstream changed the id of a tool call midway")
            parts.id = delta.id
        if delta.name:
            if parts.name:
                raise UpstreamProtocolError("the upstream sent the name of a tool call twice")
            parts.name = delta.name
        if parts.kind is CallKind.OPAQUE and delta.arguments and any(parts.arguments):
            raise UpstreamProtocolError("the upstream sent a tool call of an unknown type in several pieces")
        parts.arguments.append(delta.arguments)

    def _add_finish(self, delta: FinishDelta) -> None:
        self._seen_choices.add(delta.choice)
        if self._finish.setdefault(delta.choice, delta.reason) != delta.reason:
            raise UpstreamProtocolError("the upstream finished a choice twice with different reasons")


def _call(key: CallKey, parts: _Parts) -> ToolCall:
    if parts.kind is None:
        raise UpstreamProtocolError("the upstream sent a tool call of no known type")
    if not parts.name:
        raise UpstreamProtocolError("the upstream sent a tool call without a name")
    if not parts.id and parts.kind is not CallKind.LEGACY_FUNCTION:
        raise UpstreamProtocolError("the upstream sent a tool call without an id")
    return ToolCall(key, parts.kind, parts.id, parts.name, "".join(parts.arguments))
