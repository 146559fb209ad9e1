"""What is read in an answer, streamed and whole, and which answers have no single reading."""

import copy
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import CallKind, Delta, FinishDelta, ReasoningDelta, TextDelta, Turn, UninspectedDelta
from guardproxy.stream.frame import Frame
from guardproxy.stream.gate import Gate
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import RequestRules
from guardproxy.testing.script import Call, Part, Reasoning, Text
from guardproxy.testing.wires.responses import ResponsesWire

WIRE = ResponsesWire()
ANY = RequestRules(allow_provider_tools=frozenset({"shell"}))

Tree = dict[str, Any]


def request(*, stream: bool = True, **fields: Any) -> Any:
    return Responses().parse({"model": "m", "input": "x", "stream": stream, **fields}, ANY)


def turn_of(events: Sequence[Any], *, stream: bool = True, **fields: Any) -> Turn:
    gate = Gate(Responses().reader(request(stream=stream, **fields)))
    for event in events:
        gate.receive(Frame(event))
    return gate.review()


def deltas_of(*events: Any, **fields: Any) -> list[Delta]:
    reader = Responses().reader(request(**fields))
    return [delta for event in events for delta in reader.read(event)]


def numbered(*events: Tree) -> list[Tree]:
    return [{"sequence_number": number, **event} for number, event in enumerate(events)]


def response(*output: Tree, **more: Any) -> Tree:
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(output), **more}


def completed(*output: Tree, **more: Any) -> Tree:
    return {"type": "response.completed", "response": response(*output, **more)}


CREATED: Tree = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}


def added(item: Tree, index: int = 0) -> Tree:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: Tree, index: int = 0) -> Tree:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def function(arguments: str = "{}", **more: Any) -> Tree:
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments, **more}


def message(text: str, id: str = "msg_1") -> Tree:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": content}


def event(type: str, index: int = 0, id: str = "fc_1", **more: Any) -> Tree:
    return {"type": f"response.{type}", "output_index": index, "item_id": id, **more}


def arguments(delta: str) -> Tree:
    return event("function_call_arguments.delta", delta=delta)


# --- calls of every kind -----------------------------------------------------------------------------------------

