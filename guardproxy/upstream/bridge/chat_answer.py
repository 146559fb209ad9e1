"""Reading a chat completions answer, streamed or whole, as blocks. What has no single reading is refused. Pure.

The reading is the chat surface's own, and the assembler's: a chat stream that a chat client would be refused is
refused here for the same reason.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from guardproxy.errors import UpstreamProtocolError
from guardproxy.model import (
    CallDelta,
    CallKind,
    Delta,
    FinishDelta,
    ReasoningDelta,
    TextDelta,
    Turn,
    UninspectedDelta,
    UsageDelta,
)
from guardproxy.prefix.echo import EchoFilter
from guardproxy.stream.assemble import Assembler
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.chat_completions.answer import read_chunk, read_completion
from guardproxy.upstream.bridge.blocks import Begun, Blocks, Ended, Event, Kind, Outcome, Usage
from guardproxy.upstream.bridge.reasoning import field_of

_OUTCOMES: Mapping[str, Outcome] = {
    "stop": Outcome.COMPLETE,
    "tool_calls": Outcome.COMPLETE,
    "eos": Outcome.COMPLETE,
    "eos_token": Outcome.COMPLETE,
    "stop_sequence": Outcome.COMPLETE,
    "length": Outcome.LENGTH,
    "max_tokens": Outcome.LENGTH,
    "model_length": Outcome.LENGTH,
    "content_filter": Outcome.FILTERED,
}


class ChatAnswer:
    """Takes the trees of one answer. Raises UpstreamError on what cannot be read or cannot be said in blocks.

    `prefill` is the beginning of the answer that the request gave: some servers say it again, and here it is left out.
    """

    def __init__(self, prefill: str = "") -> None:
        self._echo = EchoFilter(prefill, keep=False) if prefill else None
        self._assembler = Assembler()
        self._blocks = Blocks()
        self._begun = False
        self._outcome: Outcome | None = None
        self._stop: str | None = None

    def chunk(self, tree: JsonObject) -> list[Event]:
        """One chunk of a stream."""
        return self._take(tree, read_chunk(tree, 1), "delta")

    def completion(self, tree: JsonObject) -> list[Event]:
        """A whole answer, to its end."""
        return [*self._take(tree, read_completion(tree, 1), "message"), *self.end()]

    def end(self) -> list[Event]:
        """The end of the stream. An answer that was not finished is an UpstreamProtocolError."""
        turn = self._assembler.turn()
        if self._outcome is None:
            raise UpstreamProtocolError("the upstream's answer ends before it has finished")
        _check_ids(turn)
        cut = self._outcome is not Outcome.COMPLETE
        return [*self._blocks.end(cut=cut), Ended(self._outcome, _usage(turn.usage), self._stop)]

    def _take(self, tree: JsonObject, deltas: Iterable[Delta], part: str) -> list[Event]:
        deltas = list(deltas)
        self._assembler.feed(deltas)
        choices: Any = tree.get("choices") or []
        if not choices:  # the usage, or a first chunk that only says what was filtered
            return []
        events: list[Event] = []
        if not self._begun:
            self._begun = True
            events.append(_begun(tree))
        said = choices[0].get(part) or {}
        if said.get("audio"):
            raise UpstreamProtocolError("the upstream sent sound, which was not asked for")
        for delta in sorted(deltas, key=_order):
            events += self._delta(delta, said)
        events += self._spoken(Kind.REFUSAL, said.get("refusal"))
        if any(isinstance(delta, FinishDelta) for delta in deltas):
            events += self._rest()
        self._finish(choices[0], deltas)
        return events

    def _delta(self, delta: Delta, said: Mapping[str, object]) -> list[Event]:
        match delta:
            case ReasoningDelta():
                return self._spoken(Kind.REASONING, delta.text, field_of(said))
            case TextDelta():
                text = delta.text if self._echo is None else self._echo.receive(0, delta.text)
                return self._spoken(Kind.TEXT, text)
            case CallDelta():
                if delta.kind not in (None, CallKind.FUNCTION):
                    raise UpstreamProtocolError("the upstream sent a tool call of a type that was not asked for")
                called = self._blocks.called
                return [*self._rest(), *called(delta.key.position, delta.id, delta.name, delta.arguments)]
            case FinishDelta() | UsageDelta() | UninspectedDelta():
                return []

    def _spoken(self, kind: Kind, text: object, source: str = "") -> list[Event]:
        if text is not None and not isinstance(text, str):
            raise UpstreamProtocolError(f"the upstream's {kind.value} is not a string")
        if text and self._outcome is not None:
            raise UpstreamProtocolError("the upstream went on after it had finished")
        return self._blocks.said(kind, text or "", source)

    def _rest(self) -> list[Event]:
        """Text that waited, since it could have been the prefill again."""
        return [] if self._echo is None else self._spoken(Kind.TEXT, self._echo.finish(0))

    def _finish(self, choice: Mapping[str, Any], deltas: Iterable[Delta]) -> None:
        for delta in deltas:
            if isinstance(delta, FinishDelta):
                if delta.reason not in _OUTCOMES:
                    raise UpstreamProtocolError("the upstream finished for a reason that is not known here")
                self._outcome = _OUTCOMES[delta.reason]
                stop = choice.get("stop_reason")  # vLLM and its kin name the sequence here
                self._stop = stop if isinstance(stop, str) else None


def _order(delta: Delta) -> int:
    """Within one event: a model reasons, then speaks, then calls."""
    return 0 if isinstance(delta, ReasoningDelta) else 1 if isinstance(delta, TextDelta) else 2


def _check_ids(turn: Turn) -> None:
    """A result names its call by id alone."""
    ids = [call.id for call in turn.calls]
    if len(set(ids)) != len(ids):
        raise UpstreamProtocolError("the upstream sent two tool calls with one id")


def _begun(tree: Mapping[str, Any]) -> Begun:
    known, model, created = tree.get("id"), tree.get("model"), tree.get("created")
    return Begun(
        known if isinstance(known, str) else "",
        model if isinstance(model, str) else "",
        created if type(created) is int else 0,
    )


def _usage(tree: Mapping[str, Any] | None) -> Usage | None:
    if tree is None:
        return None
    details = tree.get("prompt_tokens_details"), tree.get("completion_tokens_details")
    prompt, completion = (each if isinstance(each, dict) else {} for each in details)
    return Usage(
        _count(tree, "prompt_tokens"),
        _count(tree, "completion_tokens"),
        _count(prompt, "cached_tokens"),
        _count(completion, "reasoning_tokens"),
    )


def _count(tree: Mapping[str, Any], name: str) -> int:
    value = tree.get(name)
    return value if type(value) is int and value >= 0 else 0
