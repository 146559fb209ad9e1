"""What a client gets of a turn in which a call was blocked or rewritten."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from guardproxy.decision import Block, Finding, GuardReport, Mode, OnError, Permit, Verdict, decide
from guardproxy.stream.frame import Frame
from guardproxy.stream.gate import Gate
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import OnBlock, Refusal, RequestRules
from guardproxy.testing.fakes import FakeGuard
from guardproxy.testing.proxy import proxy
from guardproxy.testing.script import Call, Part, Reasoning, Text, encode_frames
from guardproxy.testing.wires.responses import ResponsesWire

WIRE = ResponsesWire()
REFUSAL = "[guardproxy] The call to `bad` was not executed: Ask the user first. (reason: fake_code)"
Tree = dict[str, Any]


def streamed(guard: FakeGuard, parts: Sequence[Part], **settings: Any) -> list[Tree]:
    under_test = proxy([encode_frames(WIRE.frames(parts))], guards=[guard], **settings)
    received = under_test.ask(WIRE.request(stream=True, calls=[p for p in parts if isinstance(p, Call)]), path=PATH)
    assert received.status == 200
    return received.events


def whole(guard: FakeGuard, parts: Sequence[Part], **settings: Any) -> Tree:
    tree = json.dumps(WIRE.whole(parts)).encode()
    under_test = proxy([tree], guards=[guard], **settings)
    received = under_test.ask(WIRE.request(stream=False), path=PATH)
    assert received.status == 200
    answer: Tree = received.tree
    return answer


PATH = Responses.path


def call(name: str, arguments: str = '{"a":"SECRET"}', shape: str = "function_call", id: str = "") -> Call:
    return Call(shape, name, arguments, id=id or f"call_{name}", pieces=2, noise="SECRET noise")


def types(events: Sequence[Tree]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


MESSAGE = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]


# --- streamed ----------------------------------------------------------------------------------------------------


def test_a_blocked_call_becomes_a_message_in_its_place(guard: FakeGuard) -> None:
    got = streamed(guard, [call("bad")])
    assert types(got) == ["created", "in_progress", *MESSAGE, "completed"]
    assert [event["sequence_number"] for event in got] == list(range(9))
    (item,) = got[-1]["response"]["output"]
    assert item["content"] == [{"type": "output_text", "text": REFUSAL, "annotations": [], "logprobs": []}]
    assert (item["role"], item["status"]) == ("assistant", "completed")
    assert got[-1]["response"]["status"] == "completed"
    assert got[-1]["response"]["usage"]["total_tokens"] == 12
    assert got[-2]["item"] == item
    assert "SECRET" not in str(got)


def test_only_the_blocked_calls_are_gone(guard: FakeGuard) -> None:
    got = streamed(guard, [Text("Now. "), call("ok1"), call("bad"), call("ok2"), call("bad", id="call_2")])
    output = got[-1]["response"]["output"]
    assert [item.get("name", item["type"]) for item in output] == ["message", "ok1", "message", "ok2"]
    added = [event for event in got if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [0, 1, 2, 3]
    assert [event["sequence_number"] for event in got] == list(range(len(got)))
    assert output[2]["content"][0]["text"] == REFUSAL


def test_a_call_that_stays_has_its_events_in_the_apis_own_order(guard: FakeGuard) -> None:
    got = streamed(guard, [call("bad"), call("ok", '{"a":1}')])
    own = [event for event in got if event.get("item_id") == "item_call_ok" or event.get("output_index") == 1]
    assert types(own) == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert own[0]["item"]["arguments"] == ""
    assert own[0]["item"]["status"] == "in_progress"
    assert (own[1]["delta"], own[2]["arguments"]) == ('{"a":1}', '{"a":1}')
    assert own[3]["item"] == {
        "id": "item_call_ok",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_ok",
        "name": "ok",
        "arguments": '{"a":1}',
    }


def test_rewritten_arguments_are_everywhere(guard: FakeGuard) -> None:
    got = streamed(guard, [call("fix"), call("ok", "{}")])
    (delta,) = [e for e in got if e["type"].endswith("arguments.delta") and e["item_id"] == "item_call_fix"]
    assert delta["delta"] == '{"fixed": true}'
    assert got[-1]["response"]["output"][0]["arguments"] == '{"fixed": true}'
    assert "SECRET" not in str(got)


def test_rewritten_input_of_a_custom_tool(guard: FakeGuard) -> None:
    got = streamed(guard, [call("fix", "SECRET", "custom_tool_call")])
    (delta,) = [e for e in got if e["type"] == "response.custom_tool_call_input.delta"]
    assert delta["delta"] == got[-1]["response"]["output"][0]["input"] == '{"fixed": true}'


@pytest.mark.parametrize(
    ("style", "status", "reason"),
    [
        (OnBlock.MESSAGE, "completed", None),
        (OnBlock.REFUSAL, "completed", None),
        (OnBlock.CONTENT_FILTER, "incomplete", {"reason": "content_filter"}),
    ],
)
def test_the_styles_of_a_block(guard: FakeGuard, style: OnBlock, status: str, reason: Any) -> None:
    got = streamed(guard, [call("bad")], on_block=style)
    response = got[-1]["response"]
    assert got[-1]["type"] == f"response.{status}"
    assert (response["status"], response["incomplete_details"]) == (status, reason)
    answer = whole(guard, [call("bad")], on_block=style)
    assert (answer["status"], answer["incomplete_details"]) == (status, reason)
    assert answer["output"] == response["output"]


def test_a_refusal_part_has_its_own_events(guard: FakeGuard) -> None:
    got = streamed(guard, [call("bad")], on_block=OnBlock.REFUSAL)
    assert types(got)[2:-1] == [name.replace("output_text", "refusal") for name in MESSAGE]
    assert got[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": REFUSAL}]
    assert got[4]["delta"] == got[5]["refusal"] == REFUSAL


def test_an_answer_with_a_call_left_is_not_filtered(guard: FakeGuard) -> None:
    got = streamed(guard, [call("ok", "{}"), call("bad")], on_block=OnBlock.CONTENT_FILTER)
    assert got[-1]["type"] == "response.completed"


def test_reasoning_stays_with_its_encrypted_content(guard: FakeGuard) -> None:
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "opaque", "status": "completed"}
    item = {"id": "i", "type": "function_call", "call_id": "c", "name": "bad", "arguments": "{}"}
    answer = WIRE.whole([]) | {"output": [reasoning, item]}
    under_test = proxy([json.dumps(answer).encode()], guards=[guard])
    got = under_test.ask(WIRE.request(stream=False), path=PATH).tree
    assert got["output"][0] == reasoning
    assert got["output"][1]["type"] == "message"


def test_the_log_probabilities_of_held_text_stay_behind(guard: FakeGuard) -> None:
    parts = [call("bad"), Text("After.")]
    frames = WIRE.frames(parts)
    for frame in frames:
        if frame.tree is not None and frame.tree["type"] == "response.output_text.delta":
            frame.tree["logprobs"] = ["SECRET"]
            frame.tree["obfuscation"] = "SECRET"
    under_test = proxy([encode_frames(frames)], guards=[guard])
    got = under_test.ask(WIRE.request(stream=True), path=PATH).events
    assert "After." in str(got)
    assert "SECRET" not in str(got)


def test_a_server_that_leaves_a_message_open_has_it_closed(guard: FakeGuard) -> None:
    """llama.cpp ends its texts after its calls, Ollama not at all."""
    frames = [f for f in WIRE.frames([Text("Now. "), call("bad")]) if not _ends_text(f.tree)]
    under_test = proxy([encode_frames(frames)], guards=[guard])
    got = under_test.ask(WIRE.request(stream=True), path=PATH).events
    own = [event for event in got if event.get("item_id") == "msg_0" or event.get("output_index") == 0]
    assert types(own)[-3:] == ["output_text.done", "content_part.done", "output_item.done"]
    assert own[-1]["item"] == got[-1]["response"]["output"][0]


def _ends_text(tree: Any) -> bool:
    ends = tree["type"].endswith(("output_text.done", "content_part.done"))
    return ends or (tree["type"] == "response.output_item.done" and tree["output_index"] == 0)


def test_a_delta_that_says_nothing_is_none(guard: FakeGuard) -> None:
    frames = [
        Frame({name: v for name, v in (tree or {}).items() if name != "delta" or "arguments" in str(event)}, event)
        for tree, event in WIRE.frames([call("bad"), Text("Now")])
    ]
    got = proxy([encode_frames(frames)], guards=[guard]).ask(WIRE.request(stream=True), path=PATH).events
    assert types(got).count("output_text.done") == 1 + types(got).count("output_text.delta")
    assert got[-1]["response"]["output"][-1]["content"][0]["text"] == "Now"


@pytest.mark.parametrize("kept", [[], [call("ok", "{}")]], ids=["alone", "beside another"])
def test_a_server_that_only_says_what_is_done_gets_no_steps(guard: FakeGuard, kept: list[Part]) -> None:
    """A client that was not told of the items before could not find by its index one that begins."""
    frames = WIRE.variants([Text("Now. "), call("bad"), *kept])["done items only"]
    got = proxy([encode_frames(frames)], guards=[guard]).ask(WIRE.request(stream=True), path=PATH).events
    assert types(got) == ["created", "in_progress", *["output_item.done"] * (2 + len(kept)), "completed"]
    assert [event["item"] for event in got[2:-1]] == got[-1]["response"]["output"]
    assert got[3]["item"]["content"][0]["text"] == REFUSAL


# --- whole -------------------------------------------------------------------------------------------------------


def test_a_whole_answer_without_its_blocked_calls(guard: FakeGuard) -> None:
    got = whole(guard, [Text("Now. "), call("bad"), call("fix"), call("ok", "{}")])
    assert [item.get("name", item["type"]) for item in got["output"]] == ["message", "message", "fix", "ok"]
    assert got["output"][1]["content"][0]["text"] == REFUSAL
    assert got["output"][2]["arguments"] == '{"fixed": true}'
    assert "SECRET" not in str(got)
    assert (got["id"], got["status"], got["usage"]["total_tokens"]) == ("resp_1", "completed", 12)


def test_an_allowed_answer_is_not_touched(guard: FakeGuard) -> None:
    parts = [Reasoning("Hm."), Text("Now. "), call("ok")]
    assert whole(guard, parts) == WIRE.whole(parts)


# --- built-in tools ----------------------------------------------------------------------------------------------


def turn(events: Sequence[Tree], *, stream: bool = True) -> tuple[Gate, Any]:
    surface = Responses()
    reader = surface.reader(surface.parse({"model": "m", "input": "x", "stream": stream}, RequestRules()))
    gate = Gate(reader)
    for event in events:
        gate.receive(Frame(event))
    return gate, reader


def permit_of(gate: Gate, findings: Mapping[int, Finding]) -> Permit:
    reviewed = gate.review()
    said = {call.key: [findings[call.key.position]] if call.key.position in findings else [] for call in reviewed.calls}
    return decide(reviewed, [GuardReport("g", Mode.ENFORCE, OnError.BLOCK, said)])


def rewrite(arguments: str) -> Finding:
    return Finding("g", "r", "c", Verdict.REWRITE, replacement=arguments)


BLOCK = Finding("g", "r", "c", Verdict.BLOCK)


def amended(
    events: Sequence[Tree], findings: Mapping[int, Finding], *, stream: bool = True, **refusal: Any
) -> list[Any]:
    gate, reader = turn(events, stream=stream)
    told = Refusal(OnBlock.MESSAGE, {0: "refused"} if BLOCK in findings.values() else {}, **refusal)
    released = gate.release(permit_of(gate, findings), lambda held, permit: reader.amend(held, permit, told))
    return [frame.tree for frame in released]


def whole_answer(*output: Tree) -> Tree:
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(output)}


SHELL = {"type": "shell_call", "id": "i", "call_id": "c", "status": "completed", "action": {"commands": ["rm"]}}


@pytest.mark.parametrize(
    ("item", "arguments", "fields"),
    [
        (SHELL, '{"commands":["ls"]}', {"action": {"commands": ["ls"]}}),
        (
            {"type": "apply_patch_call", "id": "i", "call_id": "c", "operation": {"type": "delete_file", "path": "a"}},
            '{"type":"delete_file","path":"b"}',
            {"operation": {"type": "delete_file", "path": "b"}},
        ),
        (
            {"type": "tool_search_call", "id": "i", "call_id": "c", "execution": "client", "arguments": {"q": "a"}},
            '{"q":"b"}',
            {"arguments": {"q": "b"}},
        ),
    ],
    ids=["shell", "patch", "search"],
)
def test_a_built_in_call_is_rewritten_as_an_object(item: Tree, arguments: str, fields: Tree) -> None:
    (got,) = amended([whole_answer(item)], {0: rewrite(arguments)}, stream=False)
    assert got["output"] == [item | fields]


def test_a_computer_call_keeps_only_the_actions_of_its_rewrite() -> None:
    item = {"type": "computer_call", "id": "i", "call_id": "c", "action": {"type": "wait"}, "actions": [{"type": "x"}]}
    (got,) = amended([whole_answer(item)], {0: rewrite('{"actions":[{"type":"wait"}]}')}, stream=False)
    assert got["output"] == [{"type": "computer_call", "id": "i", "call_id": "c", "actions": [{"type": "wait"}]}]


@pytest.mark.parametrize("arguments", ["ls", "[1]", '"x"', '{"a":1,"a":2}', '{"a":NaN}'])
def test_a_rewrite_that_cannot_be_written_is_a_block(arguments: str) -> None:
    (got,) = amended([whole_answer(SHELL)], {0: rewrite(arguments)}, stream=False)
    assert [item["type"] for item in got["output"]] == ["message"]


def test_a_rewrite_of_a_computer_call_must_be_of_its_actions() -> None:
    item = {"type": "computer_call", "id": "i", "call_id": "c", "action": {"type": "wait"}}
    for arguments in ("{}", '{"status":"completed","actions":[]}'):
        (got,) = amended([whole_answer(item)], {0: rewrite(arguments)}, stream=False)
        assert [each["type"] for each in got["output"]] == ["message"]


def test_an_approval_cannot_be_rewritten() -> None:
    """What is approved is the request that the provider has, not the one that the client sees."""
    item = {"type": "mcp_approval_request", "id": "i", "server_label": "l", "name": "n", "arguments": "{}"}
    (got,) = amended([whole_answer(item)], {0: rewrite('{"a":1}')}, stream=False)
    assert [each["type"] for each in got["output"]] == ["message"]
    (kept,) = amended([whole_answer(item)], {}, stream=False)
    assert kept["output"] == [item]


def test_a_rewritten_approval_is_a_block_to_the_client_and_in_the_record(guard: FakeGuard) -> None:
    asked = Call("mcp_approval_request", "fix.read", "{}", id="mcpr_1")
    under_test = proxy([json.dumps(WIRE.whole([asked])).encode()], guards=[guard])
    received = under_test.ask(WIRE.request(stream=False), path=PATH)
    (item,) = received.tree["output"]
    assert "rewrite_impossible" in item["content"][0]["text"]
    (outcome,) = under_test.exchange.attempts[-1].decision.outcomes.values()
    assert outcome == Block("rewrite_impossible")
    assert under_test.exchange.outcome == "blocked"


def test_blocked_built_in_calls_leave_no_event() -> None:
    commands: list[Tree] = [
        {"type": "response.shell_call_command.added", "output_index": 0, "command_index": 0, "command": ""},
        {"type": "response.shell_call_command.delta", "output_index": 0, "command_index": 0, "delta": "rm"},
        {"type": "response.shell_call_command.done", "output_index": 0, "command_index": 0, "command": "rm"},
    ]
    begun = {"type": "response.output_item.added", "output_index": 0, "item": SHELL | {"action": {"commands": []}}}
    ended = {"type": "response.output_item.done", "output_index": 0, "item": SHELL}
    terminal = {"type": "response.completed", "response": whole_answer(SHELL)}
    got = amended([begun, *commands, ended, terminal], {0: BLOCK})
    assert types(got) == [*MESSAGE, "completed"]
    assert "rm" not in str(got)


def test_events_and_parts_that_nobody_knows_are_taken_out() -> None:
    part = {"type": "future_part", "payload": "SECRET"}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    unknown = {"type": "response.future", "sequence_number": 0, "payload": "SECRET"}
    terminal = {"type": "response.completed", "sequence_number": 1, "response": whole_answer(item)}
    got = amended([unknown, terminal], {0: BLOCK, 1: BLOCK})
    assert "SECRET" not in str(got)
    assert types(got) == [*MESSAGE, "completed"]
    assert [tree["sequence_number"] for tree in got] == list(range(7))
    assert len(got[-1]["response"]["output"]) == 1


def test_what_a_policy_lets_through_leaves_as_it_is() -> None:
    future = {"type": "future_call", "id": "f", "payload": [1]}
    item = {"type": "function_call", "id": "i", "call_id": "c", "name": "bad", "arguments": "{}"}
    events = [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 1, "item": future},
        {"type": "response.completed", "response": whole_answer(item, future)},
    ]
    got = amended(events, {0: BLOCK})
    assert got[6] == {"type": "response.output_item.done", "output_index": 1, "item": future}
    assert got[-1]["response"]["output"][1] == future


# --- calls in text -----------------------------------------------------------------------------------------------


def held_text(gate_events: Sequence[Tree], left: int, *, room: int, **refusal: Any) -> list[Any]:
    """The events after the first `left`, of a turn whose text may show no more than so many characters."""
    gate, reader = turn(gate_events)
    reviewed = gate.review()
    permit = decide(reviewed, [])
    told = Refusal(OnBlock.MESSAGE, {0: "refused"}, {0: room}, **refusal)
    return [frame.tree for frame in reader.amend([Frame(tree) for tree in gate_events[left:]], permit, told)]


def test_text_is_cut_where_a_call_begins_in_it() -> None:
    events: list[Any] = [frame.tree for frame in WIRE.frames([Text("one two three")])]
    got = held_text(events, 5, room=4)  # "one" has left
    assert [tree["delta"] for tree in got if tree["type"] == "response.output_text.delta"] == [" two", "refused"]
    texts = [part["text"] for item in got[-1]["response"]["output"] for part in item["content"]]
    assert texts == ["one two", "refused"]
    assert next(tree for tree in got if tree["type"] == "response.output_text.done")["text"] == "one two"
    assert "three" not in str(got)


def test_text_may_be_cut_within_a_word_and_to_nothing() -> None:
    events: list[Any] = [frame.tree for frame in WIRE.frames([Text("one two three")])]
    assert [t["delta"] for t in held_text(events, 5, room=2) if t["type"].endswith("delta")] == [" t", "refused"]
    got = held_text(events, 0, room=0)
    assert [item["content"][0]["text"] for item in got[-1]["response"]["output"]] == ["refused"]
    assert types(got)[:3] == ["created", "in_progress", "output_item.added"]


def test_the_text_of_a_whole_answer_is_cut_too() -> None:
    gate, reader = turn([WIRE.whole([Text("one two three"), Text("four")])], stream=False)
    told = Refusal(OnBlock.MESSAGE, {0: "refused"}, {0: 7})
    (frame,) = reader.amend([Frame(WIRE.whole([Text("one two three"), Text("four")]))], decide(gate.review(), []), told)
    assert [item["content"][0]["text"] for item in frame.tree["output"]] == ["one two", "refused"]


def test_held_reasoning_can_be_dropped() -> None:
    parts: list[Part] = [Reasoning("SECRET"), Text("So.")]
    events: list[Any] = [frame.tree for frame in WIRE.frames(parts)]
    kept = held_text(events, 0, room=99)
    assert "SECRET" in str(kept)
    dropped = held_text(events, 0, room=99, drop_reasoning=True)
    assert "SECRET" not in str(dropped)
    assert [item["type"] for item in dropped[-1]["response"]["output"]] == ["message", "message"]
    begun = held_text(events, 3, room=99, drop_reasoning=True)  # the item has begun, its text has not
    assert "SECRET" not in str(begun)
    assert [item["type"] for item in begun[-1]["response"]["output"]] == ["reasoning", "message", "message"]
