"""On every wire, whatever is said in a turn, however its pieces are mixed and its bytes are cut.

Nothing of a call leaves without a permit, every client reads what was permitted and no more, and what is allowed is
the same events in the same order.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.errors import UpstreamError, UpstreamUnavailable
from guardproxy.model import CallKind
from guardproxy.stream.frame import Frame
from guardproxy.surfaces.surface import OnBlock
from guardproxy.testing.script import Call, Part, Reasoning, Text, Wire, encode_frames
from guardproxy.testing.trial import (
    Trial,
    assert_nothing_leaks,
    assert_well_formed,
    json_equal,
    marked,
    try_out,
)
from guardproxy.testing.wires import WIRES

_VERDICTS = ("allow", "allow", "rewrite", "block", "silent", "fail")
_WORDS = st.sampled_from(["one two ", "wörld\u2028 ", "{ x } ", "a <b> c "])

every_wire = pytest.mark.parametrize("wire", WIRES, ids=[wire.name for wire in WIRES])


@dataclass
class Turn:
    """What is said, as it is streamed, and where its bytes are cut."""

    parts: list[Part]
    frames: list[Frame]
    cuts: list[int]
    choices: int

    @property
    def calls(self) -> list[Call]:
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def pieces(self) -> list[bytes | UpstreamError | float]:
        data = encode_frames(self.frames)
        bounds = sorted({0, len(data), *(cut % len(data) for cut in self.cuts)})
        return [data[begin:end] for begin, end in itertools.pairwise(bounds)]

    def tried(self, wire: Wire, play: Sequence[bytes | UpstreamError | float], on_block: OnBlock) -> Trial:
        return try_out(wire, play, n=self.choices, calls=self.calls, on_block=on_block, reask_max=0)


@st.composite
def turns(draw: st.DrawFn, wire: Wire, verdicts: Sequence[str] = _VERDICTS) -> Turn:
    choices = draw(st.integers(1, wire.most_choices))
    parts = [part for choice in range(choices) for part in draw(_said(wire, choice, verdicts))]
    order = None
    in_text = any(isinstance(part, Call) and wire.shapes[part.shape].kind is CallKind.TEXT for part in parts)
    if wire.interleaves and parts and not in_text:  # text that comes between the pieces of such a call is part of it
        order = draw(st.lists(st.integers(0, len(parts) - 1), max_size=12))
    cuts = draw(st.lists(st.integers(0, 20_000), max_size=8))
    return Turn(parts, wire.frames(parts, order), cuts, choices)


@st.composite
def _said(draw: st.DrawFn, wire: Wire, choice: int, verdicts: Sequence[str]) -> list[Part]:
    parts: list[Part] = [Text(draw(_WORDS), choice)]
    if draw(st.booleans()):
        parts.insert(0, Reasoning("Hm. ", choice))
    shapes = draw(st.lists(st.sampled_from(list(wire.shapes.values())), max_size=3))
    if any(shape.kind is CallKind.TEXT for shape in shapes):
        shapes = shapes[:1]  # where one in text is refused, what is written after it goes too
    for place, shape in enumerate(shapes):
        if shape.alone and shape in shapes[:place]:
            continue
        verdict, pieces = draw(st.sampled_from(verdicts)), draw(st.integers(1, 3))
        noise = draw(st.booleans())
        parts.append(marked(shape, verdict, 10 * choice + place, choice=choice, pieces=pieces, noise=noise))
    return parts


def assert_read_as_permitted(trial: Trial) -> None:
    """Which of two calls comes first is not for a reader to say: items may end in another order than they began."""
    expected = sorted(trial.judged()) if trial.complete else []
    for name, calls in trial.readings():
        assert sorted(calls) == expected, f"read by {name}"


@every_wire
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_nothing_of_a_call_leaves_without_a_permit(wire: Wire, data: st.DataObject) -> None:
    turn = data.draw(turns(wire))
    trial = turn.tried(wire, turn.pieces, data.draw(st.sampled_from(OnBlock)))
    assert_nothing_leaks(trial, turn.calls)
    assert_read_as_permitted(trial)
    if trial.complete:
        assert_well_formed(trial)


@every_wire
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_is_allowed_leaves_as_it_came(wire: Wire, data: st.DataObject) -> None:
    turn = data.draw(turns(wire, ["allow"]))
    trial = turn.tried(wire, turn.pieces, OnBlock.MESSAGE)
    assert json_equal(trial.frames, turn.frames)
    assert_read_as_permitted(trial)
    assert len(trial.judged()) == len(turn.calls)


@every_wire
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_nothing_of_a_turn_that_dies_leaves_but_text(wire: Wire, data: st.DataObject) -> None:
    turn = data.draw(turns(wire, ["allow", "block"]))
    pieces = turn.pieces
    kept = data.draw(st.integers(0, max(0, len(pieces) - 1)))
    trial = turn.tried(wire, [*pieces[:kept], UpstreamUnavailable("gone")], OnBlock.MESSAGE)
    if trial.complete:  # it had said all before it went
        assert_nothing_leaks(trial, turn.calls)
        return
    for call in turn.calls:
        assert call.id.removeprefix("id_").encode() not in trial.received.seen
