"""What litellm returns and raises, as plain Chat Completions trees and as errors of four fields. Pure.

litellm writes the provider's whole error body, addresses and sometimes a traceback into the text of its exceptions, so
that text is read for the four known fields like any other error body and is otherwise dropped.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from guardproxy import strict_json
from guardproxy.provider_error import ErrorFields, fields_of
from guardproxy.strict_json import Json, JsonObject

_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
_ANNOUNCEMENT = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception)\s*(?::|-)\s*)+")
_INTERNAL = re.compile(r"Traceback|File \"|<[\w.]+ object at 0x|Connect call|https?://")


def completion_tree(dumped: Mapping[str, Any]) -> JsonObject:
    """A whole answer."""
    tree: dict[str, Any] = {**dumped, "choices": [_choice(choice) for choice in dumped.get("choices") or []]}
    return _with_usage(tree)


def chunk_tree(dumped: Mapping[str, Any]) -> JsonObject:
    """One event of a streamed answer. The usage event has no choices, as in the API; litellm's has an empty one."""
    choices = [{"delta": {}, "finish_reason": None, **choice} for choice in dumped.get("choices") or []]
    if dumped.get("usage") and not any(choice["delta"] or choice["finish_reason"] for choice in choices):
        choices = []
    return _with_usage({**dumped, "choices": choices})


def finishes(tree: JsonObject) -> bool:
    """Whether a chunk ends a choice."""
    choices = cast(Iterable[JsonObject], tree["choices"])
    return any(choice.get("finish_reason") for choice in choices)


def error_fields(text: str, body: object, status: int) -> ErrorFields:
    """Of an exception: `text` is its message, `body` the provider's decoded error where litellm kept it."""
    if isinstance(body, Mapping) and (fields := fields_of({"error": dict(body)}) or fields_of(dict(body))):
        return fields
    return _from_text(text) or ErrorFields(f"the provider answered with status {status}")


def _from_text(text: str) -> ErrorFields | None:
    said = _ANNOUNCEMENT.sub("", text)
    start, end = said.find("{"), said.rfind("}")
    if start < 0:
        return None if _INTERNAL.search(said) else fields_of(said)
    inner = said[start : end + 1]
    if said[:start].endswith("b'"):  # the repr of bytes, in the middle of a message
        inner = inner.replace("\\'", "'").replace("\\\\", "\\")
    try:
        return fields_of(strict_json.decode(inner.encode(errors="replace")))
    except strict_json.MalformedJson:
        return None


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """litellm numbers the calls of a whole answer by content block; the API does not number them at all."""
    message = dict(choice.get("message") or {})
    if message.get("tool_calls"):
        message["tool_calls"] = [
            {key: value for key, value in call.items() if key != "index"} for call in message["tool_calls"]
        ]
    return {**choice, "message": {"content": None, **message}}


def _with_usage(tree: dict[str, Any]) -> JsonObject:
    """Of the usage only what the API has: litellm adds prices that it guesses."""
    usage = tree.pop("usage", None)
    if isinstance(usage, Mapping):
        tree["usage"] = {name: usage[name] for name in _USAGE if usage.get(name) is not None}
    return cast(dict[str, Json], tree)
