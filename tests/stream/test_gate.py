"""What may leave, and when."""

from collections.abc import Sequence

import pytest

from guardproxy.decision import Block, GuardReport, Mode, OnError, Permit, Verdict, decide
from guardproxy.errors import UpstreamProtocolError
from guardproxy.model import CallDelta, CallKey, CallKind, Delta, FinishDelta, TextDelta, Turn
from guardproxy.stream.frame import DONE, Frame
from guardproxy.stream.gate import Gate
from guardproxy.strict_json import JsonObject
from guardproxy.testing.fakes import finding

TEXT, CALL, END = Frame({"text": 1}), Frame({"call": 1}), Frame({"end": 1})
DELTAS: dict[str, Sequence[Delta]] = {
    "text": [TextDelta(0, "hello")],
    "quiet": [TextDelta(0, "")],
    "call": [CallDelta(CallKey(0, 0), CallKind.FUNCTION, "c", "f", "{}")],
    "both": [TextDelta(0, "hello"), CallDelta(CallKey(0, 0), CallKind.FUNCTION, "c", "f", "{}")],
    "end": [FinishDelta(0, "stop")],
}


class Reading:
    ended = False

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        return [delta for name in tree for delta in DELTAS[name]]


def allowing(turn: Turn) -> Permit:
    return decide(turn, [GuardReport("g", Mode.ENFORCE, OnError.BLOCK, {call.key: () for call in turn.calls})])


def never(held: Sequence[Frame], permit: Permit) -> Sequence[Frame]:
    raise AssertionError("nothing was to be amended")


def test_text_leaves_at_once_and_the_end_mark_waits() -> None:
    gate = Gate(Reading())
    assert gate.receive(TEXT) == [TEXT]
    assert gate.receive(END) == [END]
    assert gate.receive(DONE) == ()
    assert not gate.holding
    assert gate.release(allowing(gate.review()), never) == [DONE]


def test_from_a_call_on_everything_waits_in_order() -> None:
    gate = Gate(Reading())
    gate.receive(TEXT)
    for frame in (CALL, TEXT, END, DONE):
        assert gate.receive(frame) == ()
        assert gate.holding
    assert gate.release(allowing(gate.review()), never) == [CALL, TEXT, END, DONE]
    assert not gate.holding


def test_a_frame_of_text_and_call_waits() -> None:
    gate = Gate(Reading())
    assert gate.receive(Frame({"both": 1})) == ()
    assert not gate.text_left


def test_whether_text_has_left() -> None:
    gate = Gate(Reading())
    gate.receive(Frame({"quiet": 1}))
    assert not gate.text_left
    gate.receive(TEXT)
    assert gate.text_left


def test_holding_the_whole_turn_keeps_text_too() -> None:
    gate = Gate(Reading(), hold_all=True)
    assert [gate.receive(frame) for frame in (TEXT, END, DONE)] == [(), (), ()]
    assert not gate.text_left
    assert gate.release(allowing(gate.review()), never) == [TEXT, END, DONE]


def test_a_turn_that_is_not_all_allowed_is_amended() -> None:
    gate = Gate(Reading())
    for frame in (TEXT, CALL, END):
        gate.receive(frame)
    permit = decide(gate.review(), [])
    assert permit.decision.outcomes == {(0, 0): Block("not_judged")}
    seen: list[object] = []

    def amend(held: Sequence[Frame], given: Permit) -> Sequence[Frame]:
        seen.append((held, given))
        return [END]

    assert gate.release(permit, amend) == [END]
    assert seen == [([CALL, END], permit)]


def test_a_permit_serves_its_own_turn_and_only_once() -> None:
    def filled() -> Gate:
        gate = Gate(Reading())
        gate.receive(CALL)
        gate.receive(END)
        return gate

    gate, other = filled(), filled()
    permit = allowing(other.review())
    with pytest.raises(ValueError, match="another turn"):
        gate.release(permit, never)
    gate.review()
    with pytest.raises(ValueError, match="another turn"):
        gate.release(permit, never)
    assert other.release(permit, never) == [CALL, END]
    assert other.release(permit, never) == []


def test_a_rewriting_permit_does_not_release_the_frames_as_they_are() -> None:
    gate = Gate(Reading())
    gate.receive(CALL)
    gate.receive(END)
    turn = gate.review()
    said = {turn.calls[0].key: [finding(Verdict.REWRITE, replacement="x")]}
    permit = decide(turn, [GuardReport("g", Mode.ENFORCE, OnError.BLOCK, said)])
    assert gate.release(permit, lambda held, _: []) == []


@pytest.mark.parametrize("after", [TEXT, CALL, DONE])
def test_nothing_may_follow_the_end_mark(after: Frame) -> None:
    gate = Gate(Reading())
    gate.receive(DONE)
    with pytest.raises(UpstreamProtocolError, match="went on"):
        gate.receive(after)


def test_a_turn_without_an_end_is_no_turn() -> None:
    gate = Gate(Reading())
    gate.receive(CALL)
    gate.receive(DONE)
    with pytest.raises(UpstreamProtocolError, match="finished"):
        gate.review()


def test_nothing_at_all_is_no_turn() -> None:
    with pytest.raises(UpstreamProtocolError, match="before it said anything"):
        Gate(Reading()).review()


def test_there_is_a_largest_number_of_held_frames() -> None:
    gate = Gate(Reading(), max_held_frames=2)
    gate.receive(CALL)
    gate.receive(TEXT)
    with pytest.raises(UpstreamProtocolError, match="more held"):
        gate.receive(TEXT)
