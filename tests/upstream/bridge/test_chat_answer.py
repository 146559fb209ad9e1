import pytest

from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.testing import chat
from guardproxy.upstream.bridge.blocks import Begun, CallHead, Closed, Ended, Grown, Kind, Opened, Outcome, Usage
from guardproxy.upstream.bridge.chat_answer import ChatAnswer

BEGUN = Begun("chatcmpl-1", "m", 1)
F = CallHead("call_0_0", "f")
G = CallHead("call_0_1", "g")


def delta(**fields):
    return chat.chunk(chat.choice(**fields))


def read(*chunks):
    answer = ChatAnswer()
    return [event for tree in chunks for event in answer.chunk(tree)] + answer.end()


def done(outcome=Outcome.COMPLETE, usage=None, stop=None):
    return Ended(outcome, usage, stop)


def test_text_is_given_on_piece_by_piece():
    answer = ChatAnswer()
    assert answer.chunk(delta(role="assistant", content="")) == [BEGUN]
    assert answer.chunk(chat.text("Hel")) == [Opened(0, Kind.TEXT), Grown("Hel")]
    assert answer.chunk(chat.text("lo")) == [Grown("lo")]
    assert answer.chunk(chat.finish("stop")) == []
    assert answer.chunk(chat.usage(3, 4)) == []
    assert answer.end() == [Closed("Hello"), done(usage=Usage(3, 4))]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_a_block_of_its_own(field):
    assert read(delta(**{field: "hm"}), delta(**{field: "m"}), chat.text("A"), chat.finish("stop")) == [
        BEGUN,
        Opened(0, Kind.REASONING, source=field),
        Grown("hm"),
        Grown("m"),
        Closed("hmm"),
        Opened(1, Kind.TEXT),
        Grown("A"),
        Closed("A"),
        done(),
    ]


def test_reasoning_under_two_names_is_said_once():
    assert read(delta(reasoning="hm", reasoning_content="hm"), chat.finish("stop"))[1:3] == [
        Opened(0, Kind.REASONING, source="reasoning_content"),
        Grown("hm"),
    ]


def test_reasoning_among_the_parts_of_the_content_has_no_field():
    parts = [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "A"}]
    opened = [event for event in read(delta(content=parts), chat.finish("stop")) if type(event) is Opened]
    assert opened == [Opened(0, Kind.REASONING), Opened(1, Kind.TEXT)]


def test_a_refusal_is_a_block_of_its_own():
    assert read(delta(refusal="No"), delta(refusal="."), chat.finish("stop")) == [
        BEGUN,
        Opened(0, Kind.REFUSAL),
        Grown("No"),
        Grown("."),
        Closed("No."),
        done(),
    ]


def test_one_event_may_bring_everything():
    everything = {
        "reasoning_content": "hm",
        "content": "A",
        "refusal": "B",
        "tool_calls": [{"index": 0, "id": "call_0_0", "function": {"name": "f", "arguments": "{}"}}],
    }
    kinds = [
        event.kind for event in read(chat.chunk(chat.choice(0, "tool_calls", **everything))) if type(event) is Opened
    ]
    assert kinds == [Kind.REASONING, Kind.TEXT, Kind.CALL, Kind.REFUSAL]


def test_the_first_call_goes_on_as_it_comes_and_the_others_wait():
    answer = ChatAnswer()
    assert answer.chunk(chat.call("f", "")) == [BEGUN, Opened(0, Kind.CALL, F)]
    assert answer.chunk(chat.more_arguments('{"a"')) == [Grown('{"a"')]
    assert answer.chunk(chat.call("g", "{", index=1)) == []
    assert answer.chunk(chat.more_arguments(":1}")) == [Grown(":1}")]
    assert answer.chunk(chat.more_arguments("}", index=1)) == []
    assert answer.chunk(chat.finish()) == []
    assert answer.end() == [
        Closed('{"a":1}'),
        Opened(1, Kind.CALL, G),
        Grown("{}"),
        Closed("{}"),
        done(),
    ]


def test_text_after_a_call_comes_after_the_calls():
    assert read(chat.call("f", "{}"), chat.text("A"), chat.text("B"), delta(reasoning="hm"), chat.finish())[1:] == [
        Opened(0, Kind.CALL, F),
        Grown("{}"),
        Closed("{}"),
        Opened(1, Kind.TEXT),
        Grown("AB"),
        Closed("AB"),
        Opened(2, Kind.REASONING, source="reasoning"),
        Grown("hm"),
        Closed("hm"),
        done(),
    ]


