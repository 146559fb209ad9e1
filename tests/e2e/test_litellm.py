"""An upstream that litellm reaches: here a provider of its list that is really the test's own model server."""

import json
from collections.abc import Callable, Iterator

import openai
import pytest
from openai import OpenAI

from guardproxy.testing.dialects import Said
from guardproxy.testing.model_server import Answer, ModelServer, PlayedModel
from guardproxy.testing.service import Service, serving
from guardproxy.testing.tools import TOOLS, WEATHER, WIPE, WIPE_COMMAND

ASKED = [{"role": "user", "content": "What is the weather in Oslo?"}]
Played = Callable[..., PlayedModel]
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def proxy(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    options = {"custom_llm_provider": "hosted_vllm"}
    upstream = {"kind": "litellm", "base_url": server.base_url, "api_key": "sk-upstream", "options": options}
    config = json.dumps({"upstreams": [upstream], "guards": {"classifier": {"enabled": False}}})
    with serving(tmp_path_factory.mktemp("litellm"), config) as running:
        yield running


@pytest.fixture(scope="module")
def client(proxy: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=proxy.url, api_key="sk-client", max_retries=0, timeout=60) as through:
        yield through


def ask(client: OpenAI, model: PlayedModel, stream: bool) -> "openai.types.chat.ChatCompletionMessage":
    asked = {"model": model.name, "messages": ASKED, "tools": TOOLS}
    if not stream:
        return client.chat.completions.create(**asked).choices[0].message
    with client.chat.completions.stream(**asked) as events:
        return events.get_final_completion().choices[0].message


@both_ways
def test_an_allowed_call(client: OpenAI, played: Played, stream: bool) -> None:
    model = played(Said(text="Let me look.", calls=(WEATHER,)))
    message = ask(client, model, stream)
    (call,) = message.tool_calls or []
    assert (call.id, call.function.name, call.function.arguments) == (WEATHER.id, WEATHER.name, WEATHER.arguments)
    assert message.content == "Let me look."
    (asked,) = model.asked
    assert asked.headers["Authorization"] == "Bearer sk-upstream"
    assert [tool["function"]["name"] for tool in asked.tree["tools"]] == ["get_weather", "bash"]


@both_ways
def test_a_blocked_call(client: OpenAI, played: Played, stream: bool) -> None:
    message = ask(client, played(Said(calls=(WIPE,))), stream)
    assert not message.tool_calls
    assert (message.content or "").startswith("[guardproxy]")
    assert WIPE_COMMAND not in message.to_json()


@pytest.mark.parametrize(
    ("status", "raises"),
    [(401, openai.AuthenticationError), (429, openai.RateLimitError), (400, openai.BadRequestError)],
)
def test_errors_keep_their_status(
    client: OpenAI, played: Played, status: int, raises: type[openai.APIStatusError]
) -> None:
    model = played(Answer.error(status, {"message": "No.", "type": "t", "param": None, "code": "c"}))
    with pytest.raises(raises) as raised:
        ask(client, model, stream=False)
    assert "sk-upstream" not in str(raised.value.body)
    assert len(model.asked) == 1
