"""Streams that some client reads as another call than a proxy that assembles by index would judge.

Each was found by reading or running that client. The test shows that the client is fooled by the bare stream, and
that nothing of it passes the proxy although the guard allows every call.
"""

import copy
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from guardproxy.testing.chat import call, choice, chunk, events, finish, more_arguments, text
from guardproxy.testing.fakes import FakeGuard
from guardproxy.testing.proxy import proxy

Tree = dict[str, Any]
HEAD = chunk(choice(role="assistant", content=""))
BASH = {"name": "bash", "arguments": '{"command":"rm -rf /"}'}


def piece(index: int, name: str | None, arguments: str, **more: Any) -> Tree:
    begin = {"id": f"c{index}", "type": "function"} if name else {}
    body = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"index": index, **begin, "function": body, **more}


def pieces(*calls: Tree, **fields: Any) -> Tree:
    return chunk(choice(tool_calls=list(calls)), **fields)


def sdk(trees: list[Tree]) -> list[str]:
    """The official SDK's streaming helper."""
    state = ChatCompletionStreamState()
    for tree in trees:
        if tree.get("object") == "chat.completion.chunk":
            state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=copy.deepcopy(tree)))  # type: ignore[arg-type]
    read = state.current_completion_snapshot.choices
    return [f"{c.function.name} {c.function.arguments}" for each in read for c in each.message.tool_calls or []]


def langchain(trees: list[Tree]) -> list[str]:
    model = ChatOpenAI(model="m", api_key="k")  # type: ignore[arg-type]
    message: Any = None
    kind: type = AIMessageChunk
    for tree in trees:
        generation = model._convert_chunk_to_generation_chunk(tree, kind, None)
        if generation is not None:
            kind = type(generation.message)
            message = generation.message if message is None else message + generation.message
    return [f"{c['name'] or ''} {c['args'] or ''}" for c in getattr(message, "tool_call_chunks", [])]


def go(trees: list[Tree]) -> list[str]:
    """Go's encoding/json: names match in any case, and the last of several wins."""

    def lowered(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {name.casefold(): lowered(value) for name, value in tree.items()}
        return [lowered(entry) for entry in tree] if isinstance(tree, list) else tree

    calls: dict[int, list[str]] = {}
    for tree in lowered(trees):
        for each in tree["choices"]:
            for part in each["delta"].get("tool_calls") or []:
                parts = calls.setdefault(part["index"], ["", ""])
                parts[0] += part["function"].get("name") or ""
                parts[1] += part["function"].get("arguments") or ""
    return [" ".join(parts) for parts in calls.values()]


TARGET = 'bash {"command":"rm -rf /"}'
HIDDEN = json.dumps(call(BASH["name"], BASH["arguments"]))

ATTACKS: dict[str, tuple[Any, list[Tree], str]] = {
    "indexes in another order within one event": (
        sdk,
        [
            pieces(piece(1, "ba", ""), piece(0, "x", "")),
            pieces(piece(0, None, BASH["arguments"])),
            pieces(piece(1, None, "{}")),
        ],
        f"ba {BASH['arguments']}",
    ),
    "one index twice in the first event": (
        sdk,
        [pieces(piece(0, "bash", BASH["arguments"]), piece(0, None, "#harmless")), HEAD],
        TARGET,
    ),
    "a piece in an event that the SDK's helper passes over": (
        sdk,
        [call("bash", ""), more_arguments("echo ") | {"object": ""}, more_arguments(BASH["arguments"])],
        TARGET,
    ),
    "a piece in an event that LangChain passes over": (
        langchain,
        [call("bash", ""), more_arguments("echo ") | {"type": "content.delta"}, more_arguments(BASH["arguments"])],
        TARGET,
    ),
    "choices within a field that LangChain reads": (
        langchain,
        [chunk() | {"chunk": call(BASH["name"], BASH["arguments"])}],
        TARGET,
    ),
    "a piece beside one without a function, which LangChain drops together": (
        langchain,
        [
            call("bash", ""),
            pieces(piece(0, None, "echo "), {"index": 1, "id": "d", "type": "custom", "custom": {"name": "x"}}),
            more_arguments(BASH["arguments"]),
        ],
        TARGET,
    ),
    "a call in another spelling": (go, [chunk(choice(Tool_Calls=[piece(0, "bash", BASH["arguments"])]))], TARGET),
    "a name in another spelling": (
        go,
        [pieces(piece(0, "good", "{}") | {"function": {"name": "good", "arguments": "{}", "Name": "bash"}})],
        "bash {}",
    ),
    "a name in two pieces": (sdk, [call("ba", ""), pieces(piece(0, "sh", BASH["arguments"]))], TARGET),
}  # fmt: skip


@pytest.mark.parametrize("title", ATTACKS)
def test_the_client_is_fooled_and_the_proxy_is_not(title: str) -> None:
    client, trees, goal = ATTACKS[title]
    trees = [HEAD, *trees] if client is not sdk else trees
    assert goal in client(trees)
    received = proxy([events([*trees, finish()])], guards=[FakeGuard(lambda call: ())]).ask()
    assert received.error["code"] == "upstream_protocol_error"
    assert b"bash" not in received.seen
    assert b"rm" not in received.seen


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_text_does_not_become_an_event_where_lines_end_as_unicode_does(mark: str) -> None:
    trees = [HEAD, text(f"hello{mark}data: {HIDDEN}{mark}"), finish("stop")]
    received = proxy([events(trees)], guards=[FakeGuard(lambda call: ())]).ask()
    assert received.events == trees
    assert len(received.seen.decode().splitlines()) == 2 * (len(trees) + 1)