def test_a_call_is_begun_when_its_id_and_name_are_known():
    def piece(**fields):
        return delta(tool_calls=[{"index": 0, **fields}])

    answer = ChatAnswer()
    assert answer.chunk(piece(id="call_0_0", type="function")) == [BEGUN]
    assert answer.chunk(piece(function={"arguments": "{"})) == []
    assert answer.chunk(piece(function={"name": "f"})) == [Opened(0, Kind.CALL, F), Grown("{")]
    assert answer.chunk(piece(function={"arguments": "}"})) == [Grown("}")]


def test_a_first_event_without_choices_begins_nothing():
    assert ChatAnswer().chunk(chat.chunk(id="", prompt_filter_results=[])) == []


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("stop", Outcome.COMPLETE),
        ("eos", Outcome.COMPLETE),
        ("length", Outcome.LENGTH),
        ("model_length", Outcome.LENGTH),
        ("content_filter", Outcome.FILTERED),
    ],
)
def test_why_it_ended(reason, outcome):
    cut = outcome is not Outcome.COMPLETE
    assert read(chat.text("A"), chat.finish(reason))[-2:] == [Closed("A", cut=cut), done(outcome)]


def test_only_the_last_block_is_cut_short():
    closed = [
        event for event in read(chat.text("A"), chat.call("f", "{"), chat.finish("length")) if type(event) is Closed
    ]
    assert closed == [Closed("A"), Closed("{", cut=True)]


def test_the_stop_sequence_is_told_where_the_server_tells_it():
    ended = chat.chunk({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"})
    assert read(chat.text("A"), ended)[-1] == done(stop="END")
    token = chat.chunk({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": 128009})
    assert read(chat.text("A"), token)[-1] == done()


def test_usage_has_its_details():
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": None},
    }
    assert read(chat.finish("stop"), chat.chunk(usage=usage))[-1] == done(usage=Usage(9, 5, 4, 2))


def test_a_whole_answer_says_the_same():
    message = {"content": "A", "reasoning_content": "hm", "tool_calls": [chat.whole_call("f", "{}", "call_0_0")]}
    whole = chat.completion(message, usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    assert ChatAnswer().completion(whole) == read(
        delta(reasoning_content="hm"), chat.text("A"), chat.call("f", "{}"), chat.finish(), chat.usage(3, 4)
    )


CALL = chat.call("f", "{}")


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [chat.text("A")],
        [chat.chunk()],
        [CALL],
        [CALL, chat.finish("stop"), chat.more_arguments("x")],
        [chat.text("A"), chat.finish("stop"), chat.text("B")],
        [chat.text("A"), chat.finish("stop"), delta(reasoning="B")],
        [chat.text("A"), chat.finish("stop"), chat.finish("length")],
        [chat.text("A"), chat.finish("insufficient_system_resource")],
        [chat.text("A"), chat.finish("")],
        [chat.text("A", index=1), chat.finish("stop", index=1)],
        [chat.text("A"), chat.chunk(chat.choice(0, "stop"), chat.choice(1, "stop"))],
        [chat.call("f", "{}", index=1), chat.finish()],
        [CALL, chat.call("g", "{}", index=1, id="call_0_0"), chat.finish()],
        [CALL, chat.call("g", "{}"), chat.finish()],
        [delta(tool_calls=[{"index": 0, "type": "function", "function": {"name": "f"}}]), chat.finish()],
        [delta(tool_calls=[{"index": 0, "id": "c", "type": "mcp", "mcp": {}}]), chat.finish()],
        [delta(tool_calls=[{"index": 0, "id": "c", "type": "custom", "custom": {"name": "f"}}]), chat.finish()],
        [delta(function_call={"name": "f", "arguments": "{}"}), chat.finish("function_call")],
        [delta(refusal=["No"]), chat.finish("stop")],
        [delta(audio={"id": "a"}), chat.finish("stop")],
        [delta(role="user", content="A"), chat.finish("stop")],
    ],
    ids=lambda value: "",
)
def test_what_has_no_single_reading_is_refused(chunks):
    with pytest.raises(UpstreamProtocolError):
        read(*chunks)


def test_an_error_in_the_midst_of_a_stream_is_that_error():
    with pytest.raises(UpstreamRefusal, match="out of memory"):
        read(chat.text("A"), {"error": {"message": "out of memory", "code": 500}})
