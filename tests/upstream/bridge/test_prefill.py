"""A Messages request that ends with the beginning of the answer, before chat servers of all kinds."""

import asyncio
import json

import pytest
from anthropic import Anthropic

from guardproxy.model import Position
from guardproxy.prefix.capability import Capability, continues
from guardproxy.testing import chat
from guardproxy.testing.fakes import FakeUpstream
from guardproxy.testing.model_server import Answer, model_server
from guardproxy.testing.service import serving
from guardproxy.upstream.bridge import BridgedUpstream
from guardproxy.upstream.bridge.prefill import prefill_of, with_prefill_marked
from guardproxy.upstream.upstream import UpstreamRequest

BEGUN = "The answer is"
SAID = [{"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": BEGUN}]
MARK = {"continue_final_message": True, "add_generation_prompt": False}
FLAG = {"role": "assistant", "content": BEGUN, "prefix": True}


def ask(*plays, capability=None, said=SAID, stream=False):
    """What the chat server was asked, and what the bridge made of its answer."""
    inner = FakeUpstream([plays])
    tree = {"model": "m", "max_tokens": 9, "messages": said} | ({"stream": True} if stream else {})

    async def run():
        upstream = BridgedUpstream(inner, capability=capability)
        async with upstream.open(UpstreamRequest("/messages", tree=tree, stream=stream)) as reply:
            return b"".join([piece async for piece in reply.chunks()])

    body = asyncio.run(run())
    return inner.asked[0].tree, body


def whole(*texts, **options):
    answer = chat.completion({"content": "".join(texts)}, finish_reason="stop")
    asked, body = ask(chat.body(answer), **options)
    return asked, "".join(block["text"] for block in json.loads(body)["content"])


def streamed(*texts, finish="stop", more=(), **options):
    events = chat.events([*map(chat.text, texts), *more, chat.finish(finish)])
    body = ask(events, stream=True, **options)[1].decode()
    deltas = [json.loads(line[6:]).get("delta", {}) for line in body.splitlines() if line.startswith("data: ")]
    return "".join(delta.get("text", "") for delta in deltas), body


@pytest.mark.parametrize(
    ("capability", "marked"),
    [
        *((Capability(server=server), MARK) for server in ("vllm", "sglang", "tgi", "llamacpp")),
        (Capability("continue_final_message"), MARK),
        (Capability("continue_final_message", "deepseek"), MARK),
        *((Capability(server=server), FLAG) for server in ("deepseek", "mistral")),
        (Capability("prefix_flag", "vllm"), FLAG),
        *((Capability(server=server), {}) for server in ("ollama", "openai", "anthropic", "gemini", "unknown")),
        *((Capability(prefill, "vllm"), {}) for prefill in ("trailing_assistant", "instruction", "off")),
        (None, {}),
    ],
    ids=lambda value: "-".join((value.prefill, value.server)) if isinstance(value, Capability) else "",
)
def test_a_server_is_told_to_go_on_as_it_wants_to_be_told(capability, marked):
    asked, text = whole(" 42.", capability=capability)
    plain = ask(chat.body(chat.completion({"content": "x"}, finish_reason="stop")), said=SAID[:1])[0]
    assert text == " 42."
    last = marked if marked is FLAG else SAID[1]
    assert asked == plain | {"messages": [SAID[0], last]} | (marked if marked is MARK else {})


@pytest.mark.parametrize(
    "said",
    [
        SAID[:1],
        [*SAID, {"role": "user", "content": "go on"}],
        [SAID[0], {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}],
        [SAID[0], {"role": "assistant", "content": ""}],
    ],
    ids=["question", "earlier turn", "call", "empty"],
)
@pytest.mark.parametrize("server", ["vllm", "deepseek"])
def test_what_begins_no_answer_is_not_marked(said, server):
    asked, text = whole(BEGUN, " 42.", capability=Capability(server=server), said=said)
    assert not MARK.keys() & asked.keys()
    assert not any("prefix" in message for message in asked["messages"])
    assert text == f"{BEGUN} 42."


def test_a_request_that_is_marked_is_another_one():
    request = {"messages": list(SAID)}
    for position in Position:
        with_prefill_marked(request, position)
    assert request == {"messages": SAID}
    assert prefill_of(request) == BEGUN


@pytest.mark.parametrize("model", ["qwen3-8b", "deepseek-r1"])
def test_a_client_that_begins_the_answer_of_a_thinking_model_is_taken_at_its_word(model):
    assert continues(Capability(server="vllm"), model) is Position.CONTINUE_FINAL_MESSAGE


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        ([BEGUN, " 42."], " 42."),
        ([f"{BEGUN} 42."], " 42."),
        ([*f"{BEGUN} 42."], " 42."),
        ([f" {BEGUN} 42."], " 42."),
        ([BEGUN], ""),
        ([" 42."], " 42."),
        (["The an", "t."], "The ant."),
        (["The"], "The"),
        ([f"42. {BEGUN}"], f"42. {BEGUN}"),
        ([], ""),
    ],
    ids=lambda value: "",
)
def test_the_beginning_that_a_server_says_again_is_no_part_of_the_answer(texts, shown):
    assert whole(*texts)[1] == shown
    assert streamed(*texts)[0] == shown


def test_text_that_waited_comes_before_a_call():
    text, body = streamed("The", more=[chat.call("f", "{}", id="c")], finish="tool_calls")
    assert text == "The"
    assert body.index('"The"') < body.index("tool_use")


@pytest.mark.e2e
def test_the_program_follows_its_configuration(tmp_path):
    config = """
upstreams:
  - {{name: flagged, base_url: "{url}", models: ["flagged-*"], server: deepseek, serves: [chat_completions]}}
  - {{name: told, base_url: "{url}", models: ["told-*"], prefill: continue_final_message}}
  - {{name: unknown, base_url: "{url}"}}
guards: {{classifier: {{enabled: false}}}}
"""
    answer = Answer(chat.body(chat.completion({"content": " 42."}, finish_reason="stop")))
    with model_server() as server, serving(tmp_path, config.format(url=server.base_url)) as service:
        models = [server.model(answer, family=family) for family in ("flagged", "told", "unknown")]
        with Anthropic(base_url=service.url.removesuffix("/v1"), api_key="none", max_retries=0) as client:
            for model in models:
                message = client.messages.create(model=model.name, max_tokens=9, messages=SAID)
                assert message.content[0].text == " 42."
    flagged, told, unknown = (model.asked[0].tree for model in models)
    assert (flagged["messages"][-1], MARK.keys() & flagged.keys()) == (FLAG, set())
    assert (told["messages"][-1], MARK.items() <= told.items()) == (SAID[1], True)
    assert (unknown["messages"][-1], MARK.keys() & unknown.keys()) == (SAID[1], set())
