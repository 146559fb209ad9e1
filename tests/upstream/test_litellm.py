"""Against providers of the test's own on loopback. litellm takes seconds to import, so one process imports it once: the
scenarios of both providers run one after the other in few tests."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from guardproxy.errors import (
    ConfigurationError,
    UpstreamProtocolError,
    UpstreamRefusal,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from guardproxy.model import Credential
from guardproxy.upstream.litellm import LitellmUpstream
from guardproxy.upstream.upstream import UpstreamRequest

KEY = "sk-own-secret-key"
TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {}}}}
TREE = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [TOOL], "max_tokens": 99}
PROVIDERS = ("openai", "anthropic")

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("litellm")]


class Provider:
    """Speaks both APIs, and answers as `mode` says."""

    def __init__(self):
        self.mode = "ok"
        self.requests = []
        self.port = 0
        self.gone = asyncio.Event()

    def base_url(self, kind):
        return f"http://127.0.0.1:{self.port}" + ("/v1" if kind == "openai" else "")

    async def answer(self, request):
        body = await request.json()
        self.requests.append((request.path, dict(request.headers), body))
        if self.mode == "hang":
            try:
                await asyncio.sleep(30)
            finally:
                self.gone.set()
        if self.mode.isdigit():
            error = {
                "message": "Failed to call a function.",
                "type": "invalid_request_error",
                "code": "tool_use_failed",
            }
            error["failed_generation"] = '{"command": "rm -rf /"}'
            passed = {"retry-after": "7", "set-cookie": "a=b"}
            return web.json_response({"type": "error", "error": error}, status=int(self.mode), headers=passed)
        if self.mode == "garbage":
            return web.Response(text="<html>127.0.0.1</html>", content_type="text/html")
        anthropic = request.path.endswith("/messages")
        if body.get("stream"):
            return await self._stream(request, anthropic)
        return web.json_response(ANTHROPIC if anthropic else OPENAI, headers={"x-request-id": "r-1"})

    async def _stream(self, request, anthropic):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        events = ANTHROPIC_EVENTS if anthropic else OPENAI_EVENTS
        for event in events[:-3] if self.mode in ("cut", "stall") else events:
            name = f"event: {event['type']}\n" if anthropic else ""
            await response.write(f"{name}data: {json.dumps(event)}\n\n".encode())
        if self.mode == "stall":
            await asyncio.sleep(30)
        if not anthropic and self.mode == "ok":
            await response.write(b"data: [DONE]\n\n")
        return response


OPENAI = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "hello",
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12},
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "text", "text": "hello"},
        {"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": "ls"}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "output_tokens": 9},
}


def chunk(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def piece(arguments, **head):
    return {
        "tool_calls": [{"index": 0, **head, "function": {"arguments": arguments, **({"name": "bash"} if head else {})}}]
    }


OPENAI_EVENTS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "hel"}),
    chunk({"content": "lo"}),
    chunk(piece("", id="t1", type="function")),
    chunk(piece('{"command":')),
    chunk(piece(' "ls"}')),
    chunk({}, "tool_calls"),
    chunk({}) | {"choices": [], "usage": OPENAI["usage"]},
]
ANTHROPIC_EVENTS = [
    {
        "type": "message_start",
        "message": {**ANTHROPIC, "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t1", "name": "bash", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"command":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ' "ls"}'}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 9},
    },
    {"type": "message_stop"},
]


@asynccontextmanager
async def serving():
    provider = Provider()
    app = web.Application()
    app.router.add_post("/{path:.*}", provider.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.port = site._server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        await runner.cleanup()


def upstream_of(kind, base_url, **options):
    return LitellmUpstream(
        name="far", **{"api_key": KEY, "base_url": base_url, "model_prefix": f"{kind}/", "options": {}, **options}
    )


def asking(stream=False, seconds=20.0, **changes):
    tree = {**TREE, **changes, "stream": stream}
    if stream:
        tree["stream_options"] = {"include_usage": True}
    return UpstreamRequest("/chat/completions", tree=tree, stream=stream, deadline=time.monotonic() + seconds)


async def fetch(upstream, request):
    async with upstream.open(request) as reply:
        return reply, b"".join([chunk async for chunk in reply.chunks()])


def events_of(body):
    lines = body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [ChatCompletionChunk.model_validate(json.loads(line.removeprefix("data: "))) for line in lines[:-2]]


def run(scenario, **options):
    """`scenario(kind, upstream, provider)` for each provider, on one loop, in one started upstream each."""

    async def all_of_them():
        async with serving() as provider:
            for kind in PROVIDERS:
                upstream = upstream_of(kind, provider.base_url(kind), **options)
                await upstream.start()
                try:
                    await scenario(kind, upstream, provider)
                finally:
                    await upstream.close()

    asyncio.run(all_of_them())


def test_answers_streamed_and_whole_have_the_apis_shape(capfd):
    async def scenario(kind, upstream, provider):
        reply, body = await fetch(upstream, asking())
        answer = ChatCompletion.model_validate_json(body)
        assert (reply.status, reply.content_type) == (200, "application/json")
        assert dict(reply.headers)["x-request-id"] == "r-1"
        assert answer.choices[0].finish_reason == "tool_calls"
        call = answer.choices[0].message.tool_calls[0]
        assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("t1", "bash", {"command": "ls"})
        assert answer.usage.total_tokens == 12

        reply, body = await fetch(upstream, asking(stream=True))
        assert reply.content_type == "text/event-stream"
        events = events_of(body)
        deltas = [event.choices[0].delta for event in events if event.choices]
        assert "".join(delta.content or "" for delta in deltas) == "hello"
        calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
        assert "".join(call.function.arguments or "" for call in calls) == '{"command": "ls"}'
        assert [e.choices[0].finish_reason for e in events if e.choices and e.choices[0].finish_reason] == [
            "tool_calls"
        ]
        assert (events[-1].choices, events[-1].usage.total_tokens) == ([], 12)

    run(scenario)
    assert capfd.readouterr() == ("", "")


def test_requests_carry_the_prefixed_model_the_key_and_known_fields_only():
    async def scenario(kind, upstream, provider):
        hostile = {
            "api_base": "http://127.0.0.1:1",
            "base_url": "http://127.0.0.1:1",
            "api_key": "stolen",
            "custom_llm_provider": "openai",
            "mock_response": "mocked",
            "extra_headers": {"x-evil": "1"},
            "fallbacks": ["openai/other"],
            "metadata": {"a": "b"},
            "success_callback": ["langfuse"],
        }
        _, body = await fetch(upstream, asking(**hostile))
        assert b"mocked" not in body
        _, headers, sent = provider.requests[-1]
        assert (sent["model"], sent["max_tokens"]) == ("m", 99)
        assert headers["Authorization" if kind == "openai" else "x-api-key"].endswith(KEY)
        assert "x-evil" not in headers
        assert not set(hostile) & set(sent)

        request = UpstreamRequest(
            "/chat/completions", tree=TREE, credential=Credential("authorization", "Bearer client-key"), deadline=1e12
        )
        clients = upstream_of(kind, provider.base_url(kind), api_key=None)
        await fetch(clients, request)
        assert provider.requests[-1][1]["Authorization" if kind == "openai" else "x-api-key"].endswith("client-key")

    run(scenario)


def test_errors_are_rebuilt_and_nothing_is_printed(capfd):
    async def scenario(kind, upstream, provider):
        for stream in (False, True):
            for status in ("400", "401", "429", "503"):
                provider.mode = status
                with pytest.raises(UpstreamRefusal) as caught:
                    await fetch(upstream, asking(stream))
                error = caught.value
                assert (error.status, error.message) == (int(status), "Failed to call a function.")
                assert error.code == "tool_use_failed"
                assert error.headers == (("retry-after", "7"),)
                assert "rm -rf" not in repr(vars(error))
        provider.mode = "garbage"
        for stream in (False, True):
            with pytest.raises(UpstreamProtocolError) as caught:
                await fetch(upstream, asking(stream))
            assert "127.0.0.1" not in str(caught.value)
        provider.mode = "cut"
        with pytest.raises(UpstreamProtocolError):
            await fetch(upstream, asking(stream=True))
        provider.mode = "ok"
        with pytest.raises(UpstreamUnavailable, match=r"^the provider cannot be reached$"):
            await fetch(upstream_of(kind, "http://127.0.0.1:1"), asking())

    run(scenario)
    assert capfd.readouterr() == ("", "")


def test_time_size_and_leaving():
    async def scenario(kind, upstream, provider):
        provider.mode = "hang"
        with pytest.raises(UpstreamTimeout):
            await fetch(upstream, asking(seconds=0.3))
        with pytest.raises(UpstreamTimeout):
            await fetch(upstream, asking(seconds=-1))
        provider.gone.clear()
        task = asyncio.ensure_future(fetch(upstream, asking()))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(provider.gone.wait(), 5)
        provider.mode = "stall"
        with pytest.raises(UpstreamTimeout):
            await fetch(upstream, asking(stream=True, seconds=1))
        provider.mode = "ok"
        small = upstream_of(kind, provider.base_url(kind), max_response_bytes=300)
        for stream in (False, True):
            with pytest.raises(UpstreamProtocolError, match="limit"):
                await fetch(small, asking(stream))

    run(scenario)


def test_several_choices_cannot_be_streamed():
    with pytest.raises(UpstreamRefusal) as caught:
        asyncio.run(fetch(upstream_of("openai", None), asking(stream=True, n=2)))
    assert (caught.value.status, caught.value.param) == (400, "n")


def test_models_are_those_named_and_the_rest_is_refused():
    upstream = upstream_of("openai", None, models=["claude-x", "gpt-*"])
    _, body = asyncio.run(fetch(upstream, UpstreamRequest("/models", method="GET")))
    assert [model["id"] for model in json.loads(body)["data"]] == ["claude-x"]
    with pytest.raises(UpstreamRefusal) as caught:
        asyncio.run(fetch(upstream, UpstreamRequest("/embeddings", tree={})))
    assert caught.value.status == 501


@pytest.mark.parametrize("option", ["mock_response", "success_callback", "api_base", "model"])
def test_options_are_an_allow_list(option):
    with pytest.raises(ConfigurationError, match=option):
        LitellmUpstream(name="far", options={option: "x"})
    assert LitellmUpstream(name="far", options={"aws_region_name": "eu-1", "api_version": "1"}).name == "far"


def test_importing_the_module_imports_no_litellm():
    program = "import sys, guardproxy.upstream.litellm; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
