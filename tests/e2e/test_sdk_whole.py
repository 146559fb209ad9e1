"""The official SDK through the proxy, whole answers."""

import asyncio
from collections.abc import Callable

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from guardproxy.testing.dialects import DIALECTS, OPENAI, Dialect, Said, SaidCall
from guardproxy.testing.model_server import Answer, PlayedModel
from guardproxy.testing.service import Service
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


def ask(client: OpenAI, model: PlayedModel, **more: object) -> ChatCompletion:
    return client.chat.completions.create(**{"model": model.name, "messages": ASKED, "tools": TOOLS, **more})


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_an_allowed_answer_is_the_one_that_the_server_gave(
    client: OpenAI, direct: OpenAI, played: Played, dialect: Dialect, said: Said
) -> None:
    model = played(Answer.of(said, dialect=dialect))
    through, past = ask(client, model), ask(direct, model)
    assert through.to_dict() == past.to_dict()
    assert through == past


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_blocked_call_becomes_text_with_a_normal_stop(client: OpenAI, played: Played, dialect: Dialect) -> None:
    answer = ask(client, played(Answer.of(Said(calls=(WIPE,)), dialect=dialect)))
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert not choice.message.tool_calls
    assert choice.message.content is not None
    assert choice.message.content.startswith("[guardproxy]")
    assert "no-preserve-root" not in answer.to_json()
    assert answer.usage is not None


def test_the_request_arrives_as_it_was_sent(client: OpenAI, played: Played) -> None:
    model = played(Said(text="Yes."))
    ask(client, model, temperature=0.5, seed=7, extra_body={"top_k": 40, "chat_template_kwargs": {"x": 1}})
    (asked,) = model.asked
    assert asked.tree["temperature"] == 0.5
    assert asked.tree["top_k"] == 40
    assert asked.tree["chat_template_kwargs"] == {"x": 1}
    assert asked.tree["tools"] == TOOLS
    assert asked.headers["Authorization"] == "Bearer sk-client"


def test_the_headers_tell_the_decision(client: OpenAI, proxy: Service, played: Played) -> None:
    model = played(Answer.of(Said(calls=(WEATHER,)), headers={"x-request-id": "req_7", "set-cookie": "a=b"}))
    raw = client.chat.completions.with_raw_response.create(model=model.name, messages=ASKED, tools=TOOLS)
    assert raw.headers["x-guardproxy-decision"] == "allow"
    assert raw.headers["x-request-id"] == "req_7"
    assert "set-cookie" not in raw.headers
    assert raw.parse()._request_id == "req_7"
    record = proxy.record(raw.headers["x-guardproxy-decision-id"])
    assert record["action"] == "allow"


def test_the_headers_tell_a_block(client: OpenAI, proxy: Service, played: Played) -> None:
    model = played(Said(calls=(WIPE,)))
    raw = client.chat.completions.with_raw_response.create(model=model.name, messages=ASKED, tools=TOOLS)
    assert raw.headers["x-guardproxy-decision"] == "block"
    record = proxy.record(raw.headers["x-guardproxy-decision-id"])
    assert record["action"] == "block"
    assert WIPE_COMMAND not in str(record)


def test_of_parallel_calls_only_the_blocked_one_is_gone(client: OpenAI, played: Played) -> None:
    (choice,) = ask(client, played(Said(calls=(WEATHER, WIPE)))).choices
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in choice.message.tool_calls or []] == ["get_weather"]
    assert "`bash`" in (choice.message.content or "")


def test_every_choice_is_judged(client: OpenAI, played: Played) -> None:
    answer = ask(client, played(Answer.of(Said(calls=(WEATHER,)), Said(calls=(WIPE,)), Said(text="Hm."))), n=3)
    assert [choice.finish_reason for choice in answer.choices] == ["tool_calls", "stop", "stop"]
    assert [bool(choice.message.tool_calls) for choice in answer.choices] == [True, False, False]
    assert answer.choices[2].message.content == "Hm."


