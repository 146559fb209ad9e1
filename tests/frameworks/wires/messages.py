"""Messages: what a request says, and an answer in the shape of api.anthropic.com."""

import json
from collections.abc import Iterator

from guardproxy.testing.dialects import Said
from tests.frameworks.conversation import Conversation, Piece, Role, Tree
from tests.frameworks.wires.chat_completions import text_of
from tests.frameworks.wires.responses import pieces

PATH = "/v1/messages"


def read(tree: Tree) -> Conversation:
    said = [piece for message in tree["messages"] for piece in _pieces(message)]
    tools = {
        tool["name"]: tool["input_schema"].get("properties", {})
        for tool in tree.get("tools") or []
        if "input_schema" in tool
    }
    blocks = [block for message in tree["messages"] for block in _blocks_of(message)]
    calls = frozenset(block["id"] for block in blocks if block["type"] == "tool_use")
    answered = frozenset(block["tool_use_id"] for block in blocks if block["type"] == "tool_result")
    return Conversation(tree["model"], said, tools, calls, answered)


def _pieces(message: Tree) -> Iterator[Piece]:
    for block in _blocks_of(message):
        if block["type"] == "tool_result":
            yield Piece(Role.RESULT, text_of(block.get("content")))
        elif block["type"] == "text" and message["role"] in ("user", "assistant"):
            yield Piece(Role(message["role"]), block["text"])


def _blocks_of(message: Tree) -> list[Tree]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def whole(asked: Tree, id: str, said: Said) -> Tree:
    return _message(asked["model"], id, _blocks(said), _stop_reason(said), 9)


def _message(model: str, id: str, content: list[Tree], stop_reason: str | None, output_tokens: int) -> Tree:
    cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    usage = {"input_tokens": 21, "output_tokens": output_tokens, "service_tier": "standard", **cache}
    envelope = {"id": f"msg_{id}", "type": "message", "role": "assistant", "model": model, "content": content}
    return {**envelope, "stop_reason": stop_reason, "stop_sequence": None, "usage": usage}


def _stop_reason(said: Said) -> str:
    return "tool_use" if said.calls else "end_turn"


def _blocks(said: Said) -> list[Tree]:
    text = [{"type": "text", "text": said.text}] if said.text else []
    return [
        *text,
        *(
            {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": json.loads(call.arguments)}
            for call in said.calls
        ),
    ]


def _id(id: str) -> str:
    return id.replace("call_", "toolu_")


def events(asked: Tree, id: str, said: Said) -> Iterator[tuple[str, Tree]]:
    for tree in _trees(asked["model"], id, said):
        yield tree["type"], tree


def _trees(model: str, id: str, said: Said) -> Iterator[Tree]:
    yield {"type": "message_start", "message": _message(model, id, [], None, 1)}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(said)):
        yield from _block_events(index, block)
    delta = {"stop_reason": _stop_reason(said), "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Tree) -> Iterator[Tree]:
    if block["type"] == "text":
        empty, kind, field, text = block | {"text": ""}, "text_delta", "text", block["text"]
    else:
        empty, kind, field, text = block | {"input": {}}, "input_json_delta", "partial_json", json.dumps(block["input"])
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    for piece in pieces(text):
        yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: piece}}
    yield {"type": "content_block_stop", "index": index}
