"""A script in the shapes of the Chat Completions API: one object, or a stream of chunks. Pure."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from guardproxy import strict_json
from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.scripted_agent import MODEL, Script, ScriptedCall

_CHARACTERS_A_TOKEN = 4  # a rule of thumb; what matters is that longer requests count more
_ARGUMENT_PIECE = 12  # characters of arguments in one chunk, so that every reader has to join them


def completion(tree: Mapping[str, Any], script: Script, created: int) -> JsonObject:
    """The body of an answer that is not streamed. `created` is Unix time in whole seconds."""
    choices: list[Json] = [
        {
            "index": n,
            "message": message(script, f"{digest(tree)[:12]}{n:02x}"),
            "logprobs": None,
            "finish_reason": finish_reason(script),
        }
        for n in range(_choices(tree))
    ]
    return {**_head(tree, "chat.completion", created), "choices": choices, "usage": usage(tree, script)}


def chunks(tree: Mapping[str, Any], script: Script, created: int) -> Iterator[JsonObject]:
    """The chunks of a streamed answer: roles, text, calls in pieces, the finish, usage where it was asked for."""
    head = _head(tree, "chat.completion.chunk", created)
    options = tree.get("stream_options")
    counted = isinstance(options, Mapping) and options.get("include_usage") is True
    for choice in range(_choices(tree)):
        for delta in _deltas(tree, script, choice):
            yield _chunk(head, choice, delta, None, counted)
        yield _chunk(head, choice, {}, finish_reason(script), counted)
    if counted:
        yield {**head, "choices": [], "usage": usage(tree, script)}


def events(tree: Mapping[str, Any], script: Script, created: int) -> Iterator[bytes]:
    """The same as server-sent events, with the end marker."""
    for chunk in chunks(tree, script, created):
        yield b"data: " + strict_json.encode(chunk) + b"\n\n"
    yield b"data: [DONE]\n\n"


def usage(tree: Mapping[str, Any], script: Script) -> JsonObject:
    """Rough token counts. Every byte of the messages counts, so an injected prefix shows as a rise."""
    prompt = -(-len(strict_json.encode(_plain(tree.get("messages")))) // _CHARACTERS_A_TOKEN)
    said = len(script.text) + sum(len(call.name) + len(call.arguments) for call in script.calls)
    completed = -(-said // _CHARACTERS_A_TOKEN) * _choices(tree)
    return {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed}


def _head(tree: Mapping[str, Any], kind: str, created: int) -> JsonObject:
    return {
        "id": f"chatcmpl-{digest(tree)}",
        "object": kind,
        "created": created,
        "model": MODEL,
        "system_fingerprint": "scripted",
    }


def _chunk(head: JsonObject, choice: int, delta: JsonObject, finish: str | None, counted: bool) -> JsonObject:
    body: JsonObject = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**head, "choices": [body], "usage": None} if counted else {**head, "choices": [body]}


def _deltas(tree: Mapping[str, Any], script: Script, choice: int) -> Iterator[JsonObject]:
    yield {"role": "assistant", "content": "" if script.text else None}
    for piece in re.findall(r"\S+\s*|\s+", script.text):
        yield {"content": piece}
    for index, call in enumerate(script.calls):
        yield from call_deltas(call, index, call_id(f"{digest(tree)[:12]}{choice:02x}", index))


def call_deltas(call: ScriptedCall, index: int, call_id: str) -> Iterator[JsonObject]:
    pieces = [call.arguments[at : at + _ARGUMENT_PIECE] for at in range(0, len(call.arguments), _ARGUMENT_PIECE)]
    if call.legacy:
        yield {"function_call": {"name": call.name, "arguments": ""}}
        for piece in pieces:
            yield {"function_call": {"arguments": piece}}
        return
    kind, field = ("custom", "input") if call.custom else ("function", "arguments")
    yield {"tool_calls": [{"index": index, "id": call_id, "type": kind, kind: {"name": call.name, field: ""}}]}
    for piece in pieces:
        yield {"tool_calls": [{"index": index, kind: {field: piece}}]}


def message(script: Script, id: str) -> JsonObject:
    """`id` is what the ids of its calls begin with."""
    message: JsonObject = {"role": "assistant", "content": script.text or None, "refusal": None}
    if script.calls and script.calls[0].legacy:
        first = script.calls[0]
        return {**message, "function_call": {"name": first.name, "arguments": first.arguments}}
    if script.calls:
        message["tool_calls"] = [_call(call, call_id(id, n)) for n, call in enumerate(script.calls)]
    return message


def _call(call: ScriptedCall, call_id: str) -> JsonObject:
    if call.custom:
        return {"id": call_id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def finish_reason(script: Script) -> str:
    if not script.calls:
        return "stop"
    return "function_call" if script.calls[0].legacy else "tool_calls"


def _choices(tree: Mapping[str, Any]) -> int:
    wanted = tree.get("n")
    return min(wanted, 16) if isinstance(wanted, int) and wanted > 0 else 1


def call_id(begins: str, index: int) -> str:
    return f"call_{begins}{index:02x}"


def digest(tree: Mapping[str, Any]) -> str:
    return hashlib.blake2b(strict_json.encode(_plain(tree.get("messages"))), digest_size=12).hexdigest()


def _plain(messages: object) -> Any:
    return messages if isinstance(messages, list) else []
