"""The official SDK through the proxy, streamed answers."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from guardproxy.testing.chat import events
from guardproxy.testing.dialects import DIALECTS, Dialect, Said, SaidCall
from guardproxy.testing.model_server import Answer, PlayedModel
from guardproxy.testing.service import Service, eventually
from guardproxy.testing.tools import CUSTOM_TOOL, TOOLS, WEATHER, WIPE, WIPE_COMMAND

ASKED = [{"role": "user", "content": "What is the weather in Oslo?"}]
Played = Callable[..., PlayedModel]
SAID = {
    "text": Said(text="It is 4 °C in Oslo, and it rains."),
    "call": Said(calls=(WEATHER,)),
    "text and call": Said(text="Let me look.", calls=(WEATHER,)),
    "parallel calls": Said(calls=(WEATHER, SaidCall("get_weather", '{"city": "Bergen"}', id="call_2"))),
    "reasoning and call": Said(reasoning="The user asks for the weather.", calls=(WEATHER,)),
}


def chunks(client: OpenAI, model: PlayedModel, **more: Any) -> list[dict[str, Any]]:
    asked = {"model": model.name, "messages": ASKED, "tools": TOOLS, **more}
    options = {"include_usage": True}
    return [c.to_dict() for c in client.chat.completions.create(stream=True, stream_options=options, **asked)]


def text_of(received: list[dict[str, Any]], choice: int = 0) -> str:
    deltas = [c["delta"] for chunk in received for c in chunk["choices"] if c["index"] == choice]
    return "".join(delta.get("content") or "" for delta in deltas)


def finishes(received: list[dict[str, Any]]) -> dict[int, str]:
    return {c["index"]: c["finish_reason"] for chunk in received for c in chunk["choices"] if c.get("finish_reason")}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_an_allowed_stream_is_the_one_that_the_server_sent(
    client: OpenAI, direct: OpenAI, played: Played, dialect: Dialect, said: Said
) -> None:
    model = played(Answer.of(said, dialect=dialect))
    assert chunks(client, model) == chunks(direct, model)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_blocked_call_becomes_text_after_the_text(client: OpenAI, played: Played, dialect: Dialect) -> None:
    received = chunks(client, played(Answer.of(Said(text="Let me look.", calls=(WIPE,)), dialect=dialect)))
    assert text_of(received).startswith("Let me look.\n\n[guardproxy]")
    assert finishes(received) == {0: "stop"}
    assert "no-preserve-root" not in str(received)
    assert "tool_calls': [{" not in str(received)
    assert any(chunk.get("usage") for chunk in received)


def test_parallel_calls_are_judged_one_by_one(client: OpenAI, played: Played) -> None:
    received = chunks(client, played(Said(calls=(WIPE, WEATHER))))
    calls = [call for chunk in received for c in chunk["choices"] for call in c["delta"].get("tool_calls") or []]
    assert {call["index"] for call in calls} == {0}
    assert "".join(call["function"].get("arguments", "") for call in calls) == WEATHER.arguments
    assert finishes(received) == {0: "tool_calls"}


def test_every_choice_is_judged(client: OpenAI, played: Played) -> None:
    model = played(Answer.of(Said(calls=(WEATHER,)), Said(calls=(WIPE,)), Said(text="Hm.")))
    received = chunks(client, model, n=3)
    assert finishes(received) == {0: "tool_calls", 1: "stop", 2: "stop"}
    assert text_of(received, 1).startswith("[guardproxy]")
    assert text_of(received, 2) == "Hm."


@pytest.mark.parametrize(("command", "blocked"), [("ls", False), (WIPE_COMMAND, True)])
def test_legacy_functions(client: OpenAI, direct: OpenAI, played: Played, command: str, blocked: bool) -> None:
    model = played(Said(calls=(SaidCall("bash", f'{{"command": "{command}"}}', kind="legacy"),)))
    legacy = {"tools": openai.NOT_GIVEN, "functions": [TOOLS[1]["function"]]}
    received = chunks(client, model, **legacy)
    if not blocked:
        assert received == chunks(direct, model, **legacy)
    assert finishes(received) == {0: "stop" if blocked else "function_call"}
    assert ("function_call': {" in str(received)) != blocked


@pytest.mark.parametrize(("script", "blocked"), [("ls -l", False), (WIPE_COMMAND, True)])
def test_custom_tools(client: OpenAI, direct: OpenAI, played: Played, script: str, blocked: bool) -> None:
    model = played(Said(calls=(SaidCall("bash", script, kind="custom"),)))
    received = chunks(client, model, tools=[CUSTOM_TOOL])
    if not blocked:
        assert received == chunks(direct, model, tools=[CUSTOM_TOOL])
    assert finishes(received) == {0: "stop" if blocked else "tool_calls"}


@pytest.mark.parametrize(("call", "kept"), [(WEATHER, True), (WIPE, False)])
def test_log_probabilities_go_with_the_call(client: OpenAI, played: Played, call: SaidCall, kept: bool) -> None:
    received = chunks(client, played(Said(calls=(call,), logprobs=True)), logprobs=True)
    assert any(c.get("logprobs") for chunk in received for c in chunk["choices"]) == kept


def helper(client: OpenAI, model: PlayedModel) -> tuple[list[Any], Any]:
    with client.chat.completions.stream(model=model.name, messages=ASKED, tools=TOOLS) as stream:
        return list(stream), stream.get_final_completion()


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
def test_the_streaming_helper_sees_the_same(client: OpenAI, direct: OpenAI, played: Played, said: Said) -> None:
    model = played(said)
    through, past = helper(client, model), helper(direct, model)
    assert [event.type for event in through[0]] == [event.type for event in past[0]]
    assert through[1] == past[1]


def test_the_streaming_helper_sees_a_block_as_content(client: OpenAI, played: Played) -> None:
    seen, final = helper(client, played(Said(calls=(WIPE,))))
    kinds = {event.type for event in seen}
    assert "content.done" in kinds
    assert not any(kind.startswith("tool_calls") for kind in kinds)
    assert final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content.startswith("[guardproxy]")


def test_async_streams_beside_each_other(new_async_client: Callable[[], AsyncOpenAI], played: Played) -> None:
    models = [played(Answer.of(Said(text="So.", calls=(call,)), gap_s=0.01)) for call in (WEATHER, WIPE) * 5]

    async def ask(client: AsyncOpenAI, model: PlayedModel) -> dict[int, str]:
        stream = await client.chat.completions.create(model=model.name, messages=ASKED, tools=TOOLS, stream=True)
        return finishes([chunk.to_dict() async for chunk in stream])

    async def ask_all() -> list[dict[int, str]]:
        async with new_async_client() as client:
            return await asyncio.gather(*(ask(client, model) for model in models))

    assert asyncio.run(ask_all()) == [{0: "tool_calls"}, {0: "stop"}] * 5


def test_the_async_streaming_helper(new_async_client: Callable[[], AsyncOpenAI], played: Played) -> None:
    model = played(Said(text="Let me look.", calls=(WEATHER,)))

    async def ask() -> Any:
        async with (
            new_async_client() as client,
            client.chat.completions.stream(model=model.name, messages=ASKED, tools=TOOLS) as stream,
        ):
            return await stream.get_final_completion()

    message = asyncio.run(ask()).choices[0].message
    assert (message.content, message.tool_calls[0].function.arguments) == ("Let me look.", WEATHER.arguments)


def test_text_comes_at_once_and_a_call_only_when_it_is_whole(client: OpenAI, played: Played) -> None:
    said = Said(text="Let me look.", calls=(WEATHER,))
    model = played(Answer.of(said, gap_s=0.08))
    started = time.monotonic()
    text_at: list[float] = []
    call_at: list[float] = []
    stream = client.chat.completions.create(model=model.name, messages=ASKED, tools=TOOLS, stream=True)
    for chunk in stream:
        delta = chunk.choices[0].delta if chunk.choices else None
        if delta and delta.content:
            text_at.append(time.monotonic() - started)
        if delta and delta.tool_calls:
            call_at.append(time.monotonic() - started)
    assert text_at[-1] - text_at[0] > 0.1, "text was not passed on as it came"
    assert call_at[0] - text_at[-1] > 0.4, "a call left before it was whole"
    assert call_at[-1] - call_at[0] < 0.08, "held events leave together"


def test_comments_keep_a_held_stream_alive(client: OpenAI, played: Played, proxy: Service) -> None:
    """While a call is held the client hears comments, which the SDK's parser passes over."""
    model = played(Answer.of(Said(calls=(WEATHER,)), gap_s=0.08))
    create = client.chat.completions.with_streaming_response.create
    with create(model=model.name, messages=ASKED, tools=TOOLS, stream=True) as response:
        raw = response.read().decode()
    assert raw.count(": guardproxy is reviewing\n\n") >= 2
    assert raw.index(": guardproxy") < raw.index("get_weather")
    assert finishes(chunks(client, model)) == {0: "tool_calls"}


