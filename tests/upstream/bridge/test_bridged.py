import asyncio
import json

import pytest

from guardproxy.errors import MalformedRequest, UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import Credential
from guardproxy.stream.sse import SseParser
from guardproxy.testing import chat
from guardproxy.testing.fakes import FakeUpstream
from guardproxy.upstream.bridge import BridgedUpstream
from guardproxy.upstream.embedded import EmbeddedUpstream
from guardproxy.upstream.upstream import UpstreamRequest

RESPONSES = {"model": "m", "input": "hi"}
MESSAGES = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
ASKED = {"/responses": RESPONSES, "/messages": MESSAGES}
PATHS = list(ASKED)
HELLO = chat.events([chat.text("Hello"), chat.finish("stop"), chat.usage()])
TEXT_EVENT = {"/responses": "response.output_text.delta", "/messages": "content_block_delta"}
LAST_EVENT = {"/responses": "response.completed", "/messages": "message_stop"}


def request(path, **fields):
    tree = ASKED.get(path, {}) | fields
    return UpstreamRequest(path, tree=tree, stream=tree.get("stream", False))


async def received(upstream, asked):
    async with upstream.open(asked) as reply:
        return reply, [chunk async for chunk in reply.chunks()]


def ask(upstream, asked):
    reply, chunks = asyncio.run(received(upstream, asked))
    return reply, b"".join(chunks)


def stream(path, *play, **options):
    inner = FakeUpstream([play])
    return ask(BridgedUpstream(inner, **options), request(path, stream=True))[1]


def whole(path, *play, **options):
    return json.loads(ask(BridgedUpstream(FakeUpstream([play]), **options), request(path))[1])


def names(body):
    return [event.name for event in SseParser(1 << 20).feed(body)]


@pytest.mark.parametrize("path", PATHS)
def test_a_streamed_answer(path):
    inner = FakeUpstream([[HELLO]])
    reply, body = ask(BridgedUpstream(inner), request(path, stream=True))
    assert (reply.status, reply.content_type) == (200, "text/event-stream")
    assert names(body)[-1] == LAST_EVENT[path]
    assert (inner.asked[0].path, inner.asked[0].stream, inner.closed) == ("/chat/completions", True, 1)
    assert inner.asked[0].tree["messages"] == [{"role": "user", "content": "hi"}]
    assert inner.asked[0].tree["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("path", PATHS)
def test_a_whole_answer(path):
    inner = FakeUpstream([[chat.body(chat.completion({"content": "Hello"}, finish_reason="stop"))]])
    reply, body = ask(BridgedUpstream(inner), request(path))
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert "Hello" in body.decode()
    assert "stream" not in inner.asked[0].tree


@pytest.mark.parametrize("path", PATHS)
def test_events_leave_as_they_come(path):
    """Each piece of the inner stream is answered before the next one is asked for."""

    async def run():
        inner = FakeUpstream([[chat.events([chat.text(word)], done=False) for word in "abc"] + [HELLO]])
        async with BridgedUpstream(inner).open(request(path, stream=True)) as reply:
            chunks = reply.chunks()
            return [names(await anext(chunks)) for _ in range(3)]

    first, *more = asyncio.run(run())
    assert first[-1] == TEXT_EVENT[path]
    assert more == [[TEXT_EVENT[path]], [TEXT_EVENT[path]]]


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_may_end_without_the_mark(path):
    play = chat.events([chat.text("Hello"), chat.finish("stop")], done=False)
    assert names(stream(path, play))[-1] == LAST_EVENT[path]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "play",
    [
        [chat.events([chat.text("Hello")])],
        [chat.events([chat.text("Hello")], done=False)],
        [b""],
        [HELLO, b"data: {}\n\n"],
        [HELLO + HELLO],
        [chat.events([chat.finish("stop")], done=False) + b"data: {"],
        [b'data: {"id":"a","id":"b","choices":[]}\n\n'],
        [b"data: nonsense\n\n"],
        [b"data: []\n\n"],
        [chat.events([chat.call("f", "{}")])],
        [chat.events([chat.text("x" * 5000), chat.finish("stop")])],
    ],
    ids=lambda value: "",
)
def test_a_broken_stream_never_becomes_a_complete_answer(path, play):
    seen = []

    async def run():
        async with BridgedUpstream(FakeUpstream([play]), max_event_bytes=4096).open(
            request(path, stream=True)
        ) as reply:
            async for chunk in reply.chunks():
                seen.append(chunk)

    with pytest.raises(UpstreamProtocolError):
        asyncio.run(run())
    whole_answer_came_first = play == [HELLO, b"data: {}\n\n"]
    assert (LAST_EVENT[path] in names(b"".join(seen))) == whole_answer_came_first


def test_a_connection_that_stays_open_after_the_end_mark_is_not_waited_for():
    assert names(stream("/responses", HELLO, 30.0))[-1] == "response.completed"


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_is_bounded(path):
    play = [chat.events([chat.text("x" * 500)], done=False)] * 3
    with pytest.raises(UpstreamProtocolError, match="larger than the limit"):
        stream(path, *play, max_answer_bytes=1024)
    body = chat.body(chat.completion({"content": "x" * 1500}, finish_reason="stop"))
    with pytest.raises(UpstreamProtocolError, match="larger than the limit"):
        whole(path, body, max_answer_bytes=1024)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1,"a":2}', b"{}", chat.body(chat.completion())], ids=str)
