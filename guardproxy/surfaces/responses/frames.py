"""What there is to know of a frame, and to put into it, without the frames before it. Of frames that were read before,
so that their shape is known to be right."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.errors import VisibleError
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.responses.contract import TERMINAL
from guardproxy.surfaces.surface import openai_error


def response_of(frame: Frame) -> JsonObject | None:
    """The answer as it ended: of the terminal event, or the whole body."""
    tree = frame.tree or {}
    if "type" not in tree:
        return tree or None
    response = tree.get("response")
    return response if tree["type"] in TERMINAL and isinstance(response, dict) else None


def _with_response(frame: Frame, response: JsonObject) -> Frame:
    tree = frame.tree or {}
    return frame._replace(tree=response if "type" not in tree else {**tree, "response": response})


def finished_in(frame: Frame) -> Sequence[int]:
    return (0,) if response_of(frame) is not None else ()


def usage_of(frame: Frame) -> Mapping[str, Any] | None:
    usage = (response_of(frame) or {}).get("usage")
    return usage if isinstance(usage, dict) else None


def with_usage(frame: Frame, usage: Mapping[str, Any]) -> Frame:
    response = response_of(frame)
    return frame if response is None else _with_response(frame, {**response, "usage": dict(usage)})


def texts_of(frame: Frame) -> Mapping[int, str]:
    tree = frame.tree or {}
    if tree.get("type") == "response.output_text.delta":
        return {0: str(tree.get("delta") or "")}
    texts = [part["text"] for part in _texts(tree)] if "type" not in tree else []
    return {0: "".join(texts)} if texts else {}


def with_texts(frame: Frame, texts: Mapping[int, str]) -> Frame:
    """In a whole answer all of the text goes where its first part is."""
    tree, text = frame.tree or {}, texts.get(0)
    if text is None:
        return frame
    if tree.get("type") == "response.output_text.delta":
        return frame._replace(tree={**tree, "delta": text})
    if "type" in tree:
        return frame
    first = True
    output: list[Json] = []
    for item in _objects(tree.get("output")):
        if item.get("type") == "message":
            parts: list[Json] = []
            for part in _objects(item.get("content")):
                if part.get("type") == "output_text":
                    part, first = {**part, "text": text if first else ""}, False
                parts.append(part)
            item = {**item, "content": parts}
        output.append(item)
    return frame._replace(tree={**tree, "output": output})


def _texts(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        part
        for item in _objects(response.get("output"))
        if item.get("type") == "message"
        for part in _objects(item.get("content"))
        if part.get("type") == "output_text"
    ]


def _objects(value: object) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else []


def error_frame(error: VisibleError) -> Frame:
    """The API's own event, with a member `error` besides: the SDKs differ in which of the two they raise on."""
    event: JsonObject = {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "sequence_number": 0,
    }
    return Frame({**event, **openai_error(error)}, "error")
