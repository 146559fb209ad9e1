"""Asking the model again, and other things that an operator's own pack says."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import OpenAI

from guardproxy.testing.dialects import Said, SaidCall
from guardproxy.testing.model_server import ModelServer, PlayedModel
from guardproxy.testing.service import Service, serving
from guardproxy.testing.tools import TOOLS

ASKED = [{"role": "user", "content": "Tidy up."}]
Played = Callable[..., PlayedModel]
PACK = """
version: 1
pack: own
rules:
  - id: prefer-trash
    description: Files go to the trash.
    tools: bash
    command: {program: rm}
    verdict: reask
    code: prefer_trash
    advice: Use `trash` instead of `rm`.
  - id: dry-run
    description: A deployment is always a dry run.
    tools: bash
    command: {program: deploy}
    verdict: rewrite
    rewrite: {command: deploy --dry-run}
    code: dry_run
  - id: only-watched
    description: Is told, and let pass.
    tools: bash
    command: {program: curl}
    mode: monitor
    code: watched
tests:
  - name: rm is asked again
    call: {tool: bash, arguments: {command: rm x}}
    expect: reask
"""
CONFIG = """
upstreams: [{{base_url: "{base_url}"}}]
guards: {{classifier: {{enabled: false}}}}
policy: [own.yaml]
"""


def bash(command: str, id: str = "call_1") -> SaidCall:
    return SaidCall("bash", f'{{"command": "{command}"}}', id=id)


@pytest.fixture(scope="module")
def own_proxy(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("own")
    (directory / "own.yaml").write_text(PACK)
    with serving(directory, CONFIG.format(base_url=server.base_url)) as running:
        yield running


@pytest.fixture(scope="module")
def own_client(own_proxy: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=own_proxy.url, api_key="sk-client", max_retries=0, timeout=20) as client:
        yield client


def ask(client: OpenAI, model: PlayedModel, stream: bool, **more: Any) -> Any:
    """The final completion, however it comes."""
    asked = {"model": model.name, "messages": ASKED, "tools": TOOLS, **more}
    if not stream:
        return client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
        return events.get_final_completion()


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both_ways
def test_the_second_try_is_used(own_client: OpenAI, played: Played, stream: bool) -> None:
    model = played(Said(text="I tidy. ", calls=(bash("rm x"),)), Said(calls=(bash("trash x", "call_2"),)))
    answer = ask(own_client, model, stream)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.id, call.function.arguments) == ("call_2", '{"command": "trash x"}')
    assert answer.choices[0].finish_reason == "tool_calls"
    assert "rm x" not in answer.to_json()


@both_ways
def test_the_model_is_told_why_and_every_call_has_a_result(own_client: OpenAI, played: Played, stream: bool) -> None:
    model = played(Said(calls=(bash("ls", "call_a"), bash("rm x", "call_b"))), Said(text="Then not."))
    answer = ask(own_client, model, stream)
    assert answer.choices[0].message.content == "Then not."
    *_, assistant, first, second = model.asked[1].tree["messages"]
    assert [call["id"] for call in assistant["tool_calls"]] == ["call_a", "call_b"]
    assert [message["tool_call_id"] for message in (first, second)] == ["call_a", "call_b"]
    assert "trash" in second["content"]


@both_ways
def test_usage_is_the_sum_of_the_tries(own_client: OpenAI, played: Played, stream: bool) -> None:
    model = played(Said(calls=(bash("rm x"),)), Said(text="Then not."))
    assert ask(own_client, model, stream).usage.prompt_tokens == 42


@both_ways
def test_the_same_again_stays_blocked(own_client: OpenAI, played: Played, stream: bool) -> None:
    model = played(Said(calls=(bash("rm x"),)))
    answer = ask(own_client, model, stream)
    assert not answer.choices[0].message.tool_calls
    assert "[guardproxy]" in answer.choices[0].message.content
    assert len(model.asked) == 2


@both_ways
def test_a_forced_call_is_blocked_and_not_asked_again(own_client: OpenAI, played: Played, stream: bool) -> None:
    model = played(Said(calls=(bash("rm x"),)))
    answer = ask(own_client, model, stream, tool_choice="required")
    assert not answer.choices[0].message.tool_calls
    assert len(model.asked) == 1


def test_the_whole_story_is_recorded(own_client: OpenAI, own_proxy: Service, played: Played) -> None:
    model = played(Said(calls=(bash("rm x"),)), Said(calls=(bash("trash x"),)))
    raw = own_client.chat.completions.with_raw_response.create(model=model.name, messages=ASKED, tools=TOOLS)
    record = own_proxy.record(raw.headers["x-guardproxy-decision-id"])
    assert [attempt["action"] for attempt in record["attempts"]] == ["reask", "allow"]
    assert raw.headers["x-guardproxy-decision"] == "allow"


@both_ways
def test_a_rewritten_call(own_client: OpenAI, played: Played, stream: bool) -> None:
    answer = ask(own_client, played(Said(text="Now.", calls=(bash("deploy --now"),))), stream)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.arguments == '{"command":"deploy --dry-run"}'


def test_a_monitored_rule_lets_pass_and_is_recorded(own_client: OpenAI, own_proxy: Service, played: Played) -> None:
    model = played(Said(calls=(bash("curl x.example"),)))
    raw = own_client.chat.completions.with_raw_response.create(model=model.name, messages=ASKED, tools=TOOLS)
    assert raw.parse().choices[0].message.tool_calls
    record = own_proxy.record(raw.headers["x-guardproxy-decision-id"])
    assert (record["verdict"], record["action"]) == ("block", "allow")
    (finding,) = record["attempts"][0]["calls"][0]["findings"]
    assert (finding["rule"], finding["mode"]) == ("only-watched", "monitor")
