"""The configured limits hold for what is translated: for the events of the chat server, not those made of them."""

from pathlib import Path
from types import SimpleNamespace

import anthropic
import openai
import pytest

from guardproxy.testing import chat
from guardproxy.testing.model_server import Answer, model_server
from guardproxy.testing.service import serving

pytestmark = pytest.mark.e2e

LIMIT = 20_000
CONFIG = """
upstreams:
  - {{name: told, base_url: "{url}", models: ["told-*"], serves: [chat_completions]}}
  - {{name: found, base_url: "{url}"}}
limits: {{held_bytes: {limit}}}
guards: {{classifier: {{enabled: false}}}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    directory: Path = tmp_path_factory.mktemp("proxy")
    with model_server() as server, serving(directory, CONFIG.format(url=server.base_url, limit=LIMIT)) as service:
        yield SimpleNamespace(server=server, url=service.url)


def streamed(url, api, model):
    """What a client reads."""
    if api == "responses":
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        with client, client.responses.stream(model=model, input="hi") as events:
            return events.get_final_response().output_text
    said = [{"role": "user", "content": "hi"}]
    client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0)
    with client, client.messages.stream(model=model, max_tokens=9, messages=said) as events:
        return events.get_final_message().content[0].text


@pytest.mark.parametrize("api", ["responses", "messages"])
@pytest.mark.parametrize("family", ["told", "found"])
@pytest.mark.parametrize("padding", [LIMIT // 2, LIMIT], ids=["fits", "too long"])
def test_an_event_may_be_no_longer_than_the_limit(running, api, family, padding):
    """What makes the event long is nothing that is translated, so no later limit would stop it."""
    said = [chat.text("Hello") | {"system_fingerprint": "x" * padding}, chat.finish("stop")]
    model = running.server.model(Answer(stream=[chat.events(said)]), family=family)
    if padding < LIMIT:
        assert streamed(running.url, api, model.name) == "Hello"
        return
    with pytest.raises((openai.APIError, anthropic.APIError)) as error:
        streamed(running.url, api, model.name)
    assert "event stream is broken" in str(error.value)