CALLS: dict[str, tuple[Tree, CallKind, str, str]] = {
    "function": (function('{"a":1}'), CallKind.FUNCTION, "f", '{"a":1}'),
    "function of a namespace": (function(namespace="ns"), CallKind.FUNCTION, "ns.f", "{}"),
    "function called by a program": (
        function(caller={"type": "program", "caller_id": "p"}),
        CallKind.FUNCTION,
        "f",
        "{}",
    ),
    "custom": (
        {"type": "custom_tool_call", "id": "fc_1", "call_id": "call_1", "name": "f", "input": "x"},
        CallKind.CUSTOM,
        "f",
        "x",
    ),
    "shell": (
        {"type": "shell_call", "id": "fc_1", "call_id": "call_1", "action": {"commands": ["ls", "pwd"]}},
        CallKind.BUILTIN,
        "shell",
        '{"commands":["ls","pwd"]}',
    ),
    "local shell": (
        {"type": "local_shell_call", "id": "fc_1", "call_id": "call_1", "action": {"type": "exec", "command": ["ls"]}},
        CallKind.BUILTIN,
        "local_shell",
        '{"type":"exec","command":["ls"]}',
    ),
    "patch": (
        {
            "type": "apply_patch_call",
            "id": "fc_1",
            "call_id": "call_1",
            "operation": {"type": "delete_file", "path": "a"},
        },
        CallKind.BUILTIN,
        "apply_patch",
        '{"type":"delete_file","path":"a"}',
    ),
    "computer": (
        {"type": "computer_call", "id": "fc_1", "call_id": "call_1", "action": {"type": "wait"}},
        CallKind.BUILTIN,
        "computer",
        '{"action":{"type":"wait"}}',
    ),
    "computer with both": (
        {
            "type": "computer_call",
            "id": "fc_1",
            "call_id": "call_1",
            "action": {"type": "wait"},
            "actions": [{"type": "wait"}, {"type": "type", "text": "x"}],
        },
        CallKind.BUILTIN,
        "computer",
        '{"action":{"type":"wait"},"actions":[{"type":"wait"},{"type":"type","text":"x"}]}',
    ),
    "search": (
        {
            "type": "tool_search_call",
            "id": "fc_1",
            "call_id": "call_1",
            "execution": "client",
            "arguments": {"query": "q"},
        },
        CallKind.BUILTIN,
        "tool_search",
        '{"query":"q"}',
    ),
    "unknown": (
        {"type": "future_call", "id": "fc_1", "call_id": "call_1", "payload": [1]},
        CallKind.OPAQUE,
        "future_call",
        '{"type":"future_call","id":"fc_1","call_id":"call_1","payload":[1]}',
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("where", ["items", "done alone", "terminal event alone", "whole"])
def test_a_call_is_read_wherever_it_is(name: str, where: str) -> None:
    item, kind, tool, said = CALLS[name]
    streams: dict[str, list[Tree]] = {
        "items": [CREATED, added(item), done(item), completed(item)],
        "done alone": [CREATED, done(item), completed(item)],
        "terminal event alone": [CREATED, completed(item)],
        "whole": [response(item)],
    }
    turn = turn_of(numbered(*streams[where]) if where != "whole" else streams[where], stream=where != "whole")
    (call,) = turn.calls
    assert (call.kind, call.id, call.name, call.arguments) == (kind, "call_1", tool, said)
    assert turn.finish_reasons == {0: "completed"}


def test_a_request_for_approval_is_a_call_by_the_name_of_its_server() -> None:
    item = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "docs", "name": "read", "arguments": "{}"}
    (call,) = turn_of([CREATED, added(item), done(item), completed(item)]).calls
    assert (call.kind, call.id, call.name, call.arguments) == (CallKind.APPROVAL, "mcpr_1", "docs.read", "{}")


def test_a_hold_begins_where_the_call_begins() -> None:
    gate = Gate(Responses().reader(request()))
    assert gate.receive(Frame(CREATED))
    assert gate.receive(Frame(added(function(""), 0))) == ()
    assert gate.holding


def test_arguments_come_in_pieces_and_are_said_once() -> None:
    item = function('{"a":1}')
    events = [
        CREATED,
        added(function("")),
        arguments('{"a"'),
        arguments(":1}"),
        event("function_call_arguments.done", arguments='{"a":1}', name="f"),
        done(item),
        completed(item),
    ]
    assert turn_of(numbered(*events)).calls[0].arguments == '{"a":1}'


def test_the_first_piece_may_come_with_the_item() -> None:
    """vLLM."""
    item = function('{"a":1}')
    assert turn_of([CREATED, added(function('{"a"')), arguments(":1}"), done(item), completed(item)])


def test_a_repeat_may_spell_the_same_json_otherwise() -> None:
    """vLLM writes what it lists at the end anew."""
    item = function('{"a": 1, "b": [true]}')
    turn = turn_of([CREATED, added(function("")), arguments('{"b":[true],"a":1}'), completed(item)])
    assert turn.calls[0].arguments == '{"b":[true],"a":1}'


def test_a_shell_call_is_read_from_its_item_and_its_commands_must_agree() -> None:
    item = CALLS["shell"][0]
    commands = [
        {"type": "response.shell_call_command.added", "output_index": 0, "command_index": 0, "command": ""},
        {"type": "response.shell_call_command.delta", "output_index": 0, "command_index": 0, "delta": "ls"},
        {"type": "response.shell_call_command.done", "output_index": 0, "command_index": 0, "command": "ls"},
        {"type": "response.shell_call_command.added", "output_index": 0, "command_index": 1, "command": "pwd"},
    ]
    begun = added(item | {"action": {"commands": []}})
    assert turn_of([CREATED, begun, *commands, done(item), completed(item)]).calls[0].arguments == CALLS["shell"][3]
    other = item | {"action": {"commands": ["ls", "rm"]}}
    with pytest.raises(UpstreamProtocolError, match="commands"):
        turn_of([CREATED, begun, *commands, done(other), completed(other)])
    with pytest.raises(UpstreamProtocolError, match="completed"):
        turn_of([CREATED, begun, *commands, completed()])


def test_parallel_calls_may_interleave() -> None:
    calls = [Call("function_call", f"f{i}", f'{{"a":{i}}}', id=f"call_{i}", pieces=2) for i in range(3)]
    for order in itertools.islice(itertools.permutations([0, 0, 1, 1, 2, 2]), 0, None, 97):
        turn = turn_of([frame.tree for frame in WIRE.frames(calls, order)])
        assert [(call.name, call.arguments) for call in turn.calls] == [(call.name, call.arguments) for call in calls]


# --- texts and what else there is --------------------------------------------------------------------------------


def test_texts_refusals_and_reasoning() -> None:
    parts: list[Part] = [Reasoning("Hm."), Text("One two.")]
    trees = [frame.tree for frame in WIRE.frames(parts)]
    found = deltas_of(*trees)
    assert "".join(delta.text for delta in found if isinstance(delta, TextDelta)) == "One two."
    assert [delta.text for delta in found if isinstance(delta, ReasoningDelta)] == ["Hm."]
    assert found[-2:-1] == [FinishDelta(0, "completed")]
    whole = deltas_of(WIRE.whole(parts), stream=False)
    assert [d for d in whole if isinstance(d, TextDelta | ReasoningDelta) and d.text] == [
        ReasoningDelta(0, "Hm."),
        TextDelta(0, "One two."),
    ]


def test_a_refusal_of_the_model_is_text() -> None:
    item = message("") | {"content": [{"type": "refusal", "refusal": "No."}]}
    events = [
        CREATED,
        added(message("") | {"content": []}),
        event("content_part.added", 0, "msg_1", content_index=0, part={"type": "refusal", "refusal": ""}),
        event("refusal.delta", 0, "msg_1", content_index=0, delta="No."),
        event("refusal.done", 0, "msg_1", content_index=0, refusal="No."),
        done(item),
        completed(item),
    ]
    assert turn_of(numbered(*events)).texts == {0: "No."}


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"type": "mcp_call", "id": "x", "server_label": "l", "name": "n", "arguments": "{}"}, "server_mcp_call"),
        ({"type": "web_search_call", "id": "x", "status": "completed"}, "server_web_search_call"),
        ({"type": "code_interpreter_call", "id": "x", "code": "1"}, "server_code_interpreter_call"),
        ({"type": "program", "id": "x", "call_id": "c", "code": "f()"}, "server_program"),
        ({"type": "tool_search_call", "id": "x", "execution": "server"}, "server_tool_search_call"),
        ({"type": "compaction", "id": "x", "encrypted_content": "e"}, "compaction"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_the_provider_has_run_is_counted_once_and_not_held(item: Tree, kind: str) -> None:
    turn = turn_of([CREATED, added(item), done(item), completed(item)])
    assert (turn.uninspected, turn.calls) == ((kind,), ())
    assert turn_of([response(item)], stream=False).uninspected == (kind,)


def test_a_shell_in_a_container_counts_as_run_only_where_the_request_has_one() -> None:
    item = CALLS["shell"][0] | {"environment": {"type": "container_reference", "container_id": "c"}}
    hosted = {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}
    events = [CREATED, added(item), done(item), completed(item)]
    assert turn_of(events, **hosted).uninspected == ("server_shell_call",)
    assert [call.name for call in turn_of(events).calls] == ["shell"]
    local = CALLS["shell"][0] | {"environment": {"type": "local"}}
    assert turn_of([CREATED, added(local), done(local), completed(local)], **hosted).calls


def test_events_of_the_providers_tools_pass() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "server_label": "l", "name": "n", "arguments": ""}
    events = [
        CREATED,
        added(item),
        event("mcp_call.in_progress", 0, "mcp_1"),
        event("mcp_call_arguments.delta", 0, "mcp_1", delta="{}"),
        event("mcp_call.completed", 0, "mcp_1"),
        done(item),
        completed(item),
    ]
    gate = Gate(Responses().reader(request()))
    for tree in numbered(*events):
        assert gate.receive(Frame(tree)), tree["type"]


