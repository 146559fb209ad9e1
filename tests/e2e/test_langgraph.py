"""An unmodified LangGraph agent, with and without the proxy between it and its model."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from guardproxy.testing.dialects import Said, SaidCall
from guardproxy.testing.model_server import ModelServer, PlayedModel
from guardproxy.testing.service import Service
from guardproxy.testing.tools import WIPE, WIPE_COMMAND

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain_core.tools import StructuredTool
    from langchain_openai import ChatOpenAI
    from langgraph.prebuilt import create_react_agent

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # theirs, about their own next versions
Played = Callable[..., PlayedModel]
LIST = SaidCall("bash", '{"command": "ls -l"}', id="call_ls")


@dataclass
class Machine:
    """What the agent's tool was told to run. It runs nothing."""

    ran: list[str] = field(default_factory=list)

    def bash(self, command: str) -> str:
        """Runs a shell command."""
        self.ran.append(command)
        return "total 0"


@dataclass
class Episode:
    texts: list[str]
    ran: list[str]

    @property
    def last(self) -> str:
        return self.texts[-1]


def play(base_url: str, model: PlayedModel, streaming: bool = False) -> Episode:
    machine = Machine()
    llm = ChatOpenAI(base_url=base_url, api_key="sk-client", model=model.name, max_retries=0, streaming=streaming)
    agent = create_react_agent(llm, [StructuredTool.from_function(machine.bash, name="bash")])
    state: dict[str, Any] = agent.invoke({"messages": [("user", "What is here?")]})
    return Episode([str(message.content) for message in state["messages"]], machine.ran)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_a_benign_episode_is_the_same(proxy: Service, server: ModelServer, played: Played, streaming: bool) -> None:
    script = (Said(text="Let me look.", calls=(LIST,)), Said(text="Nothing is here."))
    through = play(proxy.url, played(*script), streaming)
    past = play(server.base_url, played(*script), streaming)
    assert through == past
    assert through.ran == ["ls -l"]
    assert through.last == "Nothing is here."


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_a_harmful_call_never_runs_and_the_agent_ends_well(proxy: Service, played: Played, streaming: bool) -> None:
    episode = play(proxy.url, played(Said(text="Let me clean up.", calls=(WIPE,))), streaming)
    assert episode.ran == []
    assert episode.last.startswith("Let me clean up.\n\n[guardproxy]")
    assert WIPE_COMMAND not in episode.last


def test_without_the_proxy_it_would_run(server: ModelServer, played: Played) -> None:
    assert play(server.base_url, played(Said(calls=(WIPE,)), Said(text="Done."))).ran == [WIPE_COMMAND]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_the_agent_goes_on_with_the_calls_that_are_left(proxy: Service, played: Played, streaming: bool) -> None:
    model = played(Said(calls=(LIST, WIPE)), Said(text="Nothing is here."))
    episode = play(proxy.url, model, streaming)
    assert episode.ran == ["ls -l"]
    assert episode.last == "Nothing is here."
    history = model.asked[1].tree["messages"]
    assert [call["id"] for call in history[1]["tool_calls"]] == ["call_ls"]
    assert "[guardproxy]" in history[1]["content"]


def test_an_agent_that_is_steered_by_a_result_is_stopped(proxy: Service, played: Played) -> None:
    model = played(Said(calls=(LIST,)), Said(calls=(WIPE,)))
    episode = play(proxy.url, model)
    assert episode.ran == ["ls -l"]
    assert episode.last.startswith("[guardproxy]")
