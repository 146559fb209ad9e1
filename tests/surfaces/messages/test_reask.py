"""Asking the model again, through the whole proxy."""

from typing import Any

import pytest

from guardproxy.decision import Verdict
from guardproxy.testing.fakes import FakeGuard, finding
from guardproxy.testing.messages import (
    START,
    STOP,
    Tree,
    add,
    begin,
    body,
    call,
    end,
    events,
    finish,
    message,
    piece,
    request,
    text,
    word,
)
from guardproxy.testing.proxy import ProxyUnderTest, proxy
from guardproxy.testing.script import decode_frames

THOUGHT: Tree = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
HIDDEN: Tree = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
USED: Tree = {"type": "tool_use", "id": "toolu_3", "name": "bad", "input": {"a": 1}}
SAID: Tree = {"type": "text", "text": "Let me."}

FIRST = [
    START,
    begin(0, "thinking", thinking="", signature=""),
    add(0, "thinking_delta", thinking="Hm."),
    add(0, "signature_delta", signature="c2ln"),
    end(0),
    begin(1, "redacted_thinking", data="ZGF0YQ=="),
    end(1),
    text(2),
    word(2, "Let me."),
    end(2),
    call(3, "bad"),
    piece(3, '{"a":1}'),
    end(3),
    finish("tool_use"),
    STOP,
]
THEN = [START, text(), word(0, "Then not."), end(), finish(), STOP]


def asked_twice(*plays: Any) -> ProxyUnderTest:
    guard = FakeGuard(lambda call: [finding(Verdict.REASK)] if call.name == "bad" else [])
    return proxy(*plays, guards=[guard])


def ask(under_test: ProxyUnderTest, *, stream: bool) -> Any:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    return under_test.ask(request(stream=stream, thinking=thinking), path="/v1/messages")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_the_model_gets_its_signed_thoughts_back(stream: bool) -> None:
    """With thinking on, the provider refuses an assistant's turn that does not begin with them."""
    whole = [message(THOUGHT, HIDDEN, SAID, USED, reason="tool_use"), message({"type": "text", "text": "Then not."})]
    under_test = asked_twice(*([[events(FIRST)], [events(THEN)]] if stream else [[body(tree)] for tree in whole]))
    assert ask(under_test, stream=stream).status == 200
    first, again = (dict(asked.tree or {}) for asked in under_test.upstream.asked)
    assert again["messages"][:-2] == first["messages"]
    assert again["messages"][-2] == {"role": "assistant", "content": [THOUGHT, HIDDEN, SAID, USED]}
    (result,) = again["messages"][-1]["content"]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", "toolu_3")
    assert again["thinking"] == first["thinking"]


def test_blocks_that_were_open_side_by_side_are_all_ended() -> None:
    """As llama.cpp leaves them open, and ends them at the end of the message."""
    first = [event for event in FIRST if event not in (end(0), end(2))]
    first = [*first[:-2], end(0), end(2), *first[-2:]]
    received = ask(asked_twice([events(first)], [events(THEN)]), stream=True)
    got = [frame.tree for frame in decode_frames(received.seen)]
    assert got[:8] == [event for event in FIRST[:9] if event != end(0)]
    assert got[8:10] == [end(0), end(2)]
    assert [tree["index"] for tree in got if tree["type"] == "content_block_stop"] == [1, 0, 2, 3]
    assert got[10:12] == [text(3), word(3, "Then not.")]
