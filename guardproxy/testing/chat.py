"""Pieces of chat completions answers, for tests: chunks, whole answers, and their bytes."""

import json
from collections.abc import Iterable
from typing import Any

Tree = dict[str, Any]


def chunk(*choices: Tree, **fields: Any) -> Tree:
    """One `chat.completion.chunk`."""
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**envelope, "choices": list(choices), **fields}


def choice(index: int = 0, finish: str | None = None, **delta: Any) -> Tree:
    """One choice of a chunk; its delta's fields are given by name."""
    return {"index": index, "delta": delta, "finish_reason": finish}


def text(content: str, index: int = 0) -> Tree:
    """A chunk that brings text."""
    return chunk(choice(index, content=content))


def finish(reason: str = "tool_calls", index: int = 0) -> Tree:
    """A chunk that ends a choice."""
    return chunk(choice(index, reason))


def call(name: str, arguments: str, *, index: int = 0, id: str | None = None, choice_index: int = 0) -> Tree:
    """A chunk that brings a whole function call."""
    piece = {"index": index, "id": id or f"call_{choice_index}_{index}", "type": "function"}
    return chunk(choice(choice_index, tool_calls=[piece | {"function": {"name": name, "arguments": arguments}}]))


def more_arguments(arguments: str, *, index: int = 0, choice_index: int = 0) -> Tree:
    """A chunk that brings a further piece of a function call."""
    return chunk(choice(choice_index, tool_calls=[{"index": index, "function": {"arguments": arguments}}]))


def usage(prompt: int = 3, completion: int = 4) -> Tree:
    """The chunk that ends a stream with `include_usage`."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return chunk(usage=counts)


def events(trees: Iterable[object], *, done: bool = True) -> bytes:
    """The bytes of a stream."""
    data = "".join(f"data: {json.dumps(tree)}\n\n" for tree in trees)
    return (data + "data: [DONE]\n\n" * done).encode()


def completion(*messages: Tree, finish_reason: str = "tool_calls", **fields: Any) -> Tree:
    """A whole `chat.completion` with one choice for each message."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish_reason}
        for i, message in enumerate(messages)
    ]
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **fields}


def whole_call(name: str, arguments: str, id: str = "call_0") -> Tree:
    """One entry of a whole message's `tool_calls`."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def body(tree: object) -> bytes:
    return json.dumps(tree).encode()


def request(*, stream: bool = True, **fields: Any) -> Tree:
    """A client's request."""
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream, **fields}
