"""Where a prefix goes in is found out, not looked up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from guardproxy.errors import UpstreamRefusal
from guardproxy.model import Position
from guardproxy.offline.learn.asking import Asker, Meter, Pace, Patience, Unanswered
from guardproxy.offline.learn.preflight import Found, NoPosition, find_position
from guardproxy.prefix.capability import Capability
from guardproxy.testing.chat import body, completion
from guardproxy.testing.fakes import FakeReply
from guardproxy.upstream.upstream import UpstreamRequest


class Server:
    """Goes on from a prefix at `takes`, refuses the positions of `refuses` and begins anew at the others."""

    name = "fake"
    remembers = True

    def __init__(self, takes: Any = (), refuses: Any = (), refuses_beside_tools: Any = (), status: int = 400) -> None:
        self.takes, self.refuses, self.beside_tools, self.status = takes, refuses, refuses_beside_tools, status
        self.asked: list[Position | None] = []

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncIterator[FakeReply]:
        tree = request.tree or {}
        position = self._position(tree)
        self.asked.append(position)
        if position in self.refuses or ("tools" in tree and position in self.beside_tools):
            raise UpstreamRefusal(self.status, "prefill is not supported")
        text = "Which sentence?"
        if position in self.takes and "tools" not in tree:
            text = tree["messages"][-1]["content"].split("-")[1].split(".")[0]
        elif position is not None:
            text = "How can I help?"
        yield FakeReply([body(completion({"content": text}, finish_reason="stop"))], "application/json")

    @staticmethod
    def _position(tree: Any) -> Position | None:
        last = tree["messages"][-1]
        if "resolution" in json.dumps(tree["messages"][0]):
            return Position.INSTRUCTION
        if last["role"] != "assistant":
            return Position.SUFFIX if "step by step" in last["content"] else None
        if "continue_final_message" in tree:
            return Position.CONTINUE_FINAL_MESSAGE
        return Position.PREFIX_FLAG if last.get("prefix") else Position.TRAILING_ASSISTANT

    async def start(self) -> None: ...

    async def close(self) -> None: ...


CONTINUE, FLAG, TRAILING = Position.CONTINUE_FINAL_MESSAGE, Position.PREFIX_FLAG, Position.TRAILING_ASSISTANT


def found(server: Server, task: Any, capability: Capability, wanted: Position | None = None, model: str = "m") -> Found:
    asker = Asker(server, model, Meter(), Pace(), Patience(tries=3, first_s=0.001))
    return asyncio.run(find_position(asker, capability, wanted, task))


def test_what_the_server_is_known_for(task) -> None:
    assert found(Server(takes=[CONTINUE]), task(), Capability(server="vllm")) == Found(
        CONTINUE, (), found(Server(takes=[CONTINUE]), task(), Capability(server="vllm")).spent
    )


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (Server(refuses=[CONTINUE]), "refused with status 400"),
        (Server(refuses=[CONTINUE], status=500), "the server fails on it"),
        (Server(takes=[CONTINUE], refuses_beside_tools=[CONTINUE]), "refused beside tools with status 400"),
        (Server(takes=[CONTINUE], refuses_beside_tools=[CONTINUE], status=500), "the server fails on it"),
    ],
    ids=["refused", "raises", "beside tools", "raises beside tools"],
)
def test_a_position_that_is_refused_is_left_for_the_suffix(task, server: Server, why: str) -> None:
    result = found(server, task(), Capability(server="vllm"))
    assert result.position is Position.SUFFIX
    assert result.notes[0] == f"continue_final_message: {why}"
    assert "a suffix of the user's words, which is weaker" in result.notes[-1]
    assert server.asked[-1] is Position.SUFFIX, "that one is tried, too"


def test_where_nothing_is_known_each_is_tried_until_one_is_shown(task) -> None:
    server = Server(takes=[TRAILING], refuses=[FLAG])
    result = found(server, task(), Capability())
    assert result.position is TRAILING
    assert [note.split(":")[0] for note in result.notes[:2]] == ["continue_final_message", "prefix_flag"]
    assert "went on" not in result.notes[-1]
    assert "`prefill: trailing_assistant`" in result.notes[-1]


def test_what_nobody_knows_and_nothing_shows_is_not_used(task) -> None:
    assert found(Server(), task(), Capability()).position is Position.SUFFIX


def test_the_operators_word(task) -> None:
    assert found(Server(takes=[FLAG]), task(), Capability(), wanted=FLAG).position is FLAG
    assert found(Server(refuses=[FLAG]), task(), Capability(), wanted=FLAG).position is Position.SUFFIX
    assert found(Server(), task(), Capability("instruction")).position is Position.INSTRUCTION
    for wanted in (Position.INSTRUCTION, Position.SUFFIX):
        server = Server(takes=[CONTINUE])
        result = found(server, task(), Capability(server="vllm"), wanted=wanted)
        assert (result.position, result.notes, server.asked) == (wanted, (), [wanted])


def test_a_model_that_thinks_first_gets_an_instruction(task) -> None:
    server = Server(takes=[CONTINUE])
    assert found(server, task(), Capability(), model="o3").position is Position.INSTRUCTION
    assert server.asked == [Position.INSTRUCTION]


def test_off_is_off(task) -> None:
    with pytest.raises(NoPosition):
        found(Server(), task(), Capability(prefill="off"))


def test_a_rate_limit_shows_nothing(task) -> None:
    with pytest.raises(Unanswered) as caught:
        found(Server(refuses=[CONTINUE], status=429), task(), Capability(server="vllm"))
    assert caught.value.cause == "rate_limited"
