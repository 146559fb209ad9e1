"""Reading answers: every shape that has one reading, and the refusal of all others."""

from collections.abc import Sequence
from typing import Any

import pytest

from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import CallDelta, CallKind, Delta, FinishDelta, ReasoningDelta, Turn, UninspectedDelta
from guardproxy.stream.assemble import Assembler
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.messages import Messages
from guardproxy.surfaces.messages.contract import CONTRACT, SERVER_TOOLS
from guardproxy.surfaces.surface import RequestRules
from guardproxy.testing.messages import (
    PING,
    START,
    STOP,
    Tree,
    add,
    begin,
    call,
    end,
    finish,
    message,
    piece,
    text,
    word,
)

BASH = {"type": "bash_20250124", "name": "bash"}
F = {"name": "good", "input_schema": {"type": "object"}}
MESSAGE = START["message"]


def deltas(*trees: Tree, tools: Sequence[Any] = (F, BASH)) -> list[Delta]:
    request: Tree = {"model": "m", "messages": [], "stream": True, "tools": list(tools)}
    reader = Messages().reader(Messages().parse(request, RequestRules()))
    found = [delta for tree in trees for delta in reader.read(tree)]
    assert reader.ended is (trees[-1]["type"] == "message_stop")
    return found


def read(*trees: Tree, **more: Any) -> Turn:
    """The turn of a stream with these events in it."""
    assembler = Assembler()
    for delta in deltas(START, *trees, **more):
        assembler.feed([delta])
    return assembler.turn()


def whole(*content: Tree, reason: str | None = "end_turn", tools: Sequence[Any] = (F, BASH), **fields: Any) -> Turn:
    request: Tree = {"model": "m", "messages": [], "tools": list(tools)}
    reader = Messages().reader(Messages().parse(request, RequestRules()))
    assembler = Assembler()
    assembler.feed(reader.read(message(*content, reason=reason, **fields)))
    assert reader.ended
    return assembler.turn()


# --- what has one reading ----------------------------------------------------------------------------------------


def test_text_and_a_call_in_pieces() -> None:
    turn = read(
        PING,
        text(),
        word(0, "Let me "),
        word(0, "look."),
        end(0),
        call(1),
        piece(1, ""),
        piece(1, '{"a":'),
        PING,
        piece(1, "1}"),
        end(1),
        finish("tool_use"),
        STOP,
    )
    assert turn.texts == {0: "Let me look."}
    assert [(c.key.position, c.kind, c.id, c.name, c.arguments) for c in turn.calls] == [
        (0, CallKind.FUNCTION, "toolu_1", "good", '{"a":1}')
    ]
    assert turn.finish_reasons == {0: "tool_use"}


def test_the_hold_begins_where_the_call_begins() -> None:
    assert isinstance(deltas(START, call())[-1], CallDelta)


@pytest.mark.parametrize("pieces", [(), ("",), ("", ""), (None,)], ids=["none", "one", "two", "null"])
def test_an_input_of_no_pieces_is_an_empty_one(pieces: Sequence[str | None]) -> None:
    turn = read(call(), *(piece(0, each) for each in pieces), end(), finish("tool_use"), STOP)
    assert turn.calls[0].arguments == "{}"


def test_a_call_may_begin_without_an_input() -> None:
    """As llama.cpp begins it."""
    turn = read(begin(0, "tool_use", id="x", name="good"), piece(0, '{"a":1}'), end(), finish("tool_use"), STOP)
    assert turn.calls[0].arguments == '{"a":1}'


def test_an_input_may_come_whole_where_its_block_begins() -> None:
    turn = read(call(input={"a": 1}), piece(0, ""), end(), finish("tool_use"), STOP)
    assert turn.calls[0].arguments == '{"a":1}'


@pytest.mark.parametrize("arguments", ['{"a":', "rm -rf /", "[1]", '{"a":1}{"a":2}', '{"a":1,"a":2}'])
def test_what_is_no_object_is_judged_as_the_text_that_it_is(arguments: str) -> None:
    turn = read(call(), piece(0, arguments), end(), finish("max_tokens"), STOP)
    assert turn.calls[0].arguments == arguments


