"""Deltas to calls: one reading or none."""

from collections.abc import Sequence

import pytest

from guardproxy.errors import UpstreamProtocolError
from guardproxy.model import CallDelta, CallKey, CallKind, Delta, FinishDelta, TextDelta, ToolCall, Turn, UsageDelta
from guardproxy.stream.assemble import MAX_CALLS, Assembler

FUNCTION, CUSTOM, LEGACY, OPAQUE = CallKind.FUNCTION, CallKind.CUSTOM, CallKind.LEGACY_FUNCTION, CallKind.OPAQUE
END = FinishDelta(0, "tool_calls")


def piece(
    index: int = 0,
    *,
    name: str = "",
    arguments: str = "",
    id: str = "",
    kind: CallKind | None = FUNCTION,
    choice: int = 0,
) -> CallDelta:
    return CallDelta(CallKey(choice, index), kind, id, name, arguments)


def begin(index: int = 0, name: str = "a", *, choice: int = 0, kind: CallKind | None = FUNCTION) -> CallDelta:
    return piece(index, name=name, id=f"c{choice}{index}", kind=kind, choice=choice)


def turn(*events: Sequence[Delta]) -> Turn:
    assembler = Assembler()
    for deltas in events:
        assembler.feed(deltas)
    return assembler.turn()


def test_nothing_is_an_empty_turn() -> None:
    assert turn() == Turn((), {}, {})


def test_text_and_calls_and_usage() -> None:
    found = turn(
        [TextDelta(0, "Let me "), TextDelta(0, "see.")],
        [begin(0)],
        [piece(0, arguments='{"x":')],
        [piece(0, arguments="1}", kind=None), begin(1, "b", kind=CUSTOM)],
        [piece(1, arguments="raw", kind=CUSTOM)],
        [END, UsageDelta({"total_tokens": 3})],
    )
    assert found == Turn(
        (
            ToolCall(CallKey(0, 0), FUNCTION, "c00", "a", '{"x":1}'),
            ToolCall(CallKey(0, 1), CUSTOM, "c01", "b", "raw"),
        ),
        {0: "Let me see."},
        {0: "tool_calls"},
        {"total_tokens": 3},
    )


def test_interleaved_choices_keep_their_calls_apart() -> None:
    found = turn(
        [TextDelta(0, "")],
        [begin(0, "a", choice=1)],
        [begin(0, "b", choice=0)],
        [piece(arguments="1", choice=1), piece(arguments="0", choice=0)],
        [FinishDelta(1, "tool_calls"), END],
    )
    assert [(call.key, call.name, call.arguments) for call in found.calls] == [((0, 0), "b", "0"), ((1, 0), "a", "1")]


def test_a_legacy_call_needs_no_id() -> None:
    (call,) = turn([piece(-1, name="f", arguments="{}", kind=LEGACY), FinishDelta(0, "function_call")]).calls
    assert call == ToolCall(CallKey(0, -1), LEGACY, "", "f", "{}")


def test_an_id_may_be_repeated_and_may_come_late() -> None:
    (call,) = turn([piece(name="a")], [piece(id="x")], [piece(id="x")], [END]).calls
    assert call.id == "x"


def test_text_after_the_finish_is_just_text() -> None:
    assert turn([FinishDelta(0, "stop")], [TextDelta(0, "late")]).texts == {0: "late"}


def test_the_same_finish_twice_is_one() -> None:
    assert turn([END], [END]).finish_reasons == {0: "tool_calls"}


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([[begin()]], "before choice 0 has finished"),
        ([[TextDelta(0, "x")]], "before choice 0 has finished"),
        ([[TextDelta(0, "x"), TextDelta(1, "x"), END]], "before choice 1 has finished"),
        ([[END], [begin()]], "after its choice had finished"),
        ([[begin()], [END], [piece(arguments="x")]], "after its choice had finished"),
        ([[END, begin()]], "after its choice had finished"),
        ([[END], [FinishDelta(0, "stop")]], "twice with different reasons"),
        ([[begin()], [piece(kind=CUSTOM)]], "changed the type"),
        ([[begin()], [piece(id="other")]], "changed the id"),
        ([[begin()], [piece(name="a")]], "name of a tool call twice"),
        ([[piece(name="ba", id="1")], [piece(name="sh")]], "name of a tool call twice"),
        ([[piece(id="1"), END]], "without a name"),
        ([[piece(name="a"), END]], "without an id"),
        ([[piece(name="a", id="1", kind=None), END]], "no known type"),
        # clients that keep calls in a list put these together in another way than by index
        ([[begin(1)]], "out of order"),
        ([[begin(0)], [begin(2)]], "out of order"),
        ([[begin(1), begin(0)]], "out of order"),
        ([[begin(0), piece(0, arguments="x")]], "twice in one event"),
        ([[begin(0)], [piece(0, arguments="x"), begin(1), piece(0, arguments="y")]], "twice in one event"),
    ],
)
def test_what_has_no_single_reading_is_refused(events: list[list[Delta]], why: str) -> None:
    with pytest.raises(UpstreamProtocolError, match=why):
        turn(*events)


def test_choices_may_begin_in_any_order() -> None:
    found = turn(
        [TextDelta(1, "b")], [TextDelta(0, "a")], [begin(choice=1)], [FinishDelta(0, "stop"), FinishDelta(1, "x")]
    )
    assert found.texts == {1: "b", 0: "a"}
    assert [call.key for call in found.calls] == [(1, 0)]


def test_there_is_a_largest_number_of_calls() -> None:
    assembler = Assembler()
    for index in range(MAX_CALLS):
        assembler.feed([begin(index)])
    with pytest.raises(UpstreamProtocolError, match="more than"):
        assembler.feed([begin(MAX_CALLS)])


WHOLE = '{"type":"future","command":"ls"}'


@pytest.mark.parametrize(
    "events",
    [
        [[piece(name="future", id="c", arguments=WHOLE, kind=OPAQUE)]],
        [[begin(name="future", kind=OPAQUE)], [piece(arguments=WHOLE, kind=None)]],
        [[begin(name="future", kind=OPAQUE)], [piece(kind=OPAQUE)], [piece(arguments=WHOLE, kind=OPAQUE)]],
        [[piece(name="future", id="c", arguments=WHOLE, kind=OPAQUE)], [piece(kind=None)]],
    ],
    ids=["whole", "at the end", "after an empty piece", "before an empty piece"],
)
def test_a_call_of_an_unknown_type_has_its_arguments_in_one_piece(events: list[list[Delta]]) -> None:
    (call,) = turn(*events, [END]).calls
    assert (call.kind, call.arguments) == (OPAQUE, WHOLE)


@pytest.mark.parametrize("kind", [OPAQUE, None])
def test_a_call_of_an_unknown_type_in_two_pieces_has_no_single_reading(kind: CallKind | None) -> None:
    """Nobody knows how its clients put it together: the first or the last may win."""
    first = piece(name="future", id="c", arguments='{"command":"ls"}', kind=kind)
    with pytest.raises(UpstreamProtocolError, match="in several pieces"):
        turn([first], [piece(arguments='{"command":"rm"}', kind=OPAQUE)], [END])
