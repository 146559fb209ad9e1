"""An error body, rebuilt from nothing but message, type, param and code. Pure.

Providers put more than that into an error: one of them returns the tool call that it could not parse as
`failed_generation` in a 400 (Groq's documentation of tool use). No field but these four is ever read, so none can
carry a call past the guards. The message is free text and is kept: a provider that quotes a call in the *message*
still shows it to the client as prose, like any other text that a model server sends, never as a call.
"""

import re
from dataclasses import dataclass

from guardproxy import strict_json
from guardproxy.strict_json import Json, JsonObject

MAX_TEXT = 2000  # characters of each field

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class ErrorFields:
    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None


def read_error(body: bytes, content_type: str, status: int) -> ErrorFields:
    """The four fields of an error answer, whatever its shape; a general message where none can be read."""
    fields = _from_json(body) or (_from_text(body) if content_type.startswith("text/plain") else None)
    return fields or ErrorFields(f"the model server answered with status {status}")


def fields_of(tree: Json) -> ErrorFields | None:
    """Of a decoded error: OpenAI and Anthropic nest it under `error`, vLLM did not, FastAPI says `detail`."""
    match tree:
        case [first, *_]:  # Gemini's OpenAI-compatible endpoint wraps the object in a list
            return fields_of(first) if isinstance(first, dict) else None
        case {"error": dict(inner)}:
            return _from_object(inner)
        case dict() if isinstance(tree.get("message"), str):
            return _from_object(tree)
        case {"error": str(message)} | {"detail": str(message)} | str(message):
            text = _text(message)
            return ErrorFields(text, _text(_get(tree, "error_type"))) if text else None
        case {"detail": list(details)}:
            return _from_validation(details)
        case _:
            return None


def _from_json(body: bytes) -> ErrorFields | None:
    try:
        return fields_of(strict_json.decode(body))
    except strict_json.MalformedJson:
        return None


def _from_text(body: bytes) -> ErrorFields | None:
    message = _text(body.decode(errors="replace"))
    return ErrorFields(message) if message else None


def _from_object(error: JsonObject) -> ErrorFields | None:
    message = _text(error.get("message"))
    if not message:
        return None
    return ErrorFields(message, _text(error.get("type")), _text(error.get("param")), _text(error.get("code")))


def _from_validation(details: list[Json]) -> ErrorFields | None:
    """FastAPI's list of faults. `input`, which repeats what was sent, is left out."""
    messages = [_text(detail.get("msg")) for detail in details if isinstance(detail, dict)]
    text = _text("; ".join(message for message in messages if message))
    return ErrorFields(text, "invalid_request_error", _place(details[0])) if text else None


def _place(detail: Json) -> str | None:
    place = _get(detail, "loc")
    return _text(".".join(map(str, place))) if isinstance(place, list) else None


def _get(tree: Json, name: str) -> Json:
    return tree.get(name) if isinstance(tree, dict) else None


def _text(value: Json) -> str | None:
    """`value` as bounded text without control characters; numbers serve as codes, anything else is dropped."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        value = str(value)
    if not isinstance(value, str):
        return None
    return _CONTROL.sub(" ", value[: MAX_TEXT * 2]).strip()[:MAX_TEXT] or None
