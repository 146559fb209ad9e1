"""Reading an answer of chat completions, streamed or whole, as deltas. What has no single reading is refused."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import (
    CallDelta,
    CallKey,
    CallKind,
    Delta,
    FinishDelta,
    ReasoningDelta,
    TextDelta,
    UsageDelta,
)
from guardproxy.provider_error import ErrorFields, fields_of
from guardproxy.strict_json import JsonObject, encode
from guardproxy.surfaces.chat_completions.hidden import (
    BODY_FIELDS,
    CALL_FIELDS,
    CHOICE_FIELDS,
    ENVELOPE_FIELDS,
    MESSAGE_FIELDS,
    refuse_hidden_calls,
)

LEGACY_INDEX = -1
_MAX_INDEX = 1024
_REASONING_PARTS = frozenset({"thinking", "reasoning"})
TEXT_PARTS = frozenset({"text", "refusal"})
REASONING_FIELDS = ("reasoning_content", "reasoning")


def read_chunk(tree: JsonObject, choices: int) -> Sequence[Delta]:
    """One `chat.completion.chunk`. `choices` is the request's `n`."""
    usual = _read_usual(tree)
    if usual is not None:
        return usual
    deltas = _read(tree, choices, "delta")
    if any(isinstance(delta, CallDelta) for delta in deltas):
        _check_that_no_client_skips(tree)
    return deltas


def _read_usual(tree: JsonObject) -> Sequence[Delta] | None:
    """A chunk that brings choice 0 some text or some more of one function's arguments, and nothing else, as nearly all
    of them do; None for any other.

    It gives what the reading below would give, and is there because it is paid for every token.
    """
    listed = tree.get("choices")
    if type(listed) is not list or len(listed) != 1 or not tree.keys() <= _QUIET_FIELDS or tree.get("usage"):
        return None
    choice = listed[0]
    if type(choice) is not dict or not choice.keys() <= CHOICE_FIELDS["delta"]:
        return None
    delta, index = choice.get("delta"), choice.get("index")
    if type(delta) is not dict or len(delta) != 1 or type(index) is not int or index != 0:
        return None
    if choice.get("finish_reason") is not None:
        return None
    if type(text := delta.get("content")) is str:
        return (TextDelta(0, text),)
    return _read_usual_call(delta.get("tool_calls")) if tree.get("object") == _CHUNK else None


def _read_usual_call(calls: object) -> Sequence[Delta] | None:
    if type(calls) is not list or len(calls) != 1 or type(call := calls[0]) is not dict or call.keys() != _CALL_PIECE:
        return None
    index, body = call["index"], call["function"]
    if type(index) is not int or not 0 <= index < _MAX_INDEX or type(body) is not dict or body.keys() != _ARGUMENTS:
        return None
    text = body["arguments"]
    return (_NO_TEXT, CallDelta(CallKey(0, index), CallKind.FUNCTION, "", "", text)) if type(text) is str else None


_CHUNK = "chat.completion.chunk"
_QUIET_FIELDS = ENVELOPE_FIELDS - {"error"}
_CALL_PIECE = frozenset({"index", "function"})
_ARGUMENTS = frozenset({"arguments"})
_NO_TEXT = TextDelta(0, "")


def read_completion(tree: JsonObject, choices: int) -> Sequence[Delta]:
    """A whole `chat.completion`."""
    return _read(tree, choices, "message")


def _check_that_no_client_skips(tree: JsonObject) -> None:
    """The official SDK's helper passes over chunks that are called something else, LangChain over those with a type."""
    if tree.get("object") != _CHUNK or "type" in tree:
        raise UpstreamProtocolError("the upstream sent a tool call in an event that is no 'chat.completion.chunk'")


def _read(tree: JsonObject, choices: int, part: str) -> Sequence[Delta]:
    if tree.get("error") is not None:
        raise _refusal(tree)
    refuse_hidden_calls(tree, ENVELOPE_FIELDS)
    deltas: list[Delta] = []
    seen: set[int] = set()
    for choice in _objects(tree.get("choices"), "choices"):
        index = _index(choice.get("index"), choices, "choice")
        if index in seen:
            raise UpstreamProtocolError("the upstream sent one choice twice in one event")
        seen.add(index)
        deltas += _read_choice(choice, index, part, whole=part == "message")
    usage = tree.get("usage")
    if isinstance(usage, dict):
        deltas.append(UsageDelta(usage))
    return deltas


def _refusal(tree: JsonObject) -> UpstreamRefusal:
    """An error in the place of an answer, or in the midst of a stream."""
    fields = fields_of(tree) or ErrorFields("The upstream reported an error.")
    return UpstreamRefusal(502, fields.message, type=fields.type, param=fields.param, code=fields.code)


def _read_choice(choice: JsonObject, index: int, part: str, *, whole: bool) -> Iterable[Delta]:
    refuse_hidden_calls(choice, CHOICE_FIELDS[part])
    message = choice.get(part)
    if message is not None and not isinstance(message, dict):
        raise UpstreamProtocolError(f"'{part}' is not an object")
    yield from _read_message(message or {}, index, whole=whole)
    reason = choice.get("finish_reason")
    if reason is not None or whole:
        yield FinishDelta(index, _string(reason, "finish_reason"))