def test_a_body_that_is_no_answer(path, body):
    with pytest.raises(UpstreamProtocolError):
        whole(path, body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_another_media_type_is_no_answer(path, streamed):
    inner = FakeUpstream([[b"<html>"]], content_type="text/html")
    with pytest.raises(UpstreamProtocolError, match="media type"):
        ask(BridgedUpstream(inner), request(path, stream=streamed))


@pytest.mark.parametrize("path", PATHS)
def test_refusals_of_the_inner_upstream_pass(path):
    refusal = UpstreamRefusal(429, "slow down", headers=[("retry-after", "1")])
    with pytest.raises(UpstreamRefusal) as caught:
        ask(BridgedUpstream(FakeUpstream([refusal])), request(path))
    assert caught.value is refusal


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_errors_in_the_place_of_an_answer_are_those_errors(path, streamed):
    error = {"error": {"message": "out of memory", "type": "server_error"}}
    play = chat.events([error]) if streamed else chat.body(error)
    with pytest.raises(UpstreamRefusal, match="out of memory"):
        ask(BridgedUpstream(FakeUpstream([[play]])), request(path, stream=streamed))


def test_what_cannot_be_translated_is_never_sent():
    inner = FakeUpstream([[HELLO]])
    with pytest.raises(MalformedRequest):
        ask(BridgedUpstream(inner), request("/responses", background=True))
    assert inner.asked == []


@pytest.mark.parametrize(
    ("path", "serves"),
    [
        ("/completions", "chat_completions"),
        ("/messages/count_tokens", "chat_completions"),
        ("/responses/input_tokens", "chat_completions"),
        ("/responses", "messages"),
        ("/chat/completions", "messages"),
    ],
)
def test_what_nobody_can_answer_is_refused(path, serves):
    inner = FakeUpstream([[b"{}"]])
    with pytest.raises(UpstreamRefusal, match="does not speak this API") as caught:
        ask(BridgedUpstream(inner, frozenset({serves})), request(path))
    assert (caught.value.status, inner.asked) == (404, [])


@pytest.mark.parametrize("path", ["/chat/completions", "/models", "/embeddings", "/responses", "/responses/compact"])
def test_what_the_inner_upstream_serves_passes_untouched(path):
    inner = FakeUpstream([[b"as it came"]])
    asked = request(path, background=True)
    bridged = BridgedUpstream(inner, frozenset({"chat_completions", "responses"}))
    assert ask(bridged, asked)[1] == b"as it came"
    assert inner.asked == [asked]
    assert inner.asked[0] is asked


@pytest.mark.parametrize(
    ("serves", "remembers"),
    [({"chat_completions"}, False), ({"chat_completions", "responses"}, True)],
    ids=["chat", "responses"],
)
def test_only_a_server_of_responses_remembers_them(serves, remembers):
    assert BridgedUpstream(FakeUpstream([]), frozenset(serves)).remembers is remembers


def test_a_key_goes_on_as_a_bearer_and_headers_of_the_other_api_stay():
    inner = FakeUpstream([[HELLO]])
    headers = (("anthropic-version", "2023-06-01"), ("Anthropic-Beta", "x"), ("user-agent", "claude"))
    key = Credential("x-api-key", "sk-1")
    tree = MESSAGES | {"stream": True}
    asked = UpstreamRequest("/messages", tree=tree, stream=True, headers=headers, credential=key, query="beta=true")
    ask(BridgedUpstream(inner), asked)
    assert inner.asked[0].credential == Credential("authorization", "Bearer sk-1")
    assert (inner.asked[0].headers, inner.asked[0].query) == ((("user-agent", "claude"),), "")
    bearer = Credential("authorization", "Bearer sk-2")
    ask(BridgedUpstream(inner), UpstreamRequest("/messages", tree=tree, stream=True, credential=bearer))
    assert inner.asked[1].credential == bearer


def test_two_answers_never_have_the_same_id():
    """The embedded script answers the same question under the same id; stored answers are found by theirs."""
    upstream = BridgedUpstream(EmbeddedUpstream())
    one, two = (json.loads(ask(upstream, request("/responses"))[1])["id"] for _ in range(2))
    assert one != two


def test_the_embedded_script_answers_both_apis():
    upstream = BridgedUpstream(EmbeddedUpstream())
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "name": "get_weather", "parameters": parameters}
    response = json.loads(ask(upstream, request("/responses", input="Weather in Oslo?", tools=[tool]))[1])
    (call,) = response["output"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Oslo"})
    said = [{"role": "user", "content": "Weather in Oslo?"}]
    tool = {"name": "get_weather", "input_schema": parameters}
    message = json.loads(ask(upstream, request("/messages", messages=said, tools=[tool]))[1])
    assert [(block["name"], block["input"]) for block in message["content"]] == [("get_weather", {"city": "Oslo"})]


def test_it_starts_and_closes_the_inner_upstream():
    class Counted(FakeUpstream):
        calls = ()

        async def start(self):
            self.calls += ("start",)

        async def close(self):
            self.calls += ("close",)

    async def run():
        inner = Counted([])
        bridged = BridgedUpstream(inner)
        await bridged.start()
        await bridged.close()
        return inner.calls, bridged.name

    assert asyncio.run(run()) == (("start", "close"), "fake")