def test_an_error_event_of_the_server_is_raised(client: OpenAI, played: Played) -> None:
    error = {"error": {"message": "The server had an error.", "type": "server_error", "code": "x1", "param": None}}
    start = Answer.of(Said(text="It is")).stream[:3]
    model = played(Answer(stream=[*start, events([error])]))
    with pytest.raises(openai.APIError, match="had an error") as raised:
        chunks(client, model)
    assert raised.value.code == "x1"


@pytest.mark.parametrize(
    "ending",
    [b"", b"data: {not json}\n\n", b"data: [DONE]\n\n", b'data: {"choices": [{"index": 7, "delta": {}}]}\n\n'],
    ids=["closed early", "garbage", "done without a finish", "wrong index"],
)
def test_a_broken_stream_is_an_error_and_its_held_call_never_leaves(
    client: OpenAI, played: Played, ending: bytes
) -> None:
    start = [step for step in Answer.of(Said(text="So.", calls=(WEATHER,))).stream if isinstance(step, bytes)]
    model = played(Answer(stream=[*start[:-4], ending]))
    received: list[dict[str, Any]] = []
    stream = client.chat.completions.create(model=model.name, messages=ASKED, tools=TOOLS, stream=True)
    with pytest.raises(openai.APIError) as raised:
        received.extend(chunk.to_dict() for chunk in stream)
    assert raised.value.code == "upstream_protocol_error"
    assert text_of(received) == "So."
    assert "get_weather" not in str(received)


def test_a_client_that_leaves_ends_the_request_to_the_server(client: OpenAI, played: Played, proxy: Service) -> None:
    model = played(Answer.of(Said(text="word " * 200), gap_s=0.05))
    stream = client.chat.completions.create(model=model.name, messages=ASKED, stream=True)
    record_id = stream.response.headers["x-guardproxy-decision-id"]
    next(iter(stream))
    stream.close()
    assert proxy.record(record_id)["outcome"] == "cancelled"
    eventually(lambda: model.cut or None, "the end of the request to the model server")