def test_blocks_may_stay_open_side_by_side() -> None:
    """As llama.cpp streams: everything ends at the end, and a thought is signed there."""
    turn = read(
        begin(0, "thinking", thinking=""),
        add(0, "thinking_delta", thinking="Hm."),
        text(1),
        word(1, "So."),
        call(2),
        piece(2, "{}"),
        call(3),
        piece(3, '{"b":1}'),
        add(0, "signature_delta", signature=""),
        end(0),
        end(1),
        end(2),
        end(3),
        finish("tool_use"),
        STOP,
    )
    assert [c.arguments for c in turn.calls] == ["{}", '{"b":1}']
    assert turn.texts == {0: "So."}


def test_thoughts_are_reasoning() -> None:
    found = deltas(
        START,
        begin(0, "thinking", thinking="H", signature=""),
        add(0, "thinking_delta", thinking="m.", estimated_tokens=3),
        add(0, "signature_delta", signature="c2ln"),
        end(),
        begin(1, "redacted_thinking", data="x"),
        end(1),
    )
    assert found[-2:] == [ReasoningDelta(0, "H"), ReasoningDelta(0, "m.")]


def test_a_toolset_s_member_is_named_by_both() -> None:
    turn = read(call(name="left_click", toolset_name="computer"), end(), finish("tool_use"), STOP)
    assert (turn.calls[0].name, turn.calls[0].kind) == ("computer.left_click", CallKind.BUILTIN)
    turn = whole({"type": "tool_use", "id": "x", "name": "navigate", "toolset_name": "browser", "input": {"url": "u"}})
    assert (turn.calls[0].name, turn.calls[0].arguments) == ("browser.navigate", '{"url":"u"}')


def test_a_built_in_tool_is_known_by_its_name() -> None:
    kinds = {name: read(call(name=name), end(), finish(), STOP).calls[0].kind for name in ("bash", "good", "other")}
    assert kinds == {"bash": CallKind.BUILTIN, "good": CallKind.FUNCTION, "other": CallKind.FUNCTION}


def test_a_call_by_a_program_of_the_provider_is_a_call() -> None:
    caller = {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}
    assert read(call(caller=caller), end(), finish("tool_use"), STOP).calls[0].name == "good"


@pytest.mark.parametrize("name", sorted(SERVER_TOOLS))
def test_what_the_provider_ran_is_counted_by_its_name(name: str) -> None:
    found = deltas(
        START,
        begin(0, "server_tool_use", id="s", name=name, input={}),
        piece(0, '{"query":"x"}'),
        end(),
    )
    assert found[-1] == UninspectedDelta(f"server_{name}")


