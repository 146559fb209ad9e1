"""What a client gets of a turn in which a call was blocked or rewritten, streamed and whole."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from anthropic._models import construct_type
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent

from guardproxy.decision import Finding, GuardReport, Mode, OnError, Permit, Verdict, decide
from guardproxy.model import CallKey, CallKind, ToolCall, Turn
from guardproxy.stream.frame import DONE, Frame
from guardproxy.stream.gate import Gate
from guardproxy.surfaces.messages import Messages
from guardproxy.surfaces.surface import OnBlock, Refusal, RequestRules
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
    request,
    text,
    word,
)

FIXED = '{"fixed":true}'
SECRET = "SECRET-7f3a"
REFUSAL = "[guardproxy] no"
QUOTED = {"quote": SECRET}
SURFACE = Messages()


def permit(turn: Turn, more: Sequence[ToolCall] = ()) -> Permit:
    """Calls by their names: `bad` is blocked, `fix` is rewritten, all others are allowed."""
    turn = Turn((*turn.calls, *more), turn.texts, turn.finish_reasons, turn.usage, turn.uninspected) if more else turn
    verdicts = {"bad": Verdict.BLOCK, "fix": Verdict.REWRITE}

    def findings(name: str) -> Sequence[Finding]:
        verdict = verdicts.get(name)
        return [Finding("g", "r", "c", verdict, replacement=FIXED)] if verdict else []

    said = {each.key: findings(each.name.rpartition(".")[2]) for each in turn.calls}
    return decide(turn, [GuardReport("g", Mode.ENFORCE, OnError.BLOCK, said)])


def refusal(style: OnBlock = OnBlock.MESSAGE, **more: Any) -> Refusal:
    return Refusal(style, {0: REFUSAL}, **more)


def left(trees: Sequence[Tree], refused: Refusal | None = None, *, hold_all: bool = False) -> list[Frame]:
    """What leaves of a stream: what was not held, and then the rest as the permit says."""
    parsed = SURFACE.parse(request(), RequestRules())
    reader, writer = SURFACE.reader(parsed), SURFACE.writer(parsed)
    writer.begin_attempt()
    gate = Gate(reader, hold_all=hold_all)
    frames = [frame for tree in trees for frame in gate.receive(Frame(tree, tree["type"]))]
    held = len(trees) - len(frames)
    frames += gate.release(permit(gate.review()), lambda h, p: reader.amend(h, p, refused or refusal()))
    assert held >= 0
    return [frame for each in frames for frame in writer.write(each)]


def streamed(*trees: Tree, **more: Any) -> list[Tree]:
    frames = left(trees, **more)
    assert all(frame.tree and frame.event == frame.tree["type"] for frame in frames)
    return [dict(frame.tree or {}) for frame in frames]


def as_sdk(trees: Sequence[Tree]) -> Any:
    """The message as the official SDK puts it together."""
    snapshot, pieces = None, dict[int, bytes]()
    for tree in trees:
        if tree["type"] != "ping":
            event: Any = construct_type(type_=RawMessageStreamEvent, value=tree)
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=pieces)
    assert snapshot is not None
    return snapshot.to_dict(warnings=False)


def whole(tree: Tree, refused: Refusal | None = None) -> Tree:
    parsed = SURFACE.parse(request(stream=False), RequestRules())
    reader = SURFACE.reader(parsed)
    gate = Gate(reader)
    gate.receive(Frame(tree))
    (frame,) = gate.release(permit(gate.review()), lambda h, p: reader.amend(h, p, refused or refusal()))
    assert frame.tree is not None
    return dict(frame.tree)


def blocks(answer: Mapping[str, Any]) -> list[Any]:
    """The content of a message, a word for each block."""
    found = []
    for block in answer["content"]:
        match block["type"]:
            case "text":
                found.append(block["text"])
            case "tool_use":
                found.append((block["name"], block["input"]))
            case kind:
                found.append(kind)
    return found


def tool(name: str, place: int = 0, **fields: Any) -> Tree:
    return {
        "type": "tool_use",
        "id": f"toolu_{place}",
        "name": name,
        "input": {"a": SECRET if name == "bad" else 1},
    } | fields


def call_events(name: str, index: int) -> list[Tree]:
    argument = SECRET if name in ("bad", "fix") else "fine"
    return [
        call(index, name) | QUOTED_IF[name],
        piece(index, '{"a":"') | QUOTED_IF[name],
        piece(index, f'{argument}"}}'),
        end(index) | QUOTED_IF[name],
    ]


QUOTED_IF: Mapping[str, Tree] = {"bad": QUOTED, "fix": QUOTED, "good": {}}


# --- streamed ----------------------------------------------------------------------------------------------------


def test_a_blocked_call_becomes_a_text_and_a_normal_stop() -> None:
    got = streamed(START, *call_events("bad", 0), finish("tool_use"), STOP)
    assert got == [
        START,
        text(0),
        word(0, REFUSAL),
        end(0),
        finish("end_turn"),
        STOP,
    ]


def test_what_left_before_stays_as_it_was() -> None:
    before = [START, PING, text(0), word(0, "So."), end(0)]
    got = streamed(*before, *call_events("bad", 1), finish("tool_use"), STOP)
    assert got[:5] == before
    assert blocks(as_sdk(got)) == ["So.", f"\n\n{REFUSAL}"]


@pytest.mark.parametrize("place", range(3))
def test_a_call_may_be_blocked_in_every_position(place: int) -> None:
    names = ["good", "good", "good"]
    names[place] = "bad"
    trees = [tree for index, name in enumerate(names) for tree in call_events(name, index)]
    got = streamed(START, *trees, finish("tool_use"), STOP)
    expected: list[Any] = [("good", {"a": "fine"})] * 3
    expected[place] = REFUSAL
    assert blocks(as_sdk(got)) == expected
    assert as_sdk(got)["stop_reason"] == "tool_use"
    assert [t["index"] for t in got if t["type"] == "content_block_start"] == [0, 1, 2]
    assert SECRET not in str(got)
    answer = whole(message(*(tool(name, i) for i, name in enumerate(names)), reason="tool_use", quote=SECRET))
    assert [b if isinstance(b, str) else b[0] for b in blocks(answer)] == [
        b if isinstance(b, str) else b[0] for b in expected
    ]
    assert answer["stop_reason"] == "tool_use"
    assert SECRET not in str(answer)


def test_many_blocked_calls_are_told_once() -> None:
    trees = [tree for i in range(3) for tree in call_events("bad", i)]
    got = streamed(START, *trees, text(3), word(3, "Done."), end(3), finish("tool_use"), STOP)
    assert blocks(as_sdk(got)) == [REFUSAL, "Done."]
    answer = whole(message(*(tool("bad", i) for i in range(3)), {"type": "text", "text": "Done."}, reason="tool_use"))
    assert blocks(answer) == [REFUSAL, "Done."]
    assert answer["stop_reason"] == "end_turn"


def test_a_rewritten_call_begins_goes_on_and_ends() -> None:
    got = streamed(START, *call_events("fix", 0), finish("tool_use"), STOP, refused=Refusal(OnBlock.MESSAGE, {}))
    assert got == [START, call(0, "fix"), piece(0, FIXED), end(0), finish("tool_use"), STOP]
    answer = whole(message(tool("fix", caller={"type": "direct"}), reason="tool_use"), Refusal(OnBlock.MESSAGE, {}))
    assert answer["content"] == [tool("fix", caller={"type": "direct"}) | {"input": {"fixed": True}}]


def test_a_rewrite_replaces_an_input_that_came_whole() -> None:
    trees = [call(0, "fix", input={"a": SECRET}), end(0)]
    got = streamed(START, *trees, finish("tool_use"), STOP, refused=Refusal(OnBlock.MESSAGE, {}))
    assert blocks(as_sdk(got)) == [("fix", {"fixed": True})]
    assert SECRET not in str(got)


def test_a_toolset_s_member_keeps_its_names() -> None:
    trees = [call(0, "left_click", toolset_name="computer"), piece(0, '{"x":1}'), end(0), *call_events("bad", 1)]
    got = streamed(START, *trees, finish("tool_use"), STOP)
    assert got[1]["content_block"] == call(0, "left_click", toolset_name="computer")["content_block"]


@pytest.mark.parametrize("style", [OnBlock.CONTENT_FILTER, OnBlock.REFUSAL])
def test_a_refusal_says_so_where_no_call_stays(style: OnBlock) -> None:
    got = as_sdk(streamed(START, *call_events("bad", 0), finish("tool_use"), STOP, refused=refusal(style)))
    answer = whole(message(tool("bad"), reason="tool_use"), refusal(style))
    for each in (got, answer):
        assert each["stop_reason"] == "refusal"
        assert each["stop_details"] == {"type": "refusal", "category": None, "explanation": REFUSAL}
        assert blocks(each) == [REFUSAL]
    kept = streamed(START, *call_events("bad", 0), *call_events("good", 1), finish("tool_use"), STOP)
    assert as_sdk(kept)["stop_reason"] == "tool_use"


@pytest.mark.parametrize("reason", ["max_tokens", "pause_turn", "stop_sequence", "refusal"])
def test_another_stop_reason_stays(reason: str) -> None:
    assert as_sdk(streamed(START, *call_events("bad", 0), finish(reason), STOP))["stop_reason"] == reason
    assert whole(message(tool("bad"), reason=reason))["stop_reason"] == reason


def test_blocks_that_stay_open_are_left_before_the_refusal() -> None:
    """As llama.cpp streams: there is no place between two blocks before the end."""
    trees = [
        *[begin(0, "thinking", thinking=""), add(0, "thinking_delta", thinking="Hm."), text(1), word(1, "So.")],
        *[call(2, "bad"), piece(2, f'{{"a":"{SECRET}"}}'), call(3), piece(3, "{}")],
        *[end(0), end(1), end(2), end(3)],
    ]
    got = streamed(START, *trees, finish("tool_use"), STOP)
    assert blocks(as_sdk(got)) == ["thinking", "So.", ("good", {}), f"\n\n{REFUSAL}"]
    assert SECRET not in str(got)
    assert sorted(t["index"] for t in got if t["type"] == "content_block_stop") == [0, 1, 2, 3]


def test_thoughts_and_signatures_that_were_held_leave_untouched() -> None:
    thought = [
        begin(1, "thinking", thinking="", signature=""),
        add(1, "thinking_delta", thinking="Hm."),
        add(1, "signature_delta", signature="c2ln"),
        end(1),
        begin(2, "redacted_thinking", data="ZGF0YQ=="),
        end(2),
    ]
    got = streamed(START, *call_events("bad", 0), *thought, finish("tool_use"), STOP)
    assert got[4:10] == thought
    content = [tool("bad"), {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]
    assert whole(message(*content, reason="tool_use"))["content"][1] == content[1]


def test_held_thoughts_may_be_dropped() -> None:
    trees = [
        *[begin(0, "thinking", thinking="", signature=""), add(0, "thinking_delta", thinking=SECRET)],
        *[add(0, "signature_delta", signature="c2ln"), end(0), begin(1, "redacted_thinking", data=SECRET), end(1)],
        *call_events("bad", 2),
    ]
    got = streamed(START, *trees, finish("tool_use"), STOP, refused=refusal(drop_reasoning=True), hold_all=True)
    assert blocks(as_sdk(got)) == [REFUSAL]
    assert SECRET not in str(got)
    content = [{"type": "thinking", "thinking": SECRET, "signature": "s"}, tool("bad")]
    assert whole(message(*content, reason="tool_use"), refusal(drop_reasoning=True))["content"] == [
        {"type": "text", "text": REFUSAL}
    ]


def test_what_the_provider_ran_leaves_as_it_is() -> None:
    page = {"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "x", "page_age": None}
    ran: list[Tree] = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [page]},
    ]
    trees = [
        *call_events("bad", 0),
        begin(1, "server_tool_use", id="s", name="web_search", input={}),
        piece(1, '{"query":"x"}'),
        end(1),
        {"type": "content_block_start", "index": 2, "content_block": ran[1]},
        end(2),
    ]
    got = streamed(START, *trees, finish("tool_use"), STOP)
    assert as_sdk(got)["content"][1:] == ran
    assert whole(message(tool("bad"), *ran, reason="tool_use"))["content"][1:] == ran


def test_a_text_with_citations_keeps_what_is_known_of_them() -> None:
    citation = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None}
    trees = [
        *call_events("bad", 0),
        begin(1, "text", text="", citations=[]),
        add(1, "citations_delta", citation=citation | QUOTED),
        word(1, "As said."),
        end(1),
    ]
    got = streamed(START, *trees, finish("tool_use"), STOP)
    assert add(1, "citations_delta", citation=citation) in got
    assert SECRET not in str(got)
    block = {"type": "text", "text": "As said.", "citations": [citation | QUOTED]}
    answer = whole(message(tool("bad"), block, reason="tool_use"))
    assert answer["content"][1] == block | {"citations": [citation]}


def test_what_is_not_known_does_not_leave_beside_a_blocked_call() -> None:
    trees = [START | {"message": START["message"] | QUOTED} | QUOTED, PING | QUOTED, *call_events("bad", 0)]
    usage = {"note": SECRET, "server_tool_use": {"web_search_requests": 0, "note": SECRET}}
    got = streamed(*trees, finish("tool_use", **usage) | QUOTED, STOP | QUOTED, hold_all=True)
    assert SECRET not in str(got)
    assert got[:2] == [START, PING]
    assert got[-2]["usage"] == {"output_tokens": 15, "server_tool_use": {"web_search_requests": 0}}
    answer = whole(message(tool("bad") | QUOTED, reason="tool_use", usage=usage | {"output_tokens": 1}) | QUOTED)
    assert SECRET not in str(answer)


def test_an_end_mark_stays_the_last() -> None:
    reader = SURFACE.reader(SURFACE.parse(request(), RequestRules()))
    gate = Gate(reader)
    held = [Frame(tree, tree["type"]) for tree in (*call_events("bad", 0), finish("tool_use"), STOP)]
    for frame in (Frame(START, "message_start"), *held):
        gate.receive(frame)
    amended = reader.amend([*held, DONE], permit(gate.review()), refusal())
    assert amended[-1] == DONE
    assert [frame.event for frame in amended[-3:-1]] == ["message_delta", "message_stop"]


# --- calls of types that this version does not know --------------------------------------------------------------


def test_an_unknown_block_may_be_blocked_or_leave_as_it_is() -> None:
    kept = begin(1, "future", id="x", payload={"a": [1]}) | {"more": 1}
    trees = [*call_events("bad", 0), begin(1, "bad", payload=SECRET), add(1, "d", text=SECRET), end(1)]
    assert SECRET not in str(streamed(START, *trees, finish("tool_use"), STOP))
    got = streamed(START, *call_events("bad", 0), kept, add(1, "future_delta", x=1), end(1), finish("tool_use"), STOP)
    assert begin(1, "future", id="x", payload={"a": [1]}) in got
    assert add(1, "future_delta", x=1) in got
    content = [{"type": "future", "id": "x"}, {"type": "bad", "payload": SECRET}]
    assert whole(message(*content, reason="tool_use"))["content"] == [content[0], {"type": "text", "text": REFUSAL}]


def test_an_unknown_event_may_be_blocked_or_leave_as_it_is() -> None:
    future = {"type": "future", "payload": 1}
    trees = [text(), {"type": "bad", "payload": SECRET}, future, word(0, "x"), end(), add_after_all := finish(), STOP]
    got = streamed(START, *trees)
    assert future in got
    assert SECRET not in str(got)
    assert blocks(as_sdk([tree for tree in got if tree != future])) == ["x", f"\n\n{REFUSAL}"]
    assert add_after_all in got


def test_an_unknown_delta_may_be_blocked() -> None:
    got = streamed(START, text(), word(0, "x"), add(0, "bad", payload=SECRET), word(0, "y"), end(), finish(), STOP)
    assert SECRET not in str(got)
    assert blocks(as_sdk(got)) == ["xy", f"\n\n{REFUSAL}"]
    future = add(1, "future", payload=1)
    got = streamed(START, *call_events("bad", 0), text(1), future, end(1), finish(), STOP)
    assert future in got


# --- calls that are written in text ------------------------------------------------------------------------------


def text_call(name: str) -> ToolCall:
    return ToolCall(CallKey(0, 1 << 20), CallKind.TEXT, "text_0", name, "{}")


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (0, [REFUSAL]),
        (2, ["on", f"\n\n{REFUSAL}"]),
        (3, ["one", f"\n\n{REFUSAL}"]),
        (5, ["one", "tw", f"\n\n{REFUSAL}"]),
        (6, ["one", "two", f"\n\n{REFUSAL}"]),
    ],
)
def test_a_text_with_a_call_in_it_is_cut(room: int, expected: list[str]) -> None:
    trees = [
        text(),
        word(0, ""),
        word(0, "on"),
        word(0, "e"),
        end(),
        text(1, "t"),
        word(1, "wo"),
        end(1),
        finish(),
        STOP,
    ]
    reader = SURFACE.reader(SURFACE.parse(request(), RequestRules()))
    gate = Gate(reader, hold_all=True)
    for tree in (START, *trees):
        gate.receive(Frame(tree, tree["type"]))
    held = [Frame(tree, tree["type"]) for tree in (START, *trees)]
    said = permit(gate.review(), [text_call("bad")])
    amended = reader.amend(held, said, refusal(text_room={0: room}))
    assert blocks(as_sdk([dict(frame.tree or {}) for frame in amended])) == expected
    reader = SURFACE.reader(SURFACE.parse(request(stream=False), RequestRules()))
    answer = message({"type": "text", "text": "one"}, {"type": "text", "text": "two"})
    reader.read(answer)
    (frame,) = reader.amend([Frame(answer)], said, refusal(text_room={0: room}))
    assert blocks(frame.tree or {}) == expected


def test_a_text_that_began_before_it_was_held_is_cut_and_ends() -> None:
    trees = [START, text(), word(0, "Action: "), word(0, "bad"), end(), finish("stop_sequence"), STOP]
    reader = SURFACE.reader(SURFACE.parse(request(), RequestRules()))
    gate = Gate(reader)
    for tree in trees:
        gate.receive(Frame(tree, tree["type"]))
    held = [Frame(tree, tree["type"]) for tree in trees[3:]]
    amended = reader.amend(held, permit(gate.review(), [text_call("bad")]), refusal(text_room={0: 0}))
    got = [*trees[:3], *(dict(frame.tree or {}) for frame in amended)]
    assert blocks(as_sdk(got)) == ["Action: ", f"\n\n{REFUSAL}"]
    assert [tree["type"] for tree in got].count("content_block_stop") == 2
