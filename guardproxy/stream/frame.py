"""A frame: one decoded piece of an answer. A streamed answer has one for each event, a whole answer has just one."""

import re
from typing import NamedTuple

from guardproxy.errors import UpstreamProtocolError
from guardproxy.stream.sse import SseEvent, encode_event
from guardproxy.strict_json import JsonObject, MalformedJson, decode_object, encode

_DONE_MARK = b"[DONE]"
_EVENT_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # some clients break lines at more characters than the standard


class Frame(NamedTuple):
    """`tree` is None for the end mark (`data: [DONE]`)."""

    tree: JsonObject | None
    event: str | None = None


DONE = Frame(None)


def frame_of_event(event: SseEvent) -> Frame:
    """Raises UpstreamProtocolError unless the data is the end mark or a strict JSON object with a plain event name."""
    if event.data.strip() == _DONE_MARK:
        return DONE
    if event.name is not None and not _EVENT_NAME.fullmatch(event.name):
        raise UpstreamProtocolError("the upstream sent an event with an odd name")
    return Frame(_decode(event.data), event.name)


def frame_of_body(body: bytes) -> Frame:
    """Raises UpstreamProtocolError unless the body is a strict JSON object."""
    return Frame(_decode(body))


def encode_frame(frame: Frame) -> bytes:
    """The frame as an event."""
    if frame.tree is None:
        return encode_event(None, _DONE_MARK)
    return encode_event(frame.event, encode(frame.tree))


def _decode(data: bytes) -> JsonObject:
    try:
        return decode_object(data)
    except MalformedJson as error:
        raise UpstreamProtocolError(f"the upstream sent something that is not strict JSON: {error}") from None