def test_counted_names_are_few() -> None:
    turn = whole(
        {"type": "server_tool_use", "id": "s", "name": "anything at all", "input": {"a": 1}},
        {"type": "mcp_tool_use", "id": "m", "name": "anything", "server_name": "x", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": []},
        {"type": "compaction", "content": "So far."},
        {"type": "container_upload", "file_id": "file_1"},
    )
    assert turn.uninspected == (
        "server_server_tool_use",
        "server_mcp_tool_use",
        "server_mcp_tool_result",
        "compaction",
        "container_upload",
    )
    assert turn.calls == ()


@pytest.mark.parametrize("kind", sorted(CONTRACT["answer blocks"]))
def test_every_known_block_is_read_streamed_and_whole(kind: str) -> None:
    block = {"type": kind, **({"id": "x", "name": "good"} if kind == "tool_use" else {})}
    streamed = read({"type": "content_block_start", "index": 0, "content_block": block}, end(), finish(), STOP)
    assert (whole(block).calls, whole(block).uninspected) == (streamed.calls, streamed.uninspected)
    assert bool(streamed.calls) is (kind == "tool_use")
    assert bool(streamed.uninspected) is (CONTRACT["answer blocks"][kind] is Treatment.COUNTED)


def test_usage_counts_are_totals() -> None:
    turn = read(text(), end(), finish("end_turn", output_tokens=15, cache_creation_input_tokens=None), STOP)
    assert turn.usage == {"input_tokens": 25, "output_tokens": 15}


def test_usage_may_come_beside_the_message() -> None:
    """As vLLM sends it, with a message that says little."""
    start = {"type": "message_start", "message": {"id": "x", "content": []}, "usage": {"input_tokens": 3}}
    found = deltas(start, text(), end(), finish(), STOP)
    assembler = Assembler()
    for delta in found:
        assembler.feed([delta])
    assert assembler.turn().usage == {"input_tokens": 3, "output_tokens": 15}


def test_usage_may_come_in_an_event_of_its_own() -> None:
    turn = read(text(), end(), finish(None, output_tokens=9), finish("end_turn"), STOP)
    assert turn.finish_reasons == {0: "end_turn"}


@pytest.mark.parametrize("reason", [None, ""])
def test_an_answer_may_end_without_a_reason(reason: str | None) -> None:
    assert read(text(), end(), finish(reason), STOP).finish_reasons == {0: ""}
    assert whole({"type": "text", "text": "x"}, reason=reason).finish_reasons == {0: ""}


@pytest.mark.parametrize("content", [None, []])
def test_a_whole_answer_may_be_empty(content: Any) -> None:
    reader = Messages().reader(Messages().parse({"model": "m", "messages": []}, RequestRules()))
    assert reader.read({"content": content, "stop_reason": "end_turn"}) == [FinishDelta(0, "end_turn")]


def test_whole_calls_are_numbered_as_they_come() -> None:
    turn = whole(
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "1", "name": "good", "input": {"x": [1, {"y": None}]}},
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "tool_use", "id": "2", "name": "bash", "input": None},
    )
    assert [(c.key.position, c.name, c.arguments) for c in turn.calls] == [
        (0, "good", '{"x":[1,{"y":null}]}'),
        (1, "bash", "{}"),
    ]


# --- what this version does not know -----------------------------------------------------------------------------


def test_an_unknown_block_is_an_opaque_call() -> None:
    block = {"type": "future_call", "id": "x", "command": "rm"}
    streamed = read({"type": "content_block_start", "index": 0, "content_block": block}, end(), finish(), STOP)
    for turn in (whole(block), streamed):
        (found,) = turn.calls
        assert (found.kind, found.id, found.name) == (CallKind.OPAQUE, "x", "future_call")
        assert found.arguments == '{"type":"future_call","id":"x","command":"rm"}'


def test_deltas_of_an_unknown_block_are_judged_with_it() -> None:
    turn = read(begin(0, "future_call"), add(0, "text_delta", text="rm"), end(), finish(), STOP)
    assert turn.calls[0].id == "opaque_0"
    assert '"deltas":[{"type":"text_delta","text":"rm"}]' in turn.calls[0].arguments


@pytest.mark.parametrize(
    "unknown", [{"type": "future_event", "command": "rm"}, add(0, "future_delta", command="rm")], ids=["event", "delta"]
)
def test_an_unknown_event_and_an_unknown_delta_are_opaque_calls(unknown: Tree) -> None:
    turn = read(text(), unknown, end(), finish(), STOP)
    (found,) = turn.calls
    assert found.kind is CallKind.OPAQUE
    assert found.name in ("future_event", "future_delta")
    assert '"command":"rm"' in found.arguments


# --- what has no single reading ----------------------------------------------------------------------------------

