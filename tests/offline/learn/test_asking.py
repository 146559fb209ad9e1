"""What is waited for, what is tried again, what ends a run; and that the prefix takes the proxy's own way."""

import asyncio
import json
from typing import Any

import pytest

from guardproxy.errors import (
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefusal,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from guardproxy.model import Position
from guardproxy.offline.learn.asking import Answer, Asker, BudgetSpent, Meter, NoUse, Pace, Patience, Unanswered
from guardproxy.offline.learn.injecting import prefixer_for
from guardproxy.offline.learn.scoring import Spent
from guardproxy.testing.chat import body, completion, whole_call
from guardproxy.testing.fakes import FakeUpstream

PREFIX = "I check what this is for."
SAID = [
    body(completion({"content": "Hello."}, finish_reason="stop", usage={"prompt_tokens": 7, "completion_tokens": 3}))
]


class Sleeps:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def pace(self) -> Pace:
        return Pace(self.sleep, lambda: self.now)


def asker(upstream: FakeUpstream, sleeps: Sleeps | None = None, **fields: Any) -> Asker:
    made = {"meter": Meter(), "pace": (sleeps or Sleeps()).pace(), "patience": Patience(tries=4)} | fields
    return Asker(upstream, "m", **made)


def ask(asking: Asker, spent: Spent, position: Position | None = None) -> Answer:
    request = asking.request([{"role": "user", "content": "hi"}])
    prefixer = None if position is None else prefixer_for(PREFIX, position, "fake")
    return asyncio.run(asking.ask(request, prefixer, spent))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (UpstreamRefusal(429, "slow down"), "rate_limited"),
        (UpstreamRefusal(503, "busy"), "overloaded"),
        (UpstreamRefusal(529, "busy"), "overloaded"),
        (UpstreamRefusal(408, "late"), "timeout"),
        (UpstreamRefusal(500, "oops"), "server_error"),
        (UpstreamTimeout("late"), "timeout"),
        (UpstreamUnavailable("gone"), "unavailable"),
        (UpstreamProtocolError("odd"), "protocol_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_trouble_is_counted_and_tried_again(error: UpstreamError, name: str) -> None:
    upstream, spent = FakeUpstream([error, error, SAID]), Spent()
    assert ask(asker(upstream), spent).text == "Hello."
    assert spent == Spent(calls=3, tokens=10, troubles={name: 2})


def test_the_server_says_how_long_to_wait() -> None:
    limit = UpstreamRefusal(429, "slow", headers=[("retry-after", "7")])
    soon = UpstreamRefusal(429, "slow", headers=[("retry-after", "9"), ("retry-after-ms", "250")])
    sleeps = Sleeps()
    ask(asker(FakeUpstream([limit, soon, SAID]), sleeps), Spent())
    assert sleeps.slept == [7.0, 0.25]


def test_without_a_word_the_wait_doubles() -> None:
    sleeps = Sleeps()
    with pytest.raises(Unanswered):
        ask(asker(FakeUpstream([UpstreamRefusal(429, "slow")]), sleeps), Spent())
    assert len(sleeps.slept) == 3, "not after the last try"
    assert all(2**i / 2 <= seconds <= 2**i for i, seconds in enumerate(sleeps.slept))


def test_a_limit_holds_everyone() -> None:
    sleeps = Sleeps()
    pace = sleeps.pace()
    pace.hold(5)
    pace.hold(2)
    ask(asker(FakeUpstream([SAID]), pace=pace), Spent())
    assert sleeps.slept == [5.0]


def test_nothing_but_trouble_is_no_answer() -> None:
    spent = Spent()
    with pytest.raises(Unanswered) as caught:
        ask(asker(FakeUpstream([UpstreamTimeout("late")])), spent)
    assert caught.value.cause == "timeout"
    assert spent == Spent(calls=4, troubles={"timeout": 4})


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_will_never_work_is_not_tried_again(status: int) -> None:
    upstream = FakeUpstream([UpstreamRefusal(status, "no")])
    with pytest.raises(NoUse, match=f"{status}: no"):
        ask(asker(upstream), Spent())
    assert len(upstream.asked) == 1


def test_an_empty_account_is_no_rate_limit() -> None:
    with pytest.raises(NoUse):
        ask(asker(FakeUpstream([UpstreamRefusal(429, "pay", code="insufficient_quota")])), Spent())


def test_a_refused_request_is_the_callers_to_judge() -> None:
    with pytest.raises(UpstreamRefusal, match="bad field"):
        ask(asker(FakeUpstream([UpstreamRefusal(400, "bad field")])), Spent())


@pytest.mark.parametrize("meter", [Meter(calls=2), Meter(tokens=15), Meter(calls=3, held_back=(1, 0))], ids=str)
def test_a_budget_is_not_exceeded(meter: Meter) -> None:
    upstream = FakeUpstream([SAID])
    asking = asker(upstream, meter=meter)
    for _ in range(2):
        ask(asking, Spent())
    with pytest.raises(BudgetSpent):
        ask(asking, Spent())
    assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    ("position", "extra"),
    [
        (Position.CONTINUE_FINAL_MESSAGE, {"continue_final_message": True, "add_generation_prompt": False}),
        (Position.PREFIX_FLAG, {}),
        (Position.TRAILING_ASSISTANT, {}),
    ],
)
def test_the_prefix_goes_in_as_the_proxy_puts_it_and_comes_out_again(position: Position, extra: dict) -> None:
    echo = [body(completion({"content": f"{PREFIX} It is fine.", "tool_calls": [whole_call("f", "{}")]}))]
    upstream = FakeUpstream([echo])
    answer = ask(asker(upstream), Spent(), position)
    tree = upstream.asked[0].tree or {}
    assert tree["messages"][-1]["role"] == "assistant"
    assert tree["messages"][-1]["content"] == PREFIX
    assert extra.items() <= tree.items()
    assert answer.position == position.value
    assert answer.text.strip() == "It is fine.", "what is judged is the model's own"
    assert [call.name for call in answer.turn.calls] == ["f"]


def test_an_instruction_is_no_turn() -> None:
    upstream = FakeUpstream([SAID])
    assert ask(asker(upstream), Spent(), Position.INSTRUCTION).position == "instruction"
    first, last = (upstream.asked[0].tree or {})["messages"]
    assert PREFIX in first["content"]
    assert last == {"role": "user", "content": "hi"}


def test_a_refusal_in_a_field_of_its_own_is_text() -> None:
    said = [body(completion({"content": None, "refusal": "I can't help with that."}, finish_reason="stop"))]
    assert ask(asker(FakeUpstream([said])), Spent()).text == "I can't help with that."


def test_fields_of_every_request() -> None:
    asking = asker(FakeUpstream([SAID]), fields={"temperature": 0, "max_tokens": None})
    tree = asking.request([{"role": "user", "content": "hi"}]).tree
    assert tree["temperature"] == 0
    assert "max_tokens" not in tree
    assert json.dumps(dict(tree))
