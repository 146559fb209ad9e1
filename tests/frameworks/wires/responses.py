"""Responses: what a request says, and an answer in the shape of api.openai.com."""

import re
from collections.abc import Iterator
from typing import Any

from guardproxy.testing.dialects import Said, SaidCall
from tests.frameworks.conversation import Conversation, Piece, Role, Tree
from tests.frameworks.wires.chat_completions import text_of

PATH = "/v1/responses"
_CREATED = 1_763_700_000


def read(tree: Tree) -> Conversation:
    items = input_items(tree)
    pieces = [piece for item in items if (piece := _piece(item)) is not None]
    calls = frozenset(item["call_id"] for item in items if item.get("type", "").endswith("_call"))
    answered = frozenset(item["call_id"] for item in items if item.get("type", "").endswith("_output"))
    return Conversation(tree["model"], pieces, dict(_tools(tree.get("tools") or [])), calls, answered)


def input_items(tree: Tree) -> list[Tree]:
    given = tree["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _piece(item: Tree) -> Piece | None:
    kind = item.get("type", "message")
    if kind.endswith("_output"):
        return Piece(Role.RESULT, text_of(item.get("output")))
    if kind != "message" or item["role"] not in ("user", "assistant"):
        return None
    return Piece(Role(item["role"]), text_of(item.get("content")))


def _tools(tools: list[Tree]) -> Iterator[tuple[str, Any]]:
    for tool in tools:
        if tool["type"] == "function":
            yield tool["name"], (tool.get("parameters") or {}).get("properties", {})


def whole(asked: Tree, id: str, said: Said) -> Tree:
    return _response(asked, id, "completed", _items(id, said))


def _response(asked: Tree, id: str, status: str, output: list[Tree]) -> Tree:
    done = status == "completed"
    settings = {"parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": []}
    nulls = dict.fromkeys(("error", "incomplete_details", "instructions", "max_output_tokens"))
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "model": asked["model"],
        "output": output,
        "usage": _usage() if done else None,
        "reasoning": {"effort": None, "summary": None},
        "text": {"format": {"type": "text"}},
        "truncation": "disabled",
        "store": asked.get("store", True),
        "previous_response_id": asked.get("previous_response_id"),
        "metadata": {},
        **settings,
        **nulls,
    }


def _usage() -> Tree:
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {"input_tokens": 21, "output_tokens": 9, "total_tokens": 30, **details}


def _items(id: str, said: Said) -> list[Tree]:
    message = [_message(id, "completed", [_text(said.text)])] if said.text else []
    return [*message, *(_call(id, call, "completed", call.arguments) for call in said.calls)]


def _message(id: str, status: str, content: list[Tree]) -> Tree:
    return {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _text(text: str) -> Tree:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(id: str, call: SaidCall, status: str, arguments: str) -> Tree:
    names = {"id": _item_id(id, call), "call_id": call.id, "name": call.name}
    return {**names, "type": "function_call", "status": status, "arguments": arguments}


def _item_id(id: str, call: SaidCall) -> str:
    return f"fc_{id}_{call.id}"


def events(asked: Tree, id: str, said: Said) -> Iterator[tuple[str, Tree]]:
    for position, tree in enumerate(_trees(asked, id, said)):
        yield tree["type"], {**tree, "sequence_number": position}


def _trees(asked: Tree, id: str, said: Said) -> Iterator[Tree]:
    yield {"type": "response.created", "response": _response(asked, id, "in_progress", [])}
    yield {"type": "response.in_progress", "response": _response(asked, id, "in_progress", [])}
    if said.text:
        yield from _message_events(id, said.text)
    for index, call in enumerate(said.calls, start=1 if said.text else 0):
        yield from _call_events(id, index, call)
    yield {"type": "response.completed", "response": _response(asked, id, "completed", _items(id, said))}


def _message_events(id: str, text: str) -> Iterator[Tree]:
    item = {"item_id": f"msg_{id}", "output_index": 0}
    part = {**item, "content_index": 0}
    yield {"type": "response.output_item.added", "output_index": 0, "item": _message(id, "in_progress", [])}
    yield {"type": "response.content_part.added", **part, "part": _text("")}
    for piece in pieces(text):
        yield {"type": "response.output_text.delta", **part, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **part, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **part, "part": _text(text)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _message(id, "completed", [_text(text)])}


def _call_events(id: str, index: int, call: SaidCall) -> Iterator[Tree]:
    item = {"item_id": _item_id(id, call), "output_index": index}
    added, done = _call(id, call, "in_progress", ""), _call(id, call, "completed", call.arguments)
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    for piece in pieces(call.arguments):
        yield {"type": "response.function_call_arguments.delta", **item, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **item, "name": call.name, "arguments": call.arguments}
    yield {"type": "response.output_item.done", "output_index": index, "item": done}


def pieces(text: str) -> list[str]:
    """As a tokenizer cuts it, more or less."""
    return re.findall(r"\s*\w+|\s*[^\w\s]+|\s+$", text)