@pytest.mark.parametrize(("command", "blocked"), [("ls", False), (WIPE_COMMAND, True)])
def test_legacy_functions(client: OpenAI, direct: OpenAI, played: Played, command: str, blocked: bool) -> None:
    call = SaidCall("bash", f'{{"command": "{command}"}}', kind="legacy")
    model = played(Said(calls=(call,)))
    legacy = {"tools": openai.NOT_GIVEN, "functions": [TOOLS[1]["function"]]}
    answer = ask(client, model, **legacy)
    if not blocked:
        assert answer == ask(direct, model, **legacy)
    assert (answer.choices[0].message.function_call is None) == blocked
    assert answer.choices[0].finish_reason == ("stop" if blocked else "function_call")


@pytest.mark.parametrize(("script", "blocked"), [("ls -l", False), (WIPE_COMMAND, True)])
def test_custom_tools(client: OpenAI, direct: OpenAI, played: Played, script: str, blocked: bool) -> None:
    model = played(Said(calls=(SaidCall("bash", script, kind="custom"),)))
    answer = ask(client, model, tools=[CUSTOM_TOOL])
    if not blocked:
        assert answer == ask(direct, model, tools=[CUSTOM_TOOL])
    assert bool(answer.choices[0].message.tool_calls) != blocked


@pytest.mark.parametrize(("call", "kept"), [(WEATHER, True), (WIPE, False)])
def test_log_probabilities_go_with_the_call(client: OpenAI, played: Played, call: SaidCall, kept: bool) -> None:
    answer = ask(client, played(Said(text="So.", calls=(call,), logprobs=True)), logprobs=True)
    assert (answer.choices[0].logprobs is not None) == kept


class GetWeather(BaseModel):
    city: str


class Bash(BaseModel):
    command: str


def test_parse_reads_arguments_into_models(client: OpenAI, direct: OpenAI, played: Played) -> None:
    model = played(Said(calls=(SaidCall("GetWeather", '{"city": "Oslo"}'),)))
    tools = [openai.pydantic_function_tool(GetWeather)]
    answers = [c.chat.completions.parse(model=model.name, messages=ASKED, tools=tools) for c in (client, direct)]
    calls = answers[0].choices[0].message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [GetWeather(city="Oslo")]
    assert answers[0] == answers[1]


def test_parse_survives_a_block(client: OpenAI, played: Played) -> None:
    model = played(Said(calls=(SaidCall("Bash", f'{{"command": "{WIPE_COMMAND}"}}'),)))
    tools = [openai.pydantic_function_tool(Bash)]
    message = client.chat.completions.parse(model=model.name, messages=ASKED, tools=tools).choices[0].message
    assert not message.tool_calls
    assert message.parsed is None
    assert (message.content or "").startswith("[guardproxy]")


def test_async_calls_beside_each_other(new_async_client: Callable[[], AsyncOpenAI], played: Played) -> None:
    models = [played(Said(calls=(call,))) for call in (WEATHER, WIPE) * 10]

    async def ask_all() -> list[ChatCompletion]:
        async with new_async_client() as client:
            create = client.chat.completions.create
            return await asyncio.gather(*(create(model=m.name, messages=ASKED, tools=TOOLS) for m in models))

    answers = asyncio.run(ask_all())
    assert [bool(answer.choices[0].message.tool_calls) for answer in answers] == [True, False] * 10


def test_models_and_embeddings(client: OpenAI, direct: OpenAI, played: Played) -> None:
    model = played(Said(text="."))
    assert model.name in {each.id for each in client.models.list()}
    assert client.models.retrieve(model.name).owned_by == "test"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("no-such-model")
    assert raised.value.code == "model_not_found"
    through, past = (c.embeddings.create(model=model.name, input=["a", "bc"]) for c in (client, direct))
    assert through == past


def test_an_undeclared_tool_is_blocked(client: OpenAI, played: Played) -> None:
    answer = ask(client, played(Said(calls=(SaidCall("launch", "{}"),))))
    assert not answer.choices[0].message.tool_calls


def test_answers_of_a_dialect_are_whole_without_the_proxy(direct: OpenAI, played: Played) -> None:
    """The double itself: what it sends is what the SDK's types hold."""
    answer = ask(direct, played(Answer.of(SAID["text and call"], dialect=OPENAI)))
    message = answer.choices[0].message
    assert (message.content, message.tool_calls[0].function.arguments) == ("Let me look.", WEATHER.arguments)
