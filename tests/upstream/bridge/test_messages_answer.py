import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from guardproxy.errors import UpstreamProtocolError
from guardproxy.stream.frame import Frame
from guardproxy.testing import chat
from guardproxy.upstream.bridge.translation import ChunkTranslator, translate, translate_whole

EVENT = TypeAdapter(RawMessageStreamEvent)
ASKED = {"model": "asked", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def writer(**fields):
    return translate("/messages", {**ASKED, **fields}, "n").writer


def stream(*chunks, **fields):
    translator = ChunkTranslator(writer(**fields))
    frames = [frame for tree in chunks for frame in translator.feed(Frame(tree))] + translator.close()
    for frame in frames:
        EVENT.validate_python(frame.tree)
    assert [frame.event for frame in frames] == [frame.tree["type"] for frame in frames]
    return [frame.tree for frame in frames]


def whole(*messages, finish_reason="tool_calls", **fields):
    return translate_whole(chat.completion(*messages, finish_reason=finish_reason), writer(**fields))


def delta(**fields):
    return chat.chunk(chat.choice(**fields))


def usage(read=0, written=0, cached=0):
    return {
        "input_tokens": read,
        "output_tokens": written,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
    }


def start(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index, **added):
    return {"type": "content_block_delta", "index": index, "delta": added}


def stop(index):
    return {"type": "content_block_stop", "index": index}


def test_a_whole_stream():
    thought, text = delta(reasoning_content="hm"), chat.text("A")
    assert stream(
        thought, text, chat.call("f", '{"a"'), chat.more_arguments(":1}"), chat.finish(), chat.usage(3, 4)
    ) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1_n",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": usage(),
            },
        },
        start(0, type="thinking", thinking="", signature=""),
        piece(0, type="thinking_delta", thinking="hm"),
        piece(0, type="signature_delta", signature="reasoning_content"),
        stop(0),
        start(1, type="text", text=""),
        piece(1, type="text_delta", text="A"),
        stop(1),
        start(2, type="tool_use", id="call_0_0", name="f", input={}),
        piece(2, type="input_json_delta", partial_json='{"a"'),
        piece(2, type="input_json_delta", partial_json=":1}"),
        stop(2),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": usage(3, 4),
        },
        {"type": "message_stop"},
    ]


def test_a_whole_message():
    message = {"content": "A", "reasoning_content": "hm", "tool_calls": [chat.whole_call("f", '{"a":1}', "c")]}
    answer = whole(message)
    Message.model_validate(answer)
    assert answer["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "reasoning_content"},
        {"type": "text", "text": "A"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
    ]
    assert (answer["stop_reason"], answer["usage"]) == ("tool_use", usage())


def test_what_came_from_a_cache_is_counted_apart():
    counts = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    assert stream(chat.finish("stop"), chat.chunk(usage=counts))[-2]["usage"] == usage(5, 5, 4)


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([chat.text("A"), chat.finish("stop")], "end_turn"),
        ([chat.text("A"), chat.finish("length")], "max_tokens"),
        ([chat.text("A"), chat.finish("content_filter")], "refusal"),
        ([delta(refusal="No."), chat.finish("stop")], "refusal"),
        ([chat.call("f", "{}"), chat.finish("stop")], "tool_use"),
        ([chat.call("f", "{"), chat.finish("length")], "max_tokens"),
    ],
    ids=["stop", "length", "content_filter", "refusal", "call and stop", "call cut short"],
)
def test_stop_reasons(chunks, reason):
    assert stream(*chunks)[-2]["delta"] == {"stop_reason": reason, "stop_sequence": None}


def test_a_stop_sequence_is_named_if_the_client_asked_for_it():
    ended = chat.chunk({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"})
    said = stream(chat.text("A"), ended, stop_sequences=["END"])[-2]["delta"]
    assert said == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert stream(chat.text("A"), ended)[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


@pytest.mark.parametrize("arguments", ["", " "])
def test_no_arguments_are_an_empty_input(arguments):
    assert whole({"tool_calls": [chat.whole_call("f", arguments)]})["content"][0]["input"] == {}


@pytest.mark.parametrize("arguments", ["{", "[]", '"a"', '{"a":1,"a":2}', "{}x", "null", '{"a":1e999}'])
def test_arguments_that_are_no_object_cannot_be_said(arguments):
    with pytest.raises(UpstreamProtocolError, match="not a JSON object"):
        whole({"tool_calls": [chat.whole_call("f", arguments)]})
    with pytest.raises(UpstreamProtocolError, match="not a JSON object"):
        stream(chat.call("f", arguments), chat.finish())


def test_a_call_that_was_cut_short_is_no_call_of_a_whole_message():
    call = {"content": "A", "tool_calls": [chat.whole_call("f", '{"a":')]}
    answer = whole(call, finish_reason="length")
    assert answer["content"] == [{"type": "text", "text": "A"}]
    assert answer["stop_reason"] == "max_tokens"
