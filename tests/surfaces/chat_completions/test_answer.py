"""Reading answers: every shape that has one reading, and the refusal of all others."""

from typing import Any

import pytest

from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import CallDelta, CallKey, CallKind, FinishDelta, TextDelta, UsageDelta
from guardproxy.surfaces.chat_completions.answer import read_chunk, read_completion
from guardproxy.testing.chat import call, choice, chunk, completion, finish, text, whole_call

FUNCTION, CUSTOM, LEGACY, OPAQUE = CallKind.FUNCTION, CallKind.CUSTOM, CallKind.LEGACY_FUNCTION, CallKind.OPAQUE
BODY = {"name": "f", "arguments": "{}"}
CALL = {"index": 0, "id": "c", "type": "function", "function": BODY}


def pieces(*calls: Any, **fields: Any) -> dict[str, Any]:
    return chunk(choice(tool_calls=list(calls)), **fields)


@pytest.mark.parametrize(
    ("tree", "deltas"),
    [
        (chunk(), []),
        ({"object": "chat.completion.chunk"}, []),
        ({"choices": None}, []),
        (chunk(choice()), [TextDelta(0, "")]),
        (chunk({"index": 0, "delta": None}), [TextDelta(0, "")]),
        (chunk({"index": 0, "finish_reason": "stop"}), [TextDelta(0, ""), FinishDelta(0, "stop")]),
        (text("hi"), [TextDelta(0, "hi")]),
        (chunk(choice(role="assistant", content="")), [TextDelta(0, "")]),
        (chunk(choice(content=None, tool_calls=None, function_call=None, refusal="no")), [TextDelta(0, "")]),
        (chunk(choice(tool_calls=[])), [TextDelta(0, "")]),
        (chunk(choice(content=[{"type": "text", "text": "a"}, {"type": "thinking"}])), [TextDelta(0, "a")]),
        (finish("length"), [TextDelta(0, ""), FinishDelta(0, "length")]),
        (chunk(usage={"total_tokens": 1}), [UsageDelta({"total_tokens": 1})]),
        (chunk(usage=None), []),
        (pieces(CALL), [TextDelta(0, ""), CallDelta(CallKey(0, 0), FUNCTION, "c", "f", "{}")]),
        (
            pieces({"index": 0, "function": {"arguments": "x"}}),
            [TextDelta(0, ""), CallDelta(CallKey(0, 0), FUNCTION, "", "", "x")],
        ),
        (
            pieces({"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}),
            [TextDelta(0, ""), CallDelta(CallKey(0, 0), FUNCTION, "", "", "")],
        ),
        (
            pieces({"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": "raw"}}),
            [TextDelta(0, ""), CallDelta(CallKey(0, 0), CUSTOM, "c", "f", "raw")],
        ),
        (
            pieces({"index": 0, "id": "c", "type": "function"}),
            [TextDelta(0, ""), CallDelta(CallKey(0, 0), FUNCTION, "c", "", "")],
        ),
        (
            # what stands beside the body is no part of the arguments
            pieces({"index": 0, "id": "c", "type": "custom", "extra_content": {"signature": "s"}}),
            [TextDelta(0, ""), CallDelta(CallKey(0, 0), CUSTOM, "c", "", "")],
        ),
        (pieces({"index": 0, "id": "c"}), [TextDelta(0, ""), CallDelta(CallKey(0, 0), None, "c", "", "")]),
        (
            pieces({"index": 0, "id": "c", "type": "shell", "shell": {"x": 1}}),
            [
                TextDelta(0, ""),
                CallDelta(CallKey(0, 0), OPAQUE, "c", "shell", '{"index":0,"id":"c","type":"shell","shell":{"x":1}}'),
            ],
        ),
        (
            chunk(choice(function_call={"name": "f", "arguments": ""})),
            [TextDelta(0, ""), CallDelta(CallKey(0, -1), LEGACY, "", "f", "")],
        ),
        (
            chunk(choice(0, "tool_calls", content="t", tool_calls=[CALL])),
            [TextDelta(0, "t"), CallDelta(CallKey(0, 0), FUNCTION, "c", "f", "{}"), FinishDelta(0, "tool_calls")],
        ),
        (
            chunk(choice(1, content="b"), choice(0, content="a")),
            [TextDelta(1, "b"), TextDelta(0, "a")],
        ),
        # unknown fields without a call in them pass
        (
            text("hi") | {"provider": "x", "x_groq": {"id": "1", "executed_tools": [{"name": "search"}]}},
            [TextDelta(0, "hi")],
        ),
        (chunk(choice(content="hi", reasoning_details=[{"text": "t"}])), [TextDelta(0, "hi")]),
        (chunk(choice(content="hi") | {"message": {"content": "hi", "tool_calls": []}}), [TextDelta(0, "hi")]),
    ],
)
def test_chunks(tree: dict[str, Any], deltas: list[object]) -> None:
    assert list(read_chunk(tree, 2)) == deltas


def with_body(**body: Any) -> dict[str, Any]:
    return pieces(CALL | {"function": BODY | body})


@pytest.mark.parametrize(
    "tree",
    [
        # shapes
        chunk() | {"choices": {}},
        chunk() | {"choices": "x"},
        chunk() | {"choices": [None]},
        chunk() | {"choices": [[]]},
        chunk({"index": 0, "delta": []}),
        chunk({"index": 0, "delta": "x"}),
        chunk(choice(content=1)),
        chunk(choice(content={"text": "x"})),
        chunk(choice(content=["x"])),
        chunk(choice(content=[{"type": "tool_use", "name": "f"}])),
        chunk(choice(content=[{"text": "x"}])),
        chunk(choice(content=[{"type": "text", "text": 1}])),
        chunk(choice() | {"finish_reason": 1}),
        chunk(choice() | {"finish_reason": ["stop"]}),
        pieces() | {"choices": [choice(tool_calls={"0": CALL})]},
        pieces() | {"choices": [choice(tool_calls="x")]},
        pieces("x"),
        pieces(None),
        pieces([CALL]),
        pieces(CALL | {"id": 1}),
        pieces(CALL | {"type": ["function"]}),
        pieces(CALL | {"type": 1}),
        pieces(CALL | {"function": "f"}),
        pieces(CALL | {"function": [BODY]}),
        with_body(name=1),
        with_body(name=["f"]),
        with_body(arguments={"x": 1}),
        with_body(arguments=1),
        chunk(choice(function_call="f")),
        chunk(choice(function_call=[BODY])),
        chunk(choice(function_call={"name": "f", "arguments": {}})),
        # indexes
        *(pieces(CALL | {"index": index}) for index in (None, True, False, 0.0, "0", -1, 10**30, 1024, [0])),
        pieces({k: v for k, v in CALL.items() if k != "index"}),
        *(chunk(choice(content="x") | {"index": index}) for index in (None, True, 0.0, "0", -1, 2, 10**30)),
        chunk({"delta": {"content": "x"}}),
        chunk(choice(content="a"), choice(content="b")),
        # two types at once
        pieces(CALL | {"custom": {"name": "g", "input": "x"}}),
        pieces(CALL | {"type": "custom"}),
        pieces(CALL | {"type": "shell"}),
        pieces({"index": 0, "type": "function", "custom": {"name": "g", "input": "x"}}),
        # clients that drop an event's calls when one of them has no function
        pieces(CALL, {"index": 1, "id": "d", "type": "function"}),
        pieces(CALL, {"index": 1, "id": "d", "type": "custom", "custom": {"name": "g", "input": "x"}}),
        # parts of a call outside of its body
        pieces(CALL | {"name": "bash"}),
        pieces(CALL | {"arguments": "x"}),
        pieces({"index": 0, "type": "custom", "input": "x"}),
        # events that some clients skip, with a piece of a call in them
        *(pieces(CALL, object=name) for name in ("", None, "chat.completion", "x")),
        {k: v for k, v in pieces(CALL).items() if k != "object"},
        pieces(CALL, type="content.delta"),
        # roles that make a client drop what is said
        *(chunk(choice(role=role, content="x")) for role in ("user", "tool", "system", "Assistant", 1, ["assistant"])),
        # a call where it is not read, but some client may read it
        chunk(choice() | {"message": {"tool_calls": [CALL]}}),
        chunk(choice() | {"message": {"function_call": BODY}}),
        chunk(choice() | {"tool_calls": [CALL]}),
        chunk() | {"tool_calls": [CALL]},
        chunk() | {"message": {"tool_calls": [CALL]}},
        chunk() | {"chunk": pieces(CALL)},
        chunk() | {"x": [[{"Tool_Calls": [CALL]}]]},
        chunk(choice(extra={"function_call": BODY})),
        # spellings that some clients take for the real ones
        chunk() | {"Choices": [choice(tool_calls=[CALL])]},
        chunk(choice() | {"Delta": {"tool_calls": [CALL]}}),
        chunk(choice(Tool_Calls=[CALL])),
        chunk(choice() | {"delta": {"tool_call\u017f": [CALL]}}),
        chunk(choice(FUNCTION_CALL=BODY)),
        chunk(choice() | {"Finish_Reason": "stop"}),
        pieces(CALL | {"Function": {"name": "bash", "arguments": "x"}}),
        pieces(CALL | {"ID": "other"}),
        with_body(Name="bash"),
        with_body(ARGUMENTS="x"),
        chunk(choice(function_call=BODY | {"Name": "bash"})),
    ],
)  # fmt: skip
def test_chunks_that_are_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        list(read_chunk(tree, 2))


def test_whole_answers() -> None:
    tree = completion(
        {"content": "t", "tool_calls": [whole_call("f", "{}", "a"), whole_call("g", "[]", "b") | {"index": 7}]},
        {"function_call": {"name": "h", "arguments": ""}},
        usage={"total_tokens": 1},
    )
    assert list(read_completion(tree, 2)) == [
        TextDelta(0, "t"),
        CallDelta(CallKey(0, 0), FUNCTION, "a", "f", "{}"),
        CallDelta(CallKey(0, 1), FUNCTION, "b", "g", "[]"),
        FinishDelta(0, "tool_calls"),
        TextDelta(1, ""),
        CallDelta(CallKey(1, -1), LEGACY, "", "h", ""),
        FinishDelta(1, "tool_calls"),
        UsageDelta({"total_tokens": 1}),
    ]


def test_a_whole_answer_may_mix_types() -> None:
    custom = {"id": "b", "type": "custom", "custom": {"name": "g", "input": "x"}}
    deltas = read_completion(completion({"tool_calls": [whole_call("f", "{}"), custom]}), 1)
    assert [delta.kind for delta in deltas if isinstance(delta, CallDelta)] == [FUNCTION, CUSTOM]


@pytest.mark.parametrize(
    "tree",
    [
        completion({"tool_calls": {}}),
        completion({"tool_calls": [whole_call("f", "{}") | {"custom": {"name": "g"}}]}),
        completion({"content": "x"}, {"content": "y"}),
        completion({}) | {"choices": [choice(tool_calls=[CALL]) | {"message": {"content": "x"}}]},
        completion({"Tool_calls": [CALL]}),
        completion({"role": "user"}),
        completion({}) | {"output": [{"message": {"tool_calls": [CALL]}}]},
    ],
)
def test_whole_answers_that_are_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        list(read_completion(tree, 1))


@pytest.mark.parametrize("error", ["boom", {"message": "boom", "failed_generation": "SECRET"}, 1, [], False])
def test_an_error_in_an_answer_is_rebuilt(error: object) -> None:
    tree = call("bash", "SECRET") | {"error": error}
    with pytest.raises(UpstreamRefusal) as caught:
        read_chunk(tree, 1)
    assert caught.value.status == 502
    assert "SECRET" not in str(vars(caught.value))