def _read_message(message: JsonObject, index: int, *, whole: bool) -> Iterable[Delta]:
    refuse_hidden_calls(message, MESSAGE_FIELDS)
    if message.get("role") not in (None, "", "assistant"):
        raise UpstreamProtocolError("the upstream speaks in another role than the assistant's")
    content, thoughts = _text(message.get("content"))
    yield TextDelta(index, content)
    thoughts += _reasoning(message)
    if thoughts:
        yield ReasoningDelta(index, thoughts)
    calls = _objects(message.get("tool_calls"), "tool_calls")
    if not whole and len(calls) > 1 and not all(isinstance(call.get("function"), dict) for call in calls):
        raise UpstreamProtocolError("the upstream sent pieces of tool calls of several types in one event")
    for place, call in enumerate(calls):
        yield _call_delta(call, CallKey(index, place if whole else _index(call.get("index"), _MAX_INDEX, "call")))
    legacy = message.get("function_call")
    if legacy is not None:
        yield _legacy_delta(legacy, index)


def _call_delta(call: JsonObject, key: CallKey) -> CallDelta:
    kind, call_id = call.get("type"), _string(call.get("id"), "id")
    bodies = [known for known in (CallKind.FUNCTION, CallKind.CUSTOM) if call.get(known.value) is not None]
    if len(bodies) > 1 or (bodies and kind not in (None, "", bodies[0].value)):
        raise UpstreamProtocolError("a tool call is of two types at once")
    if not bodies:
        return _bodiless_delta(call, key, kind, call_id)
    _check_call_fields(call)
    name, text = _body(call[bodies[0].value], "input" if bodies[0] is CallKind.CUSTOM else "arguments")
    return CallDelta(key, bodies[0], call_id, name, text)


def _bodiless_delta(call: JsonObject, key: CallKey, kind: object, call_id: str) -> CallDelta:
    """A delta that only brings an id or a type, or a call of a type that this version does not know."""
    if kind in ("function", "custom"):
        _check_call_fields(call)
        return CallDelta(key, CallKind(kind), call_id, "", "")
    if kind in (None, "") and call.keys() <= CALL_FIELDS:
        return CallDelta(key, None, call_id, "", "")
    if kind in (None, ""):
        raise UpstreamProtocolError("the upstream sent part of a tool call of no type")
    return CallDelta(key, CallKind.OPAQUE, call_id, _string(kind, "type"), encode(call).decode())


def _check_call_fields(call: JsonObject) -> None:
    refuse_hidden_calls(call, CALL_FIELDS)
    if any(call.get(field) for field in BODY_FIELDS):
        raise UpstreamProtocolError("the upstream sent parts of a tool call outside of its body")


def _body(body: object, text: str) -> tuple[str, str]:
    """The name in a call's body, and the arguments or the input."""
    if not isinstance(body, dict):
        raise UpstreamProtocolError("the body of a tool call is not an object")
    refuse_hidden_calls(body, BODY_FIELDS)
    return _string(body.get("name"), "name"), _string(body.get(text), text)


def _legacy_delta(call: object, choice: int) -> CallDelta:
    name, arguments = _body(call, "arguments")
    return CallDelta(CallKey(choice, LEGACY_INDEX), CallKind.LEGACY_FUNCTION, "", name, arguments)


def _text(content: object) -> tuple[str, str]:
    """The text of a message's content, and the reasoning that some servers put beside it there."""
    if not isinstance(content, list):
        return _string(content, "content"), ""
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in TEXT_PARTS | _REASONING_PARTS:
            raise UpstreamProtocolError("the upstream sent a content part of a type that is not text")
    texts = [(_string(part.get("text"), "text"), part["type"] in _REASONING_PARTS) for part in content]
    return "".join(text for text, thought in texts if not thought), "".join(text for text, thought in texts if thought)


def _reasoning(message: JsonObject) -> str:
    """Some servers say the same under both names; two different texts would be two readings."""
    said = {value for name in REASONING_FIELDS if isinstance(value := message.get(name), str) and value}
    if len(said) > 1:
        raise UpstreamProtocolError("the upstream sent two different texts as reasoning")
    return said.pop() if said else ""


def _objects(value: object, name: str) -> list[JsonObject]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise UpstreamProtocolError(f"'{name}' is not a list of objects")
    return value


def _index(value: object, below: int, what: str) -> int:
    if type(value) is not int or not 0 <= value < below:
        raise UpstreamProtocolError(f"the upstream sent a {what} with a wrong or missing index")
    return value


def _string(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UpstreamProtocolError(f"'{name}' is not a string")
    return value


def usage_of(tree: Mapping[str, Any]) -> Mapping[str, Any] | None:
    usage = tree.get("usage")
    return usage if isinstance(usage, dict) else None
