"""The official SDK in front of the whole proxy: it gets what was judged, stable and beta, streamed and whole."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

from guardproxy.errors import UpstreamRefusal
from guardproxy.surfaces.surface import OnBlock
from guardproxy.testing.fakes import FakeGuard
from guardproxy.testing.messages import (
    START,
    STOP,
    add,
    begin,
    body,
    call,
    end,
    events,
    finish,
    message,
    piece,
    text,
    word,
)
from guardproxy.testing.proxy import ProxyUnderTest, proxy

T = TypeVar("T")
REFUSAL = "[guardproxy] The call to `bad` was not executed: Ask the user first. (reason: fake_code)"
ASKED: Any = {
    "model": "m",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Go on."}],
    "tools": [{"name": name, "input_schema": {"type": "object"}} for name in ("good", "bad", "fix", "ask")],
}
THOUGHT = [
    begin(0, "thinking", thinking="", signature=""),
    add(0, "thinking_delta", thinking="Hm."),
    add(0, "signature_delta", signature="c2ln"),
    end(0),
]


def with_client(under_test: ProxyUnderTest, ask: Callable[[AsyncAnthropic], Awaitable[T]]) -> T:
    async def run() -> T:
        transport = httpx2.ASGITransport(app=under_test.app)
        async with (
            httpx2.AsyncClient(transport=transport) as http,
            AsyncAnthropic(base_url="http://127.0.0.1", api_key="k", http_client=http, max_retries=0) as client,
        ):
            return await ask(client)

    return asyncio.run(run())


def called(name: str, index: int = 1) -> list[Any]:
    return [call(index, name), piece(index, '{"a":'), piece(index, "1}"), end(index)]


def stream_of(name: str) -> list[Any]:
    said = [text(1), word(1, "Let "), word(1, "me."), end(1)]
    return [START, *THOUGHT, *said, *called(name, 2), finish("tool_use"), STOP]


def whole_of(name: str) -> Any:
    return message(
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Let me."},
        {"type": "tool_use", "id": "toolu_2", "name": name, "input": {"a": 1}},
        reason="tool_use",
        usage={"input_tokens": 25, "output_tokens": 15},
    )


async def streamed(client: AsyncAnthropic) -> Any:
    async with client.messages.stream(**ASKED) as stream:
        return await stream.get_final_message()


async def streamed_beta(client: AsyncAnthropic) -> Any:
    async with client.beta.messages.stream(**ASKED, betas=["interleaved-thinking-2025-05-14"]) as stream:
        return await stream.get_final_message()


async def whole(client: AsyncAnthropic) -> Any:
    return await client.messages.create(**ASKED)


async def whole_beta(client: AsyncAnthropic) -> Any:
    return await client.beta.messages.create(**ASKED)


WAYS = [streamed, streamed_beta, whole, whole_beta]


def answer(ask: Callable[[AsyncAnthropic], Awaitable[Any]], guard: FakeGuard, *names: str, **settings: Any) -> Any:
    plays = [[body(whole_of(name))] if ask in (whole, whole_beta) else [events(stream_of(name))] for name in names]
    under_test = proxy(*plays, guards=[guard], **settings)
    return with_client(under_test, ask).to_dict(mode="json"), under_test


@pytest.mark.parametrize("ask", WAYS)
def test_an_allowed_answer_is_the_one_that_the_provider_gave(ask: Any, guard: FakeGuard) -> None:
    got, under_test = answer(ask, guard, "good")
    assert got == whole_of("good") | ({} if ask in (whole, whole_beta) else {"stop_details": None}) or got == whole_of(
        "good"
    )
    assert under_test.exchange.outcome == "completed"
    (asked,) = under_test.upstream.asked
    assert asked.path == "/messages"


@pytest.mark.parametrize("ask", WAYS)
def test_a_blocked_call_is_a_text(ask: Any, guard: FakeGuard) -> None:
    got, _ = answer(ask, guard, "bad")
    assert got["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Let me."},
        {"type": "text", "text": f"\n\n{REFUSAL}"},
    ]
    assert got["stop_reason"] == "end_turn"
    assert got["usage"] == {"input_tokens": 25, "output_tokens": 15}


@pytest.mark.parametrize("ask", WAYS)
def test_a_rewritten_call_is_called_as_rewritten(ask: Any, guard: FakeGuard) -> None:
    got, _ = answer(ask, guard, "fix")
    assert got["content"][2] == {"type": "tool_use", "id": "toolu_2", "name": "fix", "input": {"fixed": True}}
    assert got["stop_reason"] == "tool_use"


@pytest.mark.parametrize("ask", WAYS)
def test_a_refused_answer_says_why(ask: Any, guard: FakeGuard) -> None:
    got, _ = answer(ask, guard, "bad", on_block=OnBlock.REFUSAL)
    assert got["stop_reason"] == "refusal"
    assert got["stop_details"]["explanation"] == REFUSAL


@pytest.mark.parametrize("ask", WAYS)
def test_a_reasked_answer_goes_on(ask: Any, guard: FakeGuard) -> None:
    got, under_test = answer(ask, guard, "ask", "good")
    (_, again) = under_test.upstream.asked
    said, answered = again.tree["messages"][-2:]
    assert said["content"][-1] == {"type": "tool_use", "id": "toolu_2", "name": "ask", "input": {"a": 1}}
    assert answered["content"][0]["tool_use_id"] == "toolu_2"
    before = [] if ask in (whole, whole_beta) else whole_of("good")["content"][:2]
    assert got["content"] == [*before, *whole_of("good")["content"]]
    assert got["usage"] == {"input_tokens": 50, "output_tokens": 30}
    assert got["id"] == "msg_1"


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize(
    ("status", "raises"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (529, anthropic.InternalServerError),
    ],
)
def test_the_provider_s_errors_keep_their_status(ask: Any, status: int, raises: type[anthropic.APIStatusError]) -> None:
    under_test = proxy(UpstreamRefusal(status, "No, since."))
    with pytest.raises(raises, match=r"No, since\.") as raised:
        with_client(under_test, ask)
    assert raised.value.status_code == status
    error: Any = raised.value.body
    assert error["type"] == "error"
    assert error["error"]["message"] == "No, since."


@pytest.mark.parametrize("ask", [streamed, streamed_beta])
def test_a_stream_that_breaks_raises(ask: Any, guard: FakeGuard) -> None:
    broken = [*stream_of("good")[:6], {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy."}}]
    with pytest.raises(anthropic.APIStatusError, match=r"Too busy\."):
        with_client(proxy([events(broken)], guards=[guard]), ask)
    cut = stream_of("good")[:-1]
    with pytest.raises(anthropic.APIStatusError, match="ends before"):
        with_client(proxy([events(cut)], guards=[guard]), ask)


@pytest.mark.parametrize("ask", WAYS)
def test_a_refused_request_names_its_place(ask: Any) -> None:
    asked = ASKED | {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}

    async def refused(client: AsyncAnthropic) -> Any:
        return await client.messages.create(**asked)

    with pytest.raises(anthropic.BadRequestError, match=r"tools\[0\]\.type"):
        with_client(proxy(), refused)


def test_a_beta_request_keeps_its_query_and_its_header(guard: FakeGuard) -> None:
    """As Claude Code asks."""
    under_test = proxy([events(stream_of("good"))], guards=[guard])

    async def ask(client: AsyncAnthropic) -> Any:
        return await client.messages.create(
            **ASKED, stream=True, extra_query={"beta": "true"}, extra_headers={"anthropic-beta": "some-2026-01-01"}
        )

    with_client(under_test, ask)
    (asked,) = under_test.upstream.asked
    assert asked.query == "beta=true"
    assert dict(asked.headers)["anthropic-beta"] == "some-2026-01-01"
    assert asked.tree is not None
    assert asked.tree["messages"] == ASKED["messages"]
