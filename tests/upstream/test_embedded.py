import asyncio
import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from guardproxy.errors import UpstreamRefusal
from guardproxy.upstream.embedded import EmbeddedUpstream
from guardproxy.upstream.upstream import UpstreamRequest

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(request):
    async def run():
        async with EmbeddedUpstream().open(request) as reply:
            return reply, b"".join([chunk async for chunk in reply.chunks()])

    return asyncio.run(run())


def chat(stream=False, **tree):
    body = {"model": "any", "messages": [{"role": "user", "content": "Weather in Oslo?"}], "tools": [WEATHER], **tree}
    return ask(UpstreamRequest("/chat/completions", tree=body, stream=stream))


def chunks_of(body):
    events = body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [ChatCompletionChunk.model_validate(json.loads(event.removeprefix("data: "))) for event in events[:-2]]


def test_a_whole_answer_has_the_apis_shape():
    reply, body = chat()
    answer = ChatCompletion.model_validate_json(body)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert answer.model == "guardproxy-scripted-agent"
    assert answer.choices[0].finish_reason == "tool_calls"
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Oslo"})
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_in_pieces():
    reply, body = chat(stream=True, stream_options={"include_usage": True}, n=2)
    chunks = chunks_of(body)
    assert reply.content_type == "text/event-stream"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert (chunks[-1].choices, chunks[-1].usage.prompt_tokens > 0) == ([], True)
    for choice in (0, 1):
        deltas = [c.choices[0].delta for c in chunks if c.choices and c.choices[0].index == choice]
        calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
        assert len(calls) > 2
        assert json.loads("".join(call.function.arguments for call in calls)) == {"city": "Oslo"}
    assert "usage" not in chat(stream=True)[1].decode()


def test_text_streams_in_pieces_and_ends_with_stop():
    chunks = chunks_of(chat(stream=True, tools=[])[1])
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert "not a language model" in text
    assert len(chunks) > 5
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_custom_tools_and_legacy_functions(stream):
    custom = [{"type": "custom", "custom": {"name": "bash"}}]
    said = [{"role": "user", "content": "delete everything"}]
    _, body = chat(stream=stream, messages=said, tools=custom)
    assert b'"custom"' in body
    _, body = chat(stream=stream, messages=said, tools=None, functions=[{"name": "bash"}])
    assert b'"function_call"' in body
    assert b"tool_calls" not in body


def test_the_same_request_gets_the_same_answer():
    first, second = chat()[1], chat()[1]
    assert json.loads(first) | {"created": 0} == json.loads(second) | {"created": 0}


@pytest.mark.parametrize(("method", "path"), [("POST", "/embeddings"), ("POST", "/responses"), ("GET", "/files")])
def test_the_rest_is_refused_clearly(method, path):
    with pytest.raises(UpstreamRefusal, match="embedded models") as caught:
        ask(UpstreamRequest(path, method=method, tree={}))
    assert (caught.value.status, caught.value.code) == (501, "not_supported")