HOSTILE: dict[str, Sequence[Tree]] = {
    "no beginning": [text()],
    "an end without a beginning": [STOP],
    "two beginnings": [START, START],
    "no message": [{"type": "message_start"}],
    "a message that is no object": [{"type": "message_start", "message": "x"}],
    "content before the first block": [START | {"message": MESSAGE | {"content": [{"type": "tool_use"}]}}],
    "another role": [START | {"message": MESSAGE | {"role": "user"}}],
    "a role respelled": [START | {"message": MESSAGE | {"Role": "user"}}],
    "no type": [START, {"index": 0, "content_block": {"type": "text"}}],
    "a type that is no string": [START, {"type": 1}],
    "no index": [START, {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}],
    "an index that is true": [START, text() | {"index": False}],
    "an index that is a float": [START, text() | {"index": 0.0}],
    "an index that leaves one out": [START, text(1)],
    "an index twice": [START, text(), end(), text()],
    "a negative index": [START, text(-1)],
    "no block": [START, {"type": "content_block_start", "index": 0}],
    "a block without a type": [START, {"type": "content_block_start", "index": 0, "content_block": {}}],
    "a piece of no block": [START, piece(0, "{}")],
    "a piece of a block that has ended": [START, call(), end(), piece(0, "{}")],
    "a piece of an older block": [START, call(), call(1), piece(0, "{}")],
    "a text of an older block": [START, text(), call(1), word(0, "x")],
    "a piece when blocks have begun to end": [START, text(), call(1), end(0), piece(1, "{}")],
    "a block when blocks have begun to end": [START, text(), call(1), end(0), call(2)],
    "a block that ends twice": [START, call(), end(), end()],
    "the end of no block": [START, end()],
    "a piece of input for a text": [START, text(), piece(0, "{}")],
    "a text for a call": [START, call(), word(0, "x")],
    "a thought for a text": [START, text(), add(0, "thinking_delta", thinking="x")],
    "a signature for a call": [START, call(), add(0, "signature_delta", signature="x")],
    "an unknown delta for a call": [START, call(), add(0, "future_delta")],
    "a delta without a type": [START, text(), {"type": "content_block_delta", "index": 0, "delta": {"text": "x"}}],
    "no delta": [START, text(), {"type": "content_block_delta", "index": 0}],
    "an input whole and in pieces": [START, call(input={"a": 1}), piece(0, '{"a":2}')],
    "an input that is a string": [START, call(input='{"a":1}')],
    "an input that is a list": [START, call(input=[1])],
    "a piece that is no string": [START, call(), piece(0, 1)],
    "a name that is no string": [START, begin(0, "tool_use", id="x", name=["good"])],
    "an id that is no string": [START, call(id=1)],
    "a toolset that is no string": [START, call(toolset_name=1)],
    "a text that is no string": [START, begin(0, "text", text=1)],
    "a text with an input": [START, begin(0, "text", text="x", name="good", input={"a": 1})],
    "a thought with an input": [START, begin(0, "thinking", thinking="x", input={"a": 1})],
    "a call in a text": [START, begin(0, "text", text="x", more={"type": "tool_use", "name": "good"})],
    "a call in the end of a block": [START, text(), end() | {"content_block": {"type": "tool_use", "name": "good"}}],
    "a call in the end of the message": [START, STOP | {"message": {"content": [{"type": "tool_use"}]}}],
    "a call in a ping": [START, PING | {"content_block": {"type": "tool_use"}}],
    "a call in the usage": [START | {"message": MESSAGE | {"usage": {"x": [{"type": "tool_use"}]}}}],
    "a call beside the delta": [START, finish() | {"content": [{"type": "tool_use", "name": "good"}]}],
    "a call in the delta's context": [START, finish() | {"context_management": {"type": "tool_use"}}],
    "a call of another API": [START, text() | {"tool_calls": [{"id": "x"}]}],
    "a call of another API, deep": [START, text() | {"x": {"choices": [{"delta": {"Tool_Calls": [1]}}]}}],
    "a type respelled": [START, text() | {"Type": "content_block_stop"}],
    "an index respelled": [START, text() | {"Index": 1}],
    "a block respelled": [START, text() | {"Content_Block": {"type": "text"}}],
    "a block's type respelled": [START, begin(0, "text", text="x", Type="tool_use")],
    "a signature with a long s": [START, begin(0, "thinking", **{"\u017fignature": "x"})],
    "a piece respelled": [START, call(), add(0, "input_json_delta", partial_json="", Partial_Json="{}")],
    "an end within a block": [START, call(), finish("tool_use")],
    "a stop within a block": [START, call(), STOP],
    "two reasons": [START, finish("end_turn"), finish("tool_use")],
    "a reason that is no string": [START, finish() | {"delta": {"stop_reason": 1}}],
    "a block after the reason": [START, finish(), call()],
    "a ping after the end": [START, finish(), STOP, PING],
    "an event that would begin another": [START, {"type": "x\n\nevent: content_block_start\ndata: {}"}],
    "an event of a long type": [START, {"type": "x" * 65}],
    "two ends": [START, finish(), STOP, STOP],
    "an unknown event before the beginning": [{"type": "future_event"}],
}  # fmt: skip


