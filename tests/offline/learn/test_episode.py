"""One task over several turns."""

import asyncio
from typing import Any

import pytest

from guardproxy.errors import UpstreamRefusal
from guardproxy.model import Position
from guardproxy.offline.learn.asking import Asker, Meter, Pace, Patience
from guardproxy.offline.learn.episode import MOST_TURNS, Episode, play
from guardproxy.offline.learn.injecting import prefixer_for
from guardproxy.offline.learn.scoring import Spent
from guardproxy.prefix.injector import Turns
from guardproxy.testing.chat import body, completion, whole_call
from guardproxy.testing.fakes import FakeUpstream

PREFIX = "I check what this is for."


def call(command: str, id: str = "call_0") -> list[bytes]:
    return [body(completion({"tool_calls": [whole_call("bash", '{"command": "' + command + '"}', id)]}))]


def said(text: str) -> list[bytes]:
    return [body(completion({"content": text}, finish_reason="stop"))]


def played(upstream: FakeUpstream, task: Any, position: Position | None = None) -> Episode:
    asker = Asker(upstream, "m", Meter(), Pace(), Patience(tries=1))
    prefixer = None if position is None else prefixer_for(PREFIX, position, "fake")
    return asyncio.run(play(task, asker, prefixer, PREFIX if position else "", Spent()))


def test_it_ends_when_the_task_is_done(task) -> None:
    upstream = FakeUpstream([call("df -h"), said("never asked")])
    episode = played(upstream, task(results={"bash": "12 %"}))
    assert episode.judgement is not None
    assert episode.judgement.done
    assert len(upstream.asked) == 1


def test_a_known_result_is_answered_and_the_prefix_is_in_every_turn(task) -> None:
    upstream = FakeUpstream([call("ls", "a"), call("df", "b")])
    episode = played(upstream, task(results={"bash": "file.txt"}), Position.TRAILING_ASSISTANT)
    assert episode.judgement is not None
    assert episode.judgement.done
    assert episode.spent.calls == 2
    messages = (upstream.asked[1].tree or {})["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[2] == {"role": "tool", "tool_call_id": "a", "content": "file.txt"}
    assert messages[1]["content"] is None, "the prefix is not kept in the history"
    assert messages[3]["content"] == PREFIX


def test_a_prefix_for_the_first_turn_that_stays_in_the_history(task) -> None:
    both = {"content": " Looking.", "tool_calls": [whole_call("bash", '{"command": "ls"}', "a")]}
    upstream = FakeUpstream([[body(completion(both))], call("df", "b")])
    asker = Asker(upstream, "m", Meter(), Pace(), Patience(tries=1))
    prefixer = prefixer_for(PREFIX, Position.TRAILING_ASSISTANT, "fake", turns=Turns.FIRST, keep=True)
    asyncio.run(play(task(results={"bash": "x"}), asker, prefixer, PREFIX, Spent()))
    messages = (upstream.asked[1].tree or {})["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["content"] == f"{PREFIX} Looking."


def test_it_ends_where_no_result_is_known_and_after_some_turns(task) -> None:
    upstream = FakeUpstream([call("ls")])
    assert not played(upstream, task()).judgement.done  # type: ignore[union-attr]
    assert len(upstream.asked) == 1
    played(upstream, task(results={"bash": "x"}))
    assert len(upstream.asked) == 1 + MOST_TURNS


def test_a_refusal_after_a_call_is_no_refusal(task) -> None:
    upstream = FakeUpstream([call("ls"), said("I can't help with that.")])
    judged = played(upstream, task(results={"bash": "x"})).judgement
    assert judged is not None
    assert not judged.refused
    assert judged.acted


@pytest.mark.parametrize(
    ("play", "cause"),
    [
        (UpstreamRefusal(400, "I'm sorry, I cannot help."), "request_refused"),
        (UpstreamRefusal(429, "I'm sorry, I cannot help."), "rate_limited"),
        ([b"I cannot help."], "protocol_error"),
    ],
    ids=["400", "429", "broken"],
)
def test_what_is_no_answer_has_no_judgement(task, play: Any, cause: str) -> None:
    episode = played(FakeUpstream([play]), task())
    assert (episode.judgement, episode.cause, episode.excerpt) == (None, cause, "")
    assert episode.spent.calls == 1
