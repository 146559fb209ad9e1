"""Builders for the Messages API: requests, the events of a stream, and whole messages."""

import json
from collections.abc import Iterable
from typing import Any

from guardproxy.stream.frame import Frame
from guardproxy.testing.script import encode_frames

Tree = dict[str, Any]

USAGE: Tree = {"input_tokens": 25, "output_tokens": 1}
START: Tree = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": USAGE,
    },
}
STOP: Tree = {"type": "message_stop"}
PING: Tree = {"type": "ping"}


def request(stream: bool = True, **fields: Any) -> Tree:
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in ("good", "bad")]
    messages = [{"role": "user", "content": "Go on."}]
    return {"model": "m", "max_tokens": 100, "messages": messages, "tools": tools, "stream": stream} | fields


def begin(index: int, kind: str, **fields: Any) -> Tree:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def text(index: int = 0, said: str = "") -> Tree:
    return begin(index, "text", text=said)


def call(index: int = 0, name: str = "good", **fields: Any) -> Tree:
    return begin(index, "tool_use", **{"id": f"toolu_{index}", "name": name, "input": {}} | fields)


def add(index: int, kind: str, **fields: Any) -> Tree:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def word(index: int, said: str) -> Tree:
    return add(index, "text_delta", text=said)


def piece(index: int, partial_json: object) -> Tree:
    return add(index, "input_json_delta", partial_json=partial_json)


def end(index: int = 0) -> Tree:
    return {"type": "content_block_stop", "index": index}


def finish(reason: str | None = "end_turn", **usage: Any) -> Tree:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 15} | usage}


def message(*content: Tree, reason: str | None = "end_turn", **fields: Any) -> Tree:
    return {**START["message"], "content": list(content), "stop_reason": reason} | fields


def events(trees: Iterable[Tree]) -> bytes:
    """The bytes of a stream, every event under the name of its type."""
    return encode_frames(Frame(tree, tree["type"]) for tree in trees)


def body(tree: Tree) -> bytes:
    return json.dumps(tree).encode()