@pytest.mark.parametrize("trees", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_has_no_single_reading_is_refused(trees: Sequence[Tree]) -> None:
    reader = Messages().reader(Messages().parse({"model": "m", "messages": [], "stream": True}, RequestRules()))
    for tree in trees[:-1]:
        reader.read(tree)
    with pytest.raises(UpstreamProtocolError):
        reader.read(trees[-1])


@pytest.mark.parametrize(
    "trees",
    [
        [],
        [text(), end(), finish()],
        [call(), piece(0, "{}"), end(), finish("tool_use")],
        [begin(0, "tool_use", id="x", input={}), end(), finish(), STOP],
        [begin(0, "tool_use", name="good", input={}), end(), finish(), STOP],
    ],
    ids=["cut at once", "cut before the end", "cut after a call", "a call without a name", "a call without an id"],
)
def test_an_answer_that_is_not_complete_is_refused(trees: Sequence[Tree]) -> None:
    with pytest.raises(UpstreamProtocolError):
        read(*trees) if trees else read(PING)


WHOLE: dict[str, Any] = {
    "another type": {"type": "completion"},
    "another role": {"role": "user"},
    "content that is a string": {"content": "x"},
    "content that holds a string": {"content": ["x"]},
    "a block without a type": {"content": [{"text": "x"}]},
    "an input that is a string": {"content": [{"type": "tool_use", "id": "x", "name": "good", "input": "{}"}]},
    "content respelled": {"Content": [{"type": "tool_use"}]},
    "a call beside the content": {"more": {"content": [{"type": "tool_use", "name": "good"}]}},
    "a call of another API": {"choices": [{"message": {"tool_calls": [{"id": "x"}]}}]},
    "a call in a text": {"content": [{"type": "text", "text": "x", "partial_json": "{}"}]},
    "a call in the container": {"container": {"id": "c", "x": {"type": "tool_use"}}},
}


@pytest.mark.parametrize("fields", WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_answer_with_no_single_reading_is_refused(fields: Tree) -> None:
    with pytest.raises(UpstreamProtocolError):
        whole(**fields)


def test_unknown_fields_that_hold_no_call_pass() -> None:
    turn = read(
        text() | {"timings": {"n": 1}},
        word(0, "x") | {"p": "abc"},
        end(),
        finish() | {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}},
        STOP,
    )
    assert turn.texts == {0: "x"}


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy."}},
        {"error": {"type": "overloaded_error", "message": "Too busy.", "failed_generation": "rm"}},
    ],
    ids=["typed", "bare"],
)
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_is_the_upstream_s(error: Tree, stream: bool) -> None:
    request = Messages().parse({"model": "m", "messages": [], "stream": stream}, RequestRules())
    with pytest.raises(UpstreamRefusal, match=r"Too busy\.") as raised:
        Messages().reader(request).read(error)
    assert raised.value.type == "overloaded_error"


def test_a_whole_answer_comes_once() -> None:
    reader = Messages().reader(Messages().parse({"model": "m", "messages": []}, RequestRules()))
    reader.read(MESSAGE)
    with pytest.raises(UpstreamProtocolError):
        reader.read(MESSAGE)
