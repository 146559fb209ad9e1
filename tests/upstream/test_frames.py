"""The end of an upstream's stream."""

from collections.abc import Sequence

import pytest

from guardproxy.testing import messages
from guardproxy.testing.proxy import Received, proxy

SAID = messages.events(
    [messages.START, messages.text(0, "Hi."), messages.end(), messages.finish(), messages.STOP],
)
MARK = b"data: [DONE]\n\n"


def ask(*chunks: bytes) -> Received:
    play: Sequence[bytes] = chunks
    return proxy([*play]).ask(messages.request(), path="/v1/messages")


@pytest.mark.parametrize(
    "chunks",
    [
        (SAID + MARK,),
        (SAID, MARK),
        (SAID, b"\n", MARK),
        (SAID, *(MARK[i : i + 1] for i in range(len(MARK)))),
        (SAID[:-1], SAID[-1:] + MARK[:3], MARK[3:]),
    ],
    ids=["at once", "after it", "after a line", "byte by byte", "in two pieces"],
)
def test_an_end_mark_in_an_api_that_has_none_is_dropped(chunks: tuple[bytes, ...]) -> None:
    """As vLLM sends it after a message's last event."""
    assert ask(*chunks).seen == ask(SAID).seen == SAID


@pytest.mark.parametrize("more", [b"data: {}\n\n", MARK + b"data: {}\n\n", b"data: [DONE] x\n\n", MARK[:-3]])
@pytest.mark.parametrize("cut", [False, True], ids=["at once", "byte by byte"])
def test_nothing_else_may_follow(more: bytes, cut: bool) -> None:
    received = ask(SAID, *([more[i : i + 1] for i in range(len(more))] if cut else [more]))
    assert received.seen.startswith(SAID + b"event: error\n")
    assert b"upstream" in received.seen.removeprefix(SAID)
