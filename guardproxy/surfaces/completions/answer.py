"""Reading an answer of completions as deltas. A chunk of a stream and a whole answer have the same shape."""

from collections.abc import Iterable, Sequence

from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal
from guardproxy.model import Delta, FinishDelta, TextDelta, UsageDelta
from guardproxy.provider_error import ErrorFields, fields_of
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.chat_completions.hidden import refuse_hidden_calls
from guardproxy.surfaces.completions.contract import CONTRACT

_ENVELOPE_FIELDS = frozenset(CONTRACT["answer fields"])
_CHOICE_FIELDS = frozenset(CONTRACT["choice fields"])
_CHAT_FIELDS = ("message", "delta")


def read(tree: JsonObject, choices: int, *, whole: bool) -> Sequence[Delta]:
    """Raises UpstreamError. `choices` is how many there are of all prompts together."""
    if tree.get("error") is not None:
        raise _refusal(tree)
    refuse_hidden_calls(tree, _ENVELOPE_FIELDS)
    deltas: list[Delta] = []
    seen: set[int] = set()
    for choice in _objects(tree.get("choices")):
        index = choice.get("index")
        if type(index) is not int or not 0 <= index < choices:
            raise UpstreamProtocolError("the upstream sent a choice with a wrong or missing index")
        if index in seen:
            raise UpstreamProtocolError("the upstream sent one choice twice in one event")
        seen.add(index)
        deltas += _read_choice(choice, index, whole=whole)
    usage = tree.get("usage")
    if isinstance(usage, dict):
        deltas.append(UsageDelta(usage))
    return deltas


def _read_choice(choice: JsonObject, index: int, *, whole: bool) -> Iterable[Delta]:
    refuse_hidden_calls(choice, _CHOICE_FIELDS)
    if any(choice.get(field) is not None for field in _CHAT_FIELDS):
        raise UpstreamProtocolError("the upstream sent a message in the place of a completion")
    yield TextDelta(index, _string(choice.get("text"), "text"))
    reason = choice.get("finish_reason")
    if whole and not reason:
        raise UpstreamProtocolError("the upstream's answer holds a choice that has not finished")
    if reason is not None:
        yield FinishDelta(index, _string(reason, "finish_reason"))


def _refusal(tree: JsonObject) -> UpstreamRefusal:
    """An error in the place of an answer, or in the midst of a stream."""
    fields = fields_of(tree) or ErrorFields("The upstream reported an error.")
    return UpstreamRefusal(502, fields.message, type=fields.type, param=fields.param, code=fields.code)


def _objects(value: object) -> list[JsonObject]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise UpstreamProtocolError("'choices' is not a list of objects")
    return value


def _string(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UpstreamProtocolError(f"'{name}' is not a string")
    return value
