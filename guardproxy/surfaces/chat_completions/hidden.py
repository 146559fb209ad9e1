"""Calls where this proxy does not read them but some client may.

Go's encoding/json takes `Tool_Calls` for `tool_calls`, and the last of several spellings wins. LangChain reads the
choices of an event's `chunk` where its own are empty. So no field may be another spelling of one that is read, and
no field that is not read may hold a call, however deep. Other unknown fields pass.
"""

from collections.abc import Mapping, Set
from typing import Any

from guardproxy.errors import UpstreamProtocolError

_CALLS = frozenset({"tool_calls", "function_call"})

ENVELOPE_FIELDS = frozenset(
    {
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "system_fingerprint",
        "service_tier",
        "error",
        "obfuscation",
    }
)
_CHOICE_FIELDS = frozenset({"index", "finish_reason", "logprobs"})
CHOICE_FIELDS = {part: _CHOICE_FIELDS | {part} for part in ("delta", "message")}
MESSAGE_FIELDS = (
    frozenset({"role", "content", "refusal", "reasoning", "reasoning_content", "annotations", "audio"}) | _CALLS
)
CALL_FIELDS = frozenset({"index", "id", "type", "function", "custom"})
BODY_FIELDS = frozenset({"name", "arguments", "input"})


def refuse_hidden_calls(tree: Mapping[str, Any], known: Set[str]) -> None:
    """Raises UpstreamProtocolError for a field beside the `known` ones that some client may read as a call."""
    if tree.keys() <= known:
        return
    for name, value in tree.items():
        if name in known:
            continue
        if name.casefold() in known:
            raise UpstreamProtocolError("the upstream sent a known field in an unusual spelling")
        if value and (name.casefold() in _CALLS or _holds_call(value)):
            raise UpstreamProtocolError("the upstream sent a tool call where none belongs")


def _holds_call(tree: object) -> bool:
    match tree:
        case dict():
            return any((name.casefold() in _CALLS and value) or _holds_call(value) for name, value in tree.items())
        case list():
            return any(map(_holds_call, tree))
        case _:
            return False