def test_audio_is_counted_once() -> None:
    audio = {"type": "response.audio.delta", "delta": "AA=="}
    found = deltas_of(*numbered(CREATED, audio, audio, completed()))
    assert [delta for delta in found if isinstance(delta, UninspectedDelta)] == [UninspectedDelta("audio")]


def test_an_event_that_nobody_knows_is_a_call_by_itself() -> None:
    tree = {"type": "response.future_call.delta", "sequence_number": 1, "item_id": "x", "delta": "boo"}
    (call,) = turn_of([CREATED, tree, completed()]).calls
    assert (call.kind, call.id, call.name) == (CallKind.OPAQUE, "x", "response.future_call.delta")
    assert "boo" in call.arguments


@pytest.mark.parametrize("where", ["part events", "item", "terminal event"])
def test_a_part_that_nobody_knows_is_a_call(where: str) -> None:
    part = {"type": "future_part", "payload": "boo"}
    item = message("") | {"content": [part]}
    begun = added(message("") | {"content": []})
    parts = [
        event("content_part.added", 0, "msg_1", content_index=0, part={"type": "future_part"}),
        event("content_part.done", 0, "msg_1", content_index=0, part=part),
    ]
    streams = {
        "part events": [CREATED, begun, *parts, done(item), completed(item)],
        "item": [CREATED, begun, done(item), completed(item)],
        "terminal event": [CREATED, completed(item)],
    }
    (call,) = turn_of(numbered(*streams[where])).calls
    assert (call.kind, call.name) == (CallKind.OPAQUE, "future_part")
    assert "boo" in call.arguments


