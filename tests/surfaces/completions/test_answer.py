"""Reading answers and amending them: every shape that has one reading, and the refusal of all others."""

from typing import Any

import pytest

from guardproxy.decision import Finding, GuardReport, Mode, OnError, Permit, Verdict, decide
from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import CallKey, CallKind, FinishDelta, TextDelta, ToolCall, Turn, UsageDelta
from guardproxy.stream.frame import DONE, Frame
from guardproxy.surfaces.completions import Completions
from guardproxy.surfaces.surface import OnBlock, Refusal, RequestRules
from guardproxy.testing.wires.completions import choice

SURFACE = Completions()
CALL = ToolCall(CallKey(0, 9), CallKind.TEXT, "text_0", "f", "{}")


def answer(*choices: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": list(choices), **fields}


def reader(*, stream: bool, n: int = 2) -> Any:
    return SURFACE.reader(SURFACE.parse({"model": "m", "prompt": "hi", "n": n, "stream": stream}, RequestRules()))


def blocked(texts: dict[int, str]) -> Permit:
    turn = Turn((CALL,), texts, dict.fromkeys(texts, "stop"))
    no = [Finding("g", "r", "c", Verdict.BLOCK)]
    return decide(turn, [GuardReport("g", Mode.ENFORCE, OnError.BLOCK, {CALL.key: no})])


@pytest.mark.parametrize(
    ("tree", "deltas"),
    [
        (answer(), []),
        (answer(choice(0, "a")), [TextDelta(0, "a")]),
        (answer(choice(1, "a"), choice(0, "b")), [TextDelta(1, "a"), TextDelta(0, "b")]),
        (answer({"index": 0, "text": None}), [TextDelta(0, "")]),
        (answer(choice(0, "a", "length")), [TextDelta(0, "a"), FinishDelta(0, "length")]),
        (answer(usage={"total_tokens": 1}), [UsageDelta({"total_tokens": 1})]),
        (answer(choice(0, "a"), timings={"x": 1}), [TextDelta(0, "a")]),
    ],
)
def test_read(tree: dict[str, Any], deltas: list[Any]) -> None:
    assert list(reader(stream=True).read(tree)) == deltas


@pytest.mark.parametrize(
    "tree",
    [
        answer(choice(2)),
        answer({"text": "x"}),
        answer(choice(True)),
        answer(choice(0), choice(0)),
        answer({"index": 0, "text": ["x"]}),
        answer({"index": 0, "Text": "x"}),
        answer({"index": 0, "text": "", "message": {"content": "x"}}),
        answer({"index": 0, "text": "", "delta": {"content": "x"}}),
        answer({"index": 0, "text": "", "tool_calls": [{"id": "x"}]}),
        answer({"index": 0, "text": "", "more": [{"function_call": {"name": "f"}}]}),
        answer(tool_calls=[{"id": "x"}]),
        answer("x"),
        {"choices": {}},
        answer({"index": 0, "text": "x", "finish_reason": 1}),
    ],
)
def test_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        reader(stream=True).read(tree)


def test_a_whole_answer_has_finished() -> None:
    assert reader(stream=False).ended
    assert not reader(stream=True).ended
    with pytest.raises(UpstreamProtocolError):
        reader(stream=False).read(answer(choice(0, "x")))


def test_an_error_in_the_place_of_an_answer() -> None:
    with pytest.raises(UpstreamRefusal, match="no"):
        reader(stream=True).read({"error": {"message": "no", "failed_generation": "secret"}})


@pytest.mark.parametrize(
    ("style", "reason"),
    [(OnBlock.MESSAGE, "stop"), (OnBlock.REFUSAL, "stop"), (OnBlock.CONTENT_FILTER, "content_filter")],
)
def test_a_stream_is_cut_where_the_call_begins(style: OnBlock, reason: str) -> None:
    held = [
        Frame(answer(choice(0, "ab<tool", None) | {"logprobs": {"tokens": ["secret"]}}, choice(1, "x"))),
        Frame(answer(choice(0, "_call>secret"), unknown="secret")),
        Frame(answer(choice(0, "", "length"), usage={"total_tokens": 1})),
        DONE,
    ]
    refusal = Refusal(style, {0: "No."}, {0: 2})
    amended = reader(stream=True).amend(held, blocked({0: "ab<tool_call>secret", 1: "x"}), refusal)
    assert [frame.tree and frame.tree["choices"] for frame in amended] == [
        [choice(0, "ab")],
        [choice(1, "x")],
        [choice(0, "\n\nNo.")],
        [choice(0, "", reason)],
        None,
    ]
    assert "secret" not in repr(amended)
    assert amended[-2].tree["usage"] == {"total_tokens": 1}


def test_a_refusal_stands_apart_from_text_that_has_left() -> None:
    held = [Frame(answer(choice(0, "<tool_call>x", "stop")))]
    for said, text in ({0: "<tool_call>x"}, "No."), ({0: "ab<tool_call>x"}, "\n\nNo."):
        amended = reader(stream=True).amend(held, blocked(said), Refusal(OnBlock.MESSAGE, {0: "No."}, {0: 0}))
        assert [frame.tree["choices"][0]["text"] for frame in amended] == [text, ""]


def test_a_whole_answer_is_cut_where_the_call_begins() -> None:
    held = [Frame(answer(choice(0, "ab<tool_call>secret", "stop") | {"x": "secret"}, choice(1, "x", "length")))]
    permit = blocked({0: "ab<tool_call>secret", 1: "x"})
    (frame,) = reader(stream=False).amend(held, permit, Refusal(OnBlock.MESSAGE, {0: "No."}, {0: 2}))
    assert frame.tree == answer(choice(0, "ab\n\nNo.", "stop"), choice(1, "x", "length"))


def test_a_later_attempt_goes_on_under_the_first_ones_identity() -> None:
    writer = SURFACE.writer(SURFACE.parse({"model": "m", "prompt": "hi"}, RequestRules()))
    writer.begin_attempt()
    first = Frame(answer(choice(0, "a")))
    assert writer.write(first) == (first,)
    writer.begin_attempt()
    (written,) = writer.write(Frame(answer(choice(0, "b")) | {"id": "other"}))
    assert written is not None
    assert written.tree == answer(choice(0, "b"))
    assert writer.write(DONE) == (DONE,)


def test_texts_can_be_changed_and_ends_be_seen() -> None:
    frame = Frame(answer(choice(0, "a"), choice(1, "b", "stop")))
    assert SURFACE.texts_of(frame) == {0: "a", 1: "b"}
    assert SURFACE.finished_in(frame) == [1]
    assert SURFACE.with_texts(frame, {1: "c"}).tree == answer(choice(0, "a"), choice(1, "c", "stop"))
    assert SURFACE.texts_of(DONE) == {}
