"""Errors through the proxy: the official SDK raises what it would raise without it."""

import time
from collections.abc import Callable, Iterator

import openai
import pytest
from openai import OpenAI

from guardproxy.testing.dialects import Said
from guardproxy.testing.model_server import Answer, ModelServer, PlayedModel
from guardproxy.testing.service import Service, serving
from guardproxy.testing.tools import TOOLS, WIPE, WIPE_COMMAND

ASKED = [{"role": "user", "content": "Hello."}]
Played = Callable[..., PlayedModel]
ERROR = {
    "message": "No, since.",
    "type": "some_error",
    "param": "model",
    "code": "some_code",
    "failed_generation": "rm",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "raises"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_the_server_s_errors_keep_their_status(
    client: OpenAI, played: Played, status: int, raises: type[openai.APIStatusError], stream: bool
) -> None:
    model = played(Answer.error(status, ERROR, x_request_id="req_9", x_internal="node-3"))
    with pytest.raises(raises, match=r"No, since\.") as raised:
        client.chat.completions.create(model=model.name, messages=ASKED, stream=stream)
    error = raised.value
    assert (error.type, error.param, error.code) == ("some_error", "model", "some_code")
    assert error.body == {name: value for name, value in ERROR.items() if name != "failed_generation"}
    assert error.request_id == "req_9"
    assert "x-internal" not in error.response.headers


def test_retry_after_is_respected(proxy: Service, played: Played) -> None:
    limits = {"retry_after": "1", "x_ratelimit_remaining_requests": "0"}
    model = played(Answer.error(429, ERROR, **limits), Said(text="Now."))
    started = time.monotonic()
    with OpenAI(base_url=proxy.url, api_key="sk-client", max_retries=1) as patient:
        answer = patient.chat.completions.create(model=model.name, messages=ASKED)
    assert answer.choices[0].message.content == "Now."
    assert time.monotonic() - started >= 1
    assert len(model.asked) == 2


def test_rate_limits_are_shown(client: OpenAI, played: Played) -> None:
    model = played(Answer.error(429, ERROR, retry_after="7", x_ratelimit_remaining_requests="0"))
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model=model.name, messages=ASKED)
    headers = raised.value.response.headers
    assert (headers["retry-after"], headers["x-ratelimit-remaining-requests"]) == ("7", "0")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_server_that_is_gone(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="gone-1", messages=ASKED, stream=stream)
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_unavailable")
    assert "127.0.0.1" not in raised.value.message


def test_a_server_that_is_silent(client: OpenAI, played: Played) -> None:
    model = played(Answer(delay_s=5), family="slow")
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model.name, messages=ASKED)
    assert (raised.value.status_code, raised.value.code) == (504, "upstream_timeout")


def test_a_server_that_talks_nonsense(client: OpenAI, played: Played) -> None:
    model = played(Answer(b'{"choices": [{"index": 0, "message": {"content": "x"}, '))
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model.name, messages=ASKED)
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_protocol_error")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("web_search_options", {}, "field_refused"),
        ("mystery", {"a": 1}, "field_refused"),
        ("tools", [{"type": "web_search"}], "provider_tool_refused"),
        ("n", 0, "malformed_request"),
    ],
)
def test_what_the_proxy_refuses_it_names(client: OpenAI, played: Played, field: str, value: object, code: str) -> None:
    model = played(Said(text="."))
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=model.name, messages=ASKED, extra_body={field: value})
    assert raised.value.code == code
    assert (raised.value.param or "").startswith(field)
    assert not model.asked


@pytest.mark.parametrize("path", ["/batches", "/files", "/chat/completions/", "/%63hat/completions", "/x/../models"])
def test_other_routes_are_refused(client: OpenAI, path: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.post(path, body={"model": "m"}, cast_to=object)
    assert raised.value.code == "route_refused"


@pytest.fixture(scope="module")
def strict_proxy(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    config = f"""
upstreams: [{{base_url: "{server.base_url}"}}]
guards: {{classifier: {{enabled: false}}}}
on_block: error
"""
    with serving(tmp_path_factory.mktemp("strict"), config) as running:
        yield running


def test_a_block_as_an_error(strict_proxy: Service, played: Played) -> None:
    model = played(Said(calls=(WIPE,)))
    with (
        OpenAI(base_url=strict_proxy.url, api_key="sk-client") as client,
        pytest.raises(openai.BadRequestError) as raised,
    ):
        client.chat.completions.create(model=model.name, messages=ASKED, tools=TOOLS)
    assert (raised.value.type, raised.value.code) == ("guardrail_error", "blocked_by_guardrail")
    assert WIPE_COMMAND not in str(raised.value.body)
    assert len(model.asked) == 1, "the SDK must not try again"


def test_a_block_as_an_error_in_a_stream(strict_proxy: Service, played: Played) -> None:
    model = played(Said(text="Let me.", calls=(WIPE,)))
    with OpenAI(base_url=strict_proxy.url, api_key="sk-client") as client:
        stream = client.chat.completions.create(model=model.name, messages=ASKED, tools=TOOLS, stream=True)
        with pytest.raises(openai.APIError) as raised:
            list(stream)
    assert raised.value.code == "blocked_by_guardrail"
