"""The gate: text leaves as it comes; from a call's first frame on everything waits, in order, for a permit.

Sans-io, and the same for streamed and whole answers. A gate serves one turn. For an agent that parses text it also
holds what may become a call written in text, and lets it go on where that turns out to be none.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from guardproxy.decision import Allow, Decision, Permit, Rewrite
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
)
from guardproxy.stream.assemble import Assembler
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject
from guardproxy.text_calls import Channel, Suspicion, TextCall, TextCallScanner, Watch

Amend = Callable[[Sequence[Frame], Permit], Sequence[Frame]]

TEXT_POSITION = 1 << 20  # of a choice's first call in text: after all others


class Reading(Protocol):
    """A surface's reading of frames, one after the other. `ended`: the last one ends the answer by its API's rules."""

    @property
    def ended(self) -> bool: ...

    def read(self, tree: JsonObject) -> Sequence[Delta]: ...


class Gate:
    """`hold_all` keeps text back too, for deployments that judge it; `hold_end` keeps the end back until the turn is
    complete, for answers that must be remembered before the client knows that they are there."""

    def __init__(
        self,
        reading: Reading,
        *,
        max_held_frames: int = 100_000,
        hold_all: bool = False,
        hold_end: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self._reading = reading
        self._assembler = Assembler()
        self._scanner = TextCallScanner(watch) if watch else None
        self._suspects: set[int] = set()
        self._held: list[Frame] = []
        self._held_chars: dict[int, int] = {}  # of each choice's text, where text is scanned
        self._left_chars: dict[int, int] = {}
        self._text_held = False
        self._max_held = max_held_frames
        self._hold_end = hold_end
        self._at_end = False
        self._must_wait = hold_all
        self._turn: Turn | None = None
        self._text_calls: dict[CallKey, TextCall] = {}
        self.done = False
        self.received = False
        self.text_left = False

    @property
    def holding(self) -> bool:
        """Whether something waits for a verdict."""
        return self._must_wait or bool(self._suspects)

    def receive(self, frame: Frame) -> Sequence[Frame]:
        """What may leave now: nothing, or the frame itself with what was wrongly suspected before it.

        Raises UpstreamProtocolError.
        """
        self.received = True
        if self.done and frame.tree is None and self._reading.ended:
            return ()  # vLLM sends an end mark in APIs that have none, where clients do not expect it
        if self.done:
            raise UpstreamProtocolError("the upstream went on after the end of its answer")
        if frame.tree is None:
            self.done = self._at_end = True  # the end mark waits too, until the turn is known to be complete
        else:
            if frame.event is not None and frame.tree.get("type", frame.event) != frame.event:
                raise UpstreamProtocolError("the upstream sent an event under two names")  # clients go by either
            deltas = self._reading.read(frame.tree)
            self.done = self._reading.ended
            self._assembler.feed(deltas)
            for delta in deltas:
                self._note(delta)
        self._held.append(frame)
        if self._must_wait or self._suspects or self._at_end:
            if len(self._held) > self._max_held:
                raise UpstreamProtocolError("the upstream's answer has more held events than the limit")
            return ()
        return self._take_held()

    def review(self) -> Turn:
        """The whole turn, at the end of the upstream's answer. A turn without an end is an UpstreamProtocolError."""
        if not self.received:
            raise UpstreamProtocolError("the upstream closed its answer before it said anything")
        turn = self._assembler.turn()
        if self._scanner is not None:
            for place, found in enumerate(self._scanner.close()):
                self._text_calls[CallKey(found.choice, TEXT_POSITION + place)] = found
            in_text = tuple(_call(key, found) for key, found in self._text_calls.items())
            turn = Turn((*turn.calls, *in_text), turn.texts, turn.finish_reasons, turn.usage, turn.uninspected)
        self._turn = turn
        return turn

    def release(self, permit: Permit, amend: Amend) -> Sequence[Frame]:
        """The held frames as the permit says, once. `amend` is the surface's way to drop or rewrite calls in them."""
        if self._turn is None or permit.turn is not self._turn:
            raise ValueError("this permit is for another turn")
        self._must_wait = False
        self._suspects.clear()
        held = self._take_held()
        if all(isinstance(outcome, Allow) for outcome in permit.decision.outcomes.values()):
            return held
        return amend(held, permit)

    def text_room(self, decision: Decision) -> dict[int, int]:
        """For each choice with a refused call in its text: how many characters of the held text come before it."""
        rooms: dict[int, int] = {}
        for found in self._refused_in_text(decision, Channel.TEXT):
            room = max(0, found.start - self._left_chars.get(found.choice, 0))
            rooms[found.choice] = min(room, rooms.get(found.choice, room))
        return rooms

    def refuses_reasoning(self, decision: Decision) -> bool:
        """Whether a call written in the model's reasoning is refused."""
        return bool(self._refused_in_text(decision, Channel.REASONING))

    def _refused_in_text(self, decision: Decision, channel: Channel) -> list[TextCall]:
        return [
            found
            for key, found in self._text_calls.items()
            if found.channel is channel and not isinstance(decision.outcomes[key], Allow | Rewrite)
        ]

    def _note(self, delta: Delta) -> None:
        match delta:
            case TextDelta(choice, text):
                self._text_held = self._text_held or bool(text)
                if self._scanner is not None:
                    self._held_chars[choice] = self._held_chars.get(choice, 0) + len(text)
                    self._scan(self._scanner, choice, Channel.TEXT, text)
            case ReasoningDelta(choice, text):
                if self._scanner is not None:
                    self._scan(self._scanner, choice, Channel.REASONING, text)
            case CallDelta():
                self._must_wait = True
            case FinishDelta():
                self._at_end = self._at_end or self._hold_end
            case _:
                pass

    def _scan(self, scanner: TextCallScanner, choice: int, channel: Channel, text: str) -> None:
        if scanner.feed(choice, channel, text) is Suspicion.CLEAR:
            self._suspects.discard(choice)
        else:
            self._suspects.add(choice)

    def _take_held(self) -> Sequence[Frame]:
        held, self._held = self._held, []
        self.text_left = self.text_left or self._text_held
        for choice, length in self._held_chars.items():
            self._left_chars[choice] = self._left_chars.get(choice, 0) + length
        self._held_chars.clear()
        return held


def _call(key: CallKey, found: TextCall) -> ToolCall:
    return ToolCall(key, CallKind.TEXT, f"text_{key.position - TEXT_POSITION}", found.name, found.arguments)
