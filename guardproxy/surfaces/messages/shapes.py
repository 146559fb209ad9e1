"""The known fields of an answer's parts, and calls in places where this proxy does not look but some client may.

Go's encoding/json takes `Content_Block` for `content_block`, and the last of several spellings wins. The helpers of
the SDKs put the finished message into their own events. So no field may be another spelling of one that is read, and
no field that is not read may hold a call, however deep. Other unknown fields pass.
"""

from collections.abc import Mapping, Set
from typing import Any

from guardproxy.errors import UpstreamProtocolError
from guardproxy.strict_json import JsonObject


def _fields(names: str) -> frozenset[str]:
    return frozenset(names.split()) | {"type"}


EVENT_FIELDS: Mapping[str, frozenset[str]] = {
    "message_start": _fields("message usage"),  # vLLM puts the usage beside the message
    "content_block_start": _fields("index content_block"),
    "content_block_delta": _fields("index delta"),
    "content_block_stop": _fields("index"),
    "message_delta": _fields("delta usage context_management input_transformations"),
    "message_stop": _fields(""),
    "ping": _fields(""),
    "error": _fields("error request_id"),
}

END_FIELDS = frozenset({"stop_reason", "stop_sequence", "stop_details", "container"})
"""The fields of a `message_delta`'s delta."""

UNREAD_FIELDS = frozenset(
    {"usage", "stop_details", "container", "context_management", "diagnostics", "input_transformations"}
)
"""Objects around the content, which pass as they are."""

MESSAGE_FIELDS = END_FIELDS | UNREAD_FIELDS | _fields("id role content model")

_RESULT = _fields("tool_use_id content caller")
BLOCK_FIELDS: Mapping[str, frozenset[str]] = {
    "text": _fields("text citations"),
    "thinking": _fields("thinking signature"),
    "redacted_thinking": _fields("data"),
    "tool_use": _fields("id name input caller toolset_name"),
    "server_tool_use": _fields("id name input caller"),
    "mcp_tool_use": _fields("id name input server_name"),
    "mcp_tool_result": _fields("tool_use_id content is_error"),
    "web_search_tool_result": _RESULT,
    "web_fetch_tool_result": _RESULT,
    "advisor_tool_result": _RESULT,
    "code_execution_tool_result": _RESULT,
    "bash_code_execution_tool_result": _RESULT,
    "text_editor_code_execution_tool_result": _RESULT,
    "tool_search_tool_result": _RESULT,
    "container_upload": _fields("file_id"),
    "compaction": _fields("content encrypted_content signature tool_changes"),
    "fallback": _fields("from to trigger"),
    "mcp_tool_listing": _fields("mcp_server_name tools"),
}

DELTA_FIELDS: Mapping[str, frozenset[str]] = {
    "text_delta": _fields("text"),
    "input_json_delta": _fields("partial_json"),
    "citations_delta": _fields("citation"),
    "thinking_delta": _fields("thinking estimated_tokens"),
    "signature_delta": _fields("signature"),
    "compaction_delta": _fields("content encrypted_content"),
}

CITATION_FIELDS = _fields(
    "cited_text document_index document_title file_id start_char_index end_char_index start_page_number "
    "end_page_number start_block_index end_block_index url title encrypted_index source search_result_index"
)

_CALL_FIELDS = frozenset({"tool_use", "tool_calls", "function_call", "content_block", "partial_json"})
_CALL_TYPES = frozenset({"tool_use", "input_json_delta"})


def refuse_hidden_calls(tree: Mapping[str, Any], known: Set[str]) -> None:
    """Raises UpstreamProtocolError for a field beside the `known` ones that some client may read as a call."""
    if tree.keys() <= known:
        return
    for name, value in tree.items():
        if name in known:
            continue
        if name.casefold() in known:
            raise UpstreamProtocolError("the upstream sent a known field in an unusual spelling")
        if value and (name.casefold() in _CALL_FIELDS or _holds_call(value)):
            raise UpstreamProtocolError("the upstream sent a tool call where none belongs")


def refuse_nested_calls(tree: Mapping[str, Any], fields: Set[str]) -> None:
    """As `refuse_hidden_calls`, for known `fields` that pass without being read."""
    if any(_holds_call(tree[name]) for name in fields & tree.keys()):
        raise UpstreamProtocolError("the upstream sent a tool call where none belongs")


def _holds_call(tree: object) -> bool:
    match tree:
        case dict():
            return any(_is_call(name.casefold(), value) or _holds_call(value) for name, value in tree.items())
        case list():
            return any(map(_holds_call, tree))
        case _:
            return False


def _is_call(name: str, value: object) -> bool:
    if name == "type":
        return isinstance(value, str) and value.casefold() in _CALL_TYPES
    return bool(value) and name in _CALL_FIELDS


def string(value: object, name: str) -> str:
    """A string; None counts as an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UpstreamProtocolError(f"'{name}' is not a string")
    return value


def an_object(value: object, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise UpstreamProtocolError(f"'{name}' is not an object")
    return value


def type_of(tree: JsonObject, what: str) -> str:
    kind = tree.get("type")
    if not isinstance(kind, str) or not kind:
        raise UpstreamProtocolError(f"the upstream sent {what} without a type")
    return kind
