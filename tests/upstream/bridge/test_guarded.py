"""The whole proxy before a chat-only upstream: both APIs are guarded as if a server of their own had answered."""

import json

import pytest

from guardproxy.decision import Verdict
from guardproxy.testing import chat
from guardproxy.testing.fakes import FakeGuard, FakeRouter, FakeUpstream, finding
from guardproxy.testing.proxy import proxy
from guardproxy.upstream.bridge import BridgedUpstream

PATHS = {"/v1/responses": "/responses", "/v1/messages": "/messages"}
SCHEMA = {"type": "object", "properties": {}}
TOOLS = {
    "/v1/responses": [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("good", "evil")],
    "/v1/messages": [{"name": name, "input_schema": SCHEMA} for name in ("good", "evil")],
}
SAID = {
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"max_tokens": 64, "messages": [chat.request()["messages"][0]]},
}
TURN = [chat.text("Let me look."), chat.call("good", '{"a":"fine"}'), chat.call("evil", '{"a":"SECRET"}', index=1)]
STREAM = chat.events([*TURN, chat.finish(), chat.usage()])
WHOLE = chat.body(
    chat.completion(
        {
            "content": "Let me look.",
            "tool_calls": [
                chat.whole_call("good", '{"a":"fine"}', "call_0_0"),
                chat.whole_call("evil", '{"a":"SECRET"}', "call_0_1"),
            ],
        },
        usage=chat.usage()["usage"],
    )
)
BROKEN = chat.events([*TURN], done=False)


def guard(verdict=Verdict.BLOCK):
    return FakeGuard(lambda call: [finding(verdict)] if call.name == "evil" else [])


def ask(path, *plays, stream, guards=(), **fields):
    inner = FakeUpstream(plays)
    tested = proxy(guards=guards, router=FakeRouter(BridgedUpstream(inner)))
    tree = {"model": "m", "tools": TOOLS[path], "stream": stream, **SAID[path], **fields}
    return tested.ask(tree, path=path), inner


def calls(path, received, *, stream):
    if path == "/v1/responses":
        final = received.events[-1]["response"] if stream else received.tree
        return [item["name"] for item in final["output"] if item["type"] == "function_call"]
    if not stream:
        return [block["name"] for block in received.tree["content"] if block["type"] == "tool_use"]
    blocks = [event["content_block"] for event in received.events if event["type"] == "content_block_start"]
    return [block["name"] for block in blocks if block["type"] == "tool_use"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_what_is_allowed_arrives(path, stream):
    received, inner = ask(path, [STREAM if stream else WHOLE], stream=stream, guards=[guard(Verdict.ALLOW)])
    assert received.status == 200
    assert calls(path, received, stream=stream) == ["good", "evil"]
    assert b"SECRET" in received.seen
    assert inner.asked[0].path == "/chat/completions"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_blocked_call_does_not_arrive(path, stream):
    received, _ = ask(path, [STREAM if stream else WHOLE], stream=stream, guards=[guard()])
    assert received.status == 200
    assert calls(path, received, stream=stream) == ["good"]
    assert b"SECRET" not in received.seen
    assert b"Let me look." in received.seen


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_breaks_off_ends_in_an_error_and_without_a_call(path):
    received, _ = ask(path, [BROKEN], stream=True, guards=[guard(Verdict.ALLOW)])
    assert received.events[-1]["type"] == "error" or "error" in received.events[-1]
    assert b"SECRET" not in received.seen
    assert b'"good"' not in received.seen.partition(b"Let me look.")[2]


@pytest.mark.parametrize("path", PATHS)
def test_the_model_is_asked_again_in_its_own_language(path):
    again = chat.events([chat.text("I will not."), chat.finish("stop"), chat.usage()])
    received, inner = ask(path, [STREAM], [again], stream=True, guards=[guard(Verdict.REASK)])
    assert [message["role"] for message in inner.asked[1].tree["messages"]] == ["user", "assistant", "tool", "tool"]
    assert b"SECRET" not in received.seen
    assert calls(path, received, stream=True) == []
    assert b"I will not." in received.seen


@pytest.mark.parametrize("path", PATHS)
def test_what_cannot_be_translated_is_a_bad_request_that_names_the_field(path):
    received, inner = ask(path, [STREAM], stream=True, something_new=1)
    assert (received.status, inner.asked) == (400, [])
    assert "something_new" in received.error["message"]


@pytest.mark.parametrize("stored", [True, None], ids=["stored", "by default"])
def test_a_conversation_goes_on_from_an_answer_that_only_the_proxy_has_kept(stored):
    inner = FakeUpstream([[STREAM], [chat.events([chat.text("Done."), chat.finish("stop"), chat.usage()])]])
    tested = proxy(guards=[guard()], router=FakeRouter(BridgedUpstream(inner)))
    asked = {"model": "m", "tools": TOOLS["/v1/responses"], "stream": True, "input": "hi", "store": stored}
    first = tested.ask(asked, path="/v1/responses").events[-1]["response"]
    (call,) = (item for item in first["output"] if item["type"] == "function_call")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "fine"}
    more = asked | {"previous_response_id": first["id"], "input": [output]}
    received = tested.ask(more, path="/v1/responses")
    assert received.events[-1]["response"]["status"] == "completed"
    messages = inner.asked[1].tree["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert [call["function"]["name"] for call in messages[1]["tool_calls"]] == ["good", "evil"]
    assert json.dumps(messages).count("fine") == 2
