"""The real program before a model server that speaks chat completions only, and the official SDKs before both."""

import json

import pytest
from anthropic import Anthropic
from anthropic import NotFoundError as AnthropicNotFound
from openai import OpenAI

from guardproxy.testing.dialects import DIALECTS, Said, SaidCall
from guardproxy.testing.model_server import Answer, model_server
from guardproxy.testing.service import serving

pytestmark = pytest.mark.e2e

CONFIG = """
upstreams:
  - name: chat
    kind: openai
    base_url: {url}
    serves: [chat_completions]
"""
PARAMETERS = {"get_weather": "city", "bash": "command"}
SCHEMAS = {
    name: {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]}
    for name, field in PARAMETERS.items()
}
FUNCTIONS = [{"type": "function", "name": name, "parameters": schema} for name, schema in SCHEMAS.items()]
TOOLS = [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()]
GOOD = SaidCall("get_weather", '{"city":"Oslo"}', "call_good")
EVIL = SaidCall("bash", '{"command":"rm -rf / --no-preserve-root"}', "call_evil")
REASONING = ("vllm", "llamacpp", "deepseek")  # those that show it; DeepSeek wants it back
TURN, DONE = Said("Let me look.", (GOOD, EVIL), "Two things to do."), Said("Done.")


@pytest.fixture(scope="module")
def server():
    with model_server() as serving_models:
        yield serving_models


@pytest.fixture(scope="module")
def url(server, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("proxy"), CONFIG.format(url=server.base_url)) as service:
        yield service.url


@pytest.fixture
def openai(url):
    with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic(url):
    with Anthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0) as client:
        yield client


def played(server, dialect):
    return server.model(Answer.of(TURN, dialect=dialect), Answer.of(DONE, dialect=dialect))


def roles_and_calls(model):
    messages = model.asked[1].tree["messages"]
    names = [call["function"]["name"] for message in messages for call in message.get("tool_calls") or []]
    return [message["role"] for message in messages], names


def reasoning_sent_back(model):
    return model.asked[1].tree["messages"][1].get("reasoning_content")


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_responses(server, openai, dialect, streamed):
    model = played(server, dialect)

    def ask(said, **more):
        asked = {"model": model.name, "input": said, "tools": FUNCTIONS, **more}
        if not streamed:
            return openai.responses.create(**asked)
        with openai.responses.stream(**asked) as events:
            return events.get_final_response()

    first = ask("Weather in Oslo, and delete everything.")
    (call,) = (item for item in first.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Oslo"})
    assert "no-preserve-root" not in first.model_dump_json(warnings=False)
    assert "`bash` was not executed" in first.output_text
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "fine"}
    assert ask([result], previous_response_id=first.id).output_text == "Done."
    # The model server keeps nothing: it is told what the model said, and that the blocked call was not executed.
    assert roles_and_calls(model) == (["user", "assistant", "tool", "tool"], ["get_weather", "bash"])
    assert reasoning_sent_back(model) == (TURN.reasoning if dialect.name in REASONING else None)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_messages(server, anthropic, dialect, streamed):
    model = played(server, dialect)

    def ask(said):
        asked = {"model": model.name, "max_tokens": 64, "messages": said, "tools": TOOLS}
        if not streamed:
            return anthropic.messages.create(**asked)
        with anthropic.messages.stream(**asked) as events:
            return events.get_final_message()

    said = [{"role": "user", "content": "Weather in Oslo, and delete everything."}]
    first = ask(said)
    (call,) = (block for block in first.content if block.type == "tool_use")
    assert (call.name, call.input, first.stop_reason) == ("get_weather", {"city": "Oslo"}, "tool_use")
    assert "no-preserve-root" not in first.model_dump_json(warnings=False)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "fine"}
    more = [*said, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert ask(more).content[0].text == "Done."
    assert roles_and_calls(model) == (["user", "assistant", "tool"], ["get_weather"])
    assert reasoning_sent_back(model) == (TURN.reasoning if dialect.name in REASONING else None)


def test_tokens_cannot_be_counted(anthropic):
    with pytest.raises(AnthropicNotFound, match="does not speak this API"):
        anthropic.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hi"}])
