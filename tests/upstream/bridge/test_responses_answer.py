import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from guardproxy.stream.frame import Frame
from guardproxy.testing import chat
from guardproxy.upstream.bridge.translation import ChunkTranslator, translate, translate_whole

EVENT = TypeAdapter(ResponseStreamEvent)
MAIL = {"type": "namespace", "name": "mail", "description": "", "tools": [{"type": "function", "name": "send"}]}
PATCH = {"type": "custom", "name": "patch"}
ASKED = {"model": "asked", "input": "hi", "tools": [MAIL, PATCH], "temperature": 0.5, "metadata": {"a": "b"}}


def writer(**fields):
    return translate("/responses", {**ASKED, **fields}, "n").writer


def stream(*chunks, **fields):
    translator = ChunkTranslator(writer(**fields))
    frames = [frame for tree in chunks for frame in translator.feed(Frame(tree))] + translator.close()
    for frame in frames:
        EVENT.validate_python(frame.tree)
    assert [frame.event for frame in frames] == [frame.tree["type"] for frame in frames]
    assert [frame.tree["sequence_number"] for frame in frames] == list(range(len(frames)))
    return [frame.tree for frame in frames]


def delta(**fields):
    return chat.chunk(chat.choice(**fields))


def without(tree, *names):
    return {name: value for name, value in tree.items() if name not in ("sequence_number", *names)}


def middle(events):
    """What is between the opening and the terminal events."""
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    return [without(event) for event in events[2:-1]]


def test_text():
    begun = {"id": "msg_1_n_0", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    place = {"item_id": "msg_1_n_0", "output_index": 0, "content_index": 0}
    ended = begun | {"status": "completed", "content": [empty | {"text": "Hello"}]}
    events = stream(chat.text("Hel"), chat.text("lo"), chat.finish("stop"), chat.usage(3, 4))
    assert middle(events) == [
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **place, "part": empty},
        {"type": "response.output_text.delta", **place, "delta": "Hel", "logprobs": []},
        {"type": "response.output_text.delta", **place, "delta": "lo", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "Hello", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": empty | {"text": "Hello"}},
        {"type": "response.output_item.done", "output_index": 0, "item": ended},
    ]
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"] == [ended]


def test_the_terminal_event_holds_the_whole_answer():
    response = stream(chat.text("A"), chat.finish("stop"), chat.usage(3, 4))[-1]["response"]
    assert without(response, "output", "tools") == {
        "id": "resp_1_n",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "m",
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "tool_choice": "auto",
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 7,
        },
        "temperature": 0.5,
        "metadata": {"a": "b"},
    }
    assert response["tools"] == [MAIL, PATCH]


def test_the_opening_events_hold_an_empty_answer_in_progress():
    created, in_progress = stream(chat.text("A"), chat.finish("stop"))[:2]
    assert created["response"] == in_progress["response"]
    assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
    assert created["response"]["usage"] is None


def test_instructions_are_not_echoed():
    events = stream(chat.text("A"), chat.finish("stop"), instructions="a learned prefix")
    assert all("a learned prefix" not in str(event) for event in events)


def test_a_function_call():
    begun = {
        "id": "fc_1_n_0",
        "type": "function_call",
        "status": "in_progress",
        "call_id": "call_0_0",
        "name": "f",
        "arguments": "",
    }
    ended = begun | {"status": "completed", "arguments": '{"a":1}'}
    place = {"item_id": "fc_1_n_0", "output_index": 0}
    assert middle(stream(chat.call("f", '{"a"'), chat.more_arguments(":1}"), chat.finish())) == [
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.function_call_arguments.delta", **place, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", **place, "delta": ":1}"},
        {"type": "response.function_call_arguments.done", **place, "arguments": '{"a":1}', "name": "f"},
        {"type": "response.output_item.done", "output_index": 0, "item": ended},
    ]


def test_a_function_of_a_namespace():
    (item,) = stream(chat.call("mail__send", "{}"), chat.finish())[-1]["response"]["output"]
    assert (item["namespace"], item["name"]) == ("mail", "send")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"*** Begin"}', "*** Begin"),
        ("*** Begin", "*** Begin"),
        ('{"patch":"x"}', '{"patch":"x"}'),
        ('{"input":"x","more":1}', '{"input":"x","more":1}'),
        ('{"input":1}', '{"input":1}'),
    ],
)
def test_a_custom_tool_call(arguments, text):
    events = stream(chat.call("patch", arguments[:5]), chat.more_arguments(arguments[5:]), chat.finish())
    item = {
        "id": "ctc_1_n_0",
        "type": "custom_tool_call",
        "status": "completed",
        "call_id": "call_0_0",
        "name": "patch",
        "input": text,
    }
    place = {"item_id": "ctc_1_n_0", "output_index": 0}
    assert middle(events) == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": item | {"status": "in_progress", "input": ""},
        },
        {"type": "response.custom_tool_call_input.delta", **place, "delta": text},
        {"type": "response.custom_tool_call_input.done", **place, "input": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]
    assert events[-1]["response"]["output"] == [item]


def test_reasoning():
    events = stream(delta(reasoning_content="hm"), chat.text("A"), chat.finish("stop"))
    place = {"item_id": "rsc_1_n_0", "output_index": 0, "content_index": 0}
    ended = {
        "id": "rsc_1_n_0",
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}],
        "status": "completed",
    }
    assert middle(events)[:6] == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": ended | {"content": [], "status": "in_progress"},
        },
        {"type": "response.content_part.added", **place, "part": {"type": "reasoning_text", "text": ""}},
        {"type": "response.reasoning_text.delta", **place, "delta": "hm"},
        {"type": "response.reasoning_text.done", **place, "text": "hm"},
        {"type": "response.content_part.done", **place, "part": {"type": "reasoning_text", "text": "hm"}},
        {"type": "response.output_item.done", "output_index": 0, "item": ended},
    ]
    assert [item["id"] for item in events[-1]["response"]["output"]] == ["rsc_1_n_0", "msg_1_n_1"]


def test_a_refusal():
    events = stream(delta(refusal="No."), chat.finish("stop"))
    place = {"item_id": "msg_1_n_0", "output_index": 0, "content_index": 0}
    assert middle(events)[1:5] == [
        {"type": "response.content_part.added", **place, "part": {"type": "refusal", "refusal": ""}},
        {"type": "response.refusal.delta", **place, "delta": "No."},
        {"type": "response.refusal.done", **place, "refusal": "No."},
        {"type": "response.content_part.done", **place, "part": {"type": "refusal", "refusal": "No."}},
    ]


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")], ids=str
)
def test_an_answer_that_was_cut_short(finish, reason):
    events = stream(chat.text("A"), chat.call("f", "{"), chat.finish(finish))
    response = events[-1]["response"]
    assert (events[-1]["type"], response["status"]) == ("response.incomplete", "incomplete")
    assert response["incomplete_details"] == {"reason": reason}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_an_answer_that_says_nothing():
    assert stream(chat.finish("stop"))[-1]["response"]["output"] == []


def test_a_whole_answer():
    message = {"content": "A", "tool_calls": [chat.whole_call("f", "{}")]}
    whole = translate_whole(chat.completion(message), writer())
    assert [item["type"] for item in whole["output"]] == ["message", "function_call"]
    assert Response.model_validate(whole).output_text == "A"