def test_a_part_that_nobody_knows_must_be_completed() -> None:
    begun = event("content_part.added", 0, "msg_1", content_index=0, part={"type": "future_part"})
    with pytest.raises(UpstreamProtocolError, match="never completed"):
        turn_of([CREATED, added(message("") | {"content": []}), begun, completed()])


# --- ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_an_incomplete_answer_says_why(reason: str) -> None:
    more = {"status": "incomplete", "incomplete_details": {"reason": reason}}
    terminal = {"type": "response.incomplete", "response": response(**more)}
    assert turn_of([CREATED, terminal]).finish_reasons == {0: reason}
    assert turn_of([response(**more)], stream=False).finish_reasons == {0: reason}


FAILED = {"code": "server_error", "message": "It broke."}


@pytest.mark.parametrize(
    "tree",
    [
        {"type": "response.failed", "response": response(status="failed", error=FAILED)},
        {"type": "error", **FAILED, "param": None},
        {"type": "error", "error": FAILED},
        {"error": FAILED},
    ],
    ids=["failed", "error", "nested", "plain"],
)
def test_a_failure_of_the_upstream_is_its_refusal(tree: Tree) -> None:
    with pytest.raises(UpstreamRefusal, match=r"It broke\.") as caught:
        deltas_of(CREATED, tree)
    assert (caught.value.status, caught.value.code) == (502, "server_error")


def test_a_whole_answer_may_have_failed() -> None:
    with pytest.raises(UpstreamRefusal, match=r"It broke\."):
        deltas_of(response(status="failed", error=FAILED), stream=False)
    with pytest.raises(UpstreamProtocolError, match="ended"):
        deltas_of(response(status="queued"), stream=False)


def test_the_reader_knows_the_end() -> None:
    reader = Responses().reader(request())
    reader.read(CREATED)
    assert not reader.ended
    reader.read(completed())
    assert reader.ended
    with pytest.raises(UpstreamProtocolError, match="after the end"):
        reader.read(added(function()))


def test_usage_is_read() -> None:
    assert turn_of([CREATED, completed(usage={"input_tokens": 3})]).usage == {"input_tokens": 3}


def test_an_answer_that_only_began_has_not_ended() -> None:
    with pytest.raises(UpstreamProtocolError, match="finished"):
        turn_of([CREATED])


# --- servers as they are -----------------------------------------------------------------------------------------


def named(turn: Turn) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments) for call in turn.calls]


