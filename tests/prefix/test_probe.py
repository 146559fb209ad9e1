import asyncio

import pytest

from guardproxy.errors import UpstreamRefusal, UpstreamTimeout
from guardproxy.model import Position
from guardproxy.prefix.probe import ProbeAnswer, probe
from guardproxy.prefix.verification import Outcome
from guardproxy.strict_json import decode_object
from guardproxy.upstream.embedded import EmbeddedUpstream
from guardproxy.upstream.upstream import UpstreamRequest


def server(render):
    """An `ask` over the embedded agent, with `render(question, injection)` as the server's reading of messages."""

    async def ask(question, injection, max_tokens):
        tree = {"model": "m", "messages": render(question, injection), "max_tokens": max_tokens}
        async with EmbeddedUpstream().open(UpstreamRequest("/chat/completions", tree=tree)) as reply:
            body = decode_object(b"".join([chunk async for chunk in reply.chunks()]))
        return ProbeAnswer(body["choices"][0]["message"]["content"] or "", body["usage"]["prompt_tokens"])

    return ask


def user(text):
    return {"role": "user", "content": text}


def continues(question, injection):
    return [user(question)] + ([{"role": "assistant", "content": injection.text}] if injection else [])


def drops(question, injection):
    return [user(question)]


def turns_it_into_a_user_message(question, injection):
    return [user(question)] + ([user(injection.text)] if injection else [])


@pytest.mark.parametrize(
    ("render", "outcome", "failed"),
    [
        (continues, Outcome.APPLIED_PROBE, False),
        (drops, Outcome.UNVERIFIED, True),
        (turns_it_into_a_user_message, Outcome.APPLIED_TOKENS, False),
    ],
)
def test_what_a_server_does_shows(render, outcome, failed):
    shown = asyncio.run(probe(server(render), Position.CONTINUE_FINAL_MESSAGE))
    assert (shown.outcome, shown.failed) == (outcome, failed)


def test_each_probe_has_a_nonce_of_its_own():
    seen = set()

    async def ask(question, injection, max_tokens):
        if injection:
            seen.add(injection.text)
        return ProbeAnswer("", None)

    for _ in range(20):
        asyncio.run(probe(ask, Position.PREFIX_FLAG))
    assert len(seen) == 20


def test_a_refusal_of_the_prefill_is_a_result_and_any_other_failure_is_an_error():
    async def refuses_prefill(question, injection, max_tokens):
        if injection:
            raise UpstreamRefusal(400, "prefill is not supported")
        return ProbeAnswer("", None)

    shown = asyncio.run(probe(refuses_prefill, Position.PREFIX_FLAG))
    assert shown.refusal.status == 400
    assert shown.outcome is Outcome.UNVERIFIED

    async def fails(question, injection, max_tokens):
        raise UpstreamTimeout("late")

    with pytest.raises(UpstreamTimeout):
        asyncio.run(probe(fails, Position.PREFIX_FLAG))

    async def refuses(question, injection, max_tokens):
        raise UpstreamRefusal(401, "no key")

    with pytest.raises(UpstreamRefusal):
        asyncio.run(probe(refuses, Position.PREFIX_FLAG))