def test_llama_cpp_sends_no_indexes_and_names_calls_by_their_call_ids() -> None:
    call = {"type": "function_call", "status": "completed", "call_id": "fc_a", "name": "f", "arguments": '{"a":1}'}
    text = {k: v for k, v in message("Now.").items() if k != "annotations"}
    events = [
        {"type": "response.created", "response": {"id": "resp_1", "object": "response", "status": "in_progress"}},
        {"type": "response.in_progress", "response": {"id": "resp_1", "object": "response", "status": "in_progress"}},
        {"type": "response.output_item.added", "item": text | {"content": [], "status": "in_progress"}},
        {"type": "response.content_part.added", "item_id": "msg_1", "part": {"type": "output_text", "text": ""}},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Now."},
        {"type": "response.output_item.added", "item": call | {"arguments": "", "status": "in_progress"}},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_a", "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_a", "delta": ":1}"},
        {"type": "response.output_text.done", "item_id": "msg_1", "text": "Now."},
        {"type": "response.content_part.done", "item_id": "msg_1", "part": text["content"][0]},
        {"type": "response.output_item.done", "item": text},
        {"type": "response.output_item.done", "item": call},
        {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [text, call]}},
    ]
    turn = turn_of(events)
    assert named(turn) == [("fc_a", "f", '{"a":1}')]
    assert turn.texts == {0: "Now."}


def test_ollama_gives_the_first_call_the_index_of_the_text_before_it() -> None:
    """And then neither ends the text nor lists it."""
    calls = [function(f'{{"a":{i}}}', id=f"fc_{i}", call_id=f"call_{i}") for i in range(2)]
    events = [
        CREATED,
        added(message("") | {"content": []}, 0),
        event("content_part.added", 0, "msg_1", content_index=0, part={"type": "output_text", "text": ""}),
        event("output_text.delta", 0, "msg_1", content_index=0, delta="Now."),
    ]
    for index, call in enumerate(calls):
        events += [
            added(call | {"arguments": ""}, index),
            event("function_call_arguments.delta", index, call["id"], delta=call["arguments"]),
            event("function_call_arguments.done", index, call["id"], arguments=call["arguments"]),
            done(call, index),
        ]
    turn = turn_of(numbered(*events, completed(*calls)))
    assert named(turn) == [("call_0", "f", '{"a":0}'), ("call_1", "f", '{"a":1}')]
    assert turn.texts == {0: "Now."}


def test_vllm_lists_other_ids_in_the_end_than_it_streamed() -> None:
    text, call = message("\n\nNow."), function('{"a":1}')
    events = [
        CREATED,
        added(text | {"content": []}, 0),
        event("content_part.added", 0, "msg_1", content_index=0, part={"type": "output_text", "text": ""}),
        event("output_text.delta", 0, "msg_1", content_index=0, delta="Now."),
        event("output_text.done", 0, "msg_1", content_index=0, text="Now."),
        done(message("Now."), 0),
        added(call | {"arguments": ""}, 1),
        event("function_call_arguments.delta", 1, delta='{"a":1}'),
        done(call, 1),
        completed(text | {"id": "msg_x"}, function('{"a": 1}', id="fc_x", call_id="call_x")),
    ]
    assert named(turn_of(numbered(*events))) == [("call_1", "f", '{"a":1}')]


def test_a_server_may_list_nothing_in_the_end() -> None:
    item = function()
    for last in (completed(), {"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}}):
        assert named(turn_of([CREATED, added(item), done(item), last])) == [("call_1", "f", "{}")]


# --- answers that have no single reading -------------------------------------------------------------------------


def plain() -> list[Tree]:
    """One call, in the API's own order."""
    item = function('{"a":1}')
    events = numbered(
        CREATED,
        added(function("")),
        arguments('{"a"'),
        arguments(":1}"),
        event("function_call_arguments.done", arguments='{"a":1}'),
        done(item),
        completed(item),
    )
    return [copy.deepcopy(event) for event in events]


Fault = Callable[[list[Tree]], object]


def _set(place: int, **fields: Any) -> Fault:
    return lambda events: events[place].update(fields)


def _item(place: int, **fields: Any) -> Fault:
    return lambda events: events[place]["item"].update(fields)


def _listed(**fields: Any) -> Fault:
    return lambda events: events[6]["response"]["output"][0].update(fields)


def _insert(place: int, tree: Tree) -> Fault:
    return lambda events: events.insert(place, tree)


def _remove(*places: int) -> Fault:
    return lambda events: [events.pop(place) for place in reversed(places)]


def _renumbered(change: Fault) -> Fault:
    def both(events: list[Tree]) -> None:
        change(events)
        for number, tree in enumerate(events):
            tree["sequence_number"] = number

    return both


FAULTS: dict[str, Fault] = {
    "other arguments in their done event": _set(4, arguments='{"a":2}'),
    "other arguments in the done item": _item(5, arguments='{"a":2}'),
    "other arguments in the list": _listed(arguments='{"a":2}'),
    "no arguments in the list": _listed(arguments=""),
    "true for 1": _listed(arguments='{"a":true}'),
    "another name in the arguments' done event": _set(4, name="g"),
    "another name in the done item": _item(5, name="g"),
    "another name in the list": _listed(name="g"),
    "a namespace in the list": _listed(namespace="ns"),
    "another type in the done item": _item(5, type="custom_tool_call"),
    "another type in the list": _listed(type="custom_tool_call"),
    "an unknown type in the list": _listed(type="future_call"),
    "another id in the done item": _item(5, id="fc_2"),
    "another call id in the done item": _item(5, call_id="call_2"),
    "a delta for an item that was not added": _set(2, item_id="fc_2"),
    "a delta for another index": _set(2, output_index=1),
    "a delta for a negative index": _set(2, output_index=-1),
    "a delta for an index that is none": _set(2, output_index="0"),
    "a delta that names nothing": lambda events: (events[2].pop("item_id"), events[2].pop("output_index")),
    "a delta of another kind": _set(2, type="response.custom_tool_call_input.delta"),
    "a delta of a text": _set(2, type="response.output_text.delta"),
    "a delta of the provider's": _set(2, type="response.mcp_call_arguments.delta"),
    "a shell command": _set(2, type="response.shell_call_command.added", command_index=0, command="x"),
    "a gap in the indexes": lambda events: [events[i].update(output_index=1) for i in range(1, 6)],
    "a number that falls": _set(3, sequence_number=1),
    "a number twice": _set(3, sequence_number=2),
    "a number that is none": _set(3, sequence_number="3"),
    "a delta after the done event": _renumbered(_insert(5, arguments("x"))),
    "a delta after the done item": _renumbered(_insert(6, arguments(""))),
    "the done event twice": _renumbered(lambda events: events.insert(5, copy.deepcopy(events[4]))),
    "the done item twice": _renumbered(lambda events: events.insert(6, copy.deepcopy(events[5]))),
    "the item added twice": _renumbered(lambda events: events.insert(2, copy.deepcopy(events[1]))),
    "the item added twice under another index": _renumbered(_insert(2, added(function(""), 1))),
    "an item after the end": _renumbered(lambda events: events.append(done(function(id="fc_2"), 1))),
    "two ends": _renumbered(lambda events: events.append(copy.deepcopy(events[6]))),
    "a call that is not listed": lambda events: events[6]["response"].update(output=[message("x")]),
    "a call listed in another answer": lambda events: events[6]["response"].update(id="resp_2"),
    "a failure that says it is complete": lambda events: events[6]["response"].update(status="incomplete"),
    "a list that is none": lambda events: events[6]["response"].update(output={}),
    "an entry that is none": lambda events: events[6]["response"]["output"].append("x"),
    "arguments in their done event alone, and no done item": _renumbered(_remove(2, 3, 5)),
    "arguments after a piece without any": _renumbered(lambda events: (events[2].update(delta=""), events.pop(3))),
    "arguments in a done item without its id": _renumbered(
        lambda events: (events[5]["item"].pop("id"), _remove(2, 3, 4)(events))
    ),
    "arguments in the list alone, and no done item": _renumbered(_remove(2, 3, 4, 5)),
    "items before they begin": lambda events: events[0]["response"].update(output=[function()]),
    "arguments that are no text": _item(5, arguments={"a": 1}),
    "a name that is no text": _item(1, name=["f"]),
    "an item without a type": _item(1, type=None),
    "an item whose type is none": _item(1, type=["function_call"]),
    "after a text an item whose type is none": _renumbered(
        lambda events: events.insert(1, done(message("x"))) or events[2].update(output_index=1, item={"type": {}})
    ),
    "no item": _set(1, item=None),
    "a known field respelled": _item(5, Arguments='{"a":2}'),
    "a known field respelled in the list": _listed(ARGUMENTS='{"a":2}'),
    "the list respelled": lambda events: events[6]["response"].update(Output=[function()]),
    "the item respelled": _set(5, Item=function('{"a":2}')),
    "no type": lambda events: events[2].pop("type") and events[2].update(Type="x"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_without_a_single_reading_is_refused(fault: str) -> None:
    events = plain()
    assert turn_of(copy.deepcopy(events)).calls
    FAULTS[fault](events)
    with pytest.raises(UpstreamProtocolError):
        turn_of(events)


@pytest.mark.parametrize("name", ["call_id", "arguments", "input", "action", "actions", "operation", "tool_calls"])
@pytest.mark.parametrize("where", ["added", "done", "terminal event"])
def test_an_item_that_is_no_call_has_no_fields_of_one(name: str, where: str) -> None:
    """A client that looks at the fields before the type would read a call that nobody judged."""
    values: list[Any] = [None, "", [], "x", {"a": 1}]
    for value in values:
        text = message("Hi.")
        odd = {**text, name: value}
        texts = {"added": (odd, text, text), "done": (text, odd, text), "terminal event": (text, text, odd)}[where]
        events = [CREATED, added(texts[0]), done(texts[1]), completed(texts[2])]
        if not value:  # some servers write all the fields that an item could have
            assert turn_of(events).calls == ()
            continue
        with pytest.raises(UpstreamProtocolError, match="no call has the fields of one"):
            turn_of(events)


@pytest.mark.parametrize(
    "more",
    [{"item": function()}, {"response": response(function())}, {"response": [function()]}],
    ids=["item", "response", "list"],
)
def test_an_event_holds_no_call_where_none_belongs(more: Tree) -> None:
    text = message("Hi.")
    said = event("output_text.delta", item_id=text["id"], content_index=0, delta="Hi.")
    events = [CREATED, added({**text, "content": []}), said, done(text), completed(text)]
    assert turn_of(events).calls == ()
    for place in range(len(events)):
        if not more.keys() & events[place].keys():
            with pytest.raises(UpstreamProtocolError, match="cannot be read"):
                turn_of([*events[:place], {**events[place], **more}, *events[place + 1 :]])


def test_texts_that_contradict_each_other_are_refused() -> None:
    trees: list[Any] = [frame.tree for frame in WIRE.frames([Text("One two.")])]
    for place, tree in enumerate(trees):
        for name in ("text", "part", "item", "response"):
            if name not in tree or "One two." not in str(tree[name]):
                continue
            changed = copy.deepcopy(trees)
            changed[place] = json.loads(json.dumps(tree).replace("One two.", "Three."))
            with pytest.raises(UpstreamProtocolError):
                turn_of(changed)


def test_two_calls_may_have_all_but_their_ids_in_common() -> None:
    calls = [function(id=f"fc_{i}", call_id=f"call_{i}") for i in range(2)]
    events = [CREATED, *(tree for i, call in enumerate(calls) for tree in (added(call, i), done(call, i)))]
    assert len(turn_of(numbered(*events, completed(*calls))).calls) == 2
    with pytest.raises(UpstreamProtocolError, match="not among"):
        turn_of(numbered(*events, completed(calls[0])))


def test_more_calls_in_the_list_than_were_streamed_are_judged() -> None:
    first, second = function(), function('{"b":2}', id="fc_2", call_id="call_2")
    turn = turn_of([CREATED, added(first), done(first), completed(first, second)])
    assert named(turn) == [("call_1", "f", "{}"), ("call_2", "f", '{"b":2}')]
