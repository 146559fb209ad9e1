"""A frame: one decoded piece of an answer. A streamed answer has one for each event, a whole answer has just one."""

from typing import NamedTuple

from guardproxy.errors import UpstreamProtocolError
from guardproxy.stream.sse import EVENT_NAME, SseEvent, encode_event
from guardproxy.strict_json import JsonObject, MalformedJson, decode_object, encode

_DONE_MARK = b"[DONE]"


class Frame(NamedTuple):
    """`tree` is None for the end mark (`data: [DONE]`)."""

    tree: JsonObject | None
    event: str | None = None


DONE = Frame(None)


def frame_of_event(event: SseEvent) -> Frame:
    """Raises UpstreamProtocolError unless the data is the end mark or a strict JSON object with a plain event name."""
    if event.data.strip() == _DONE_MARK:
        return DONE
    if event.name is not None and not EVENT_NAME.fullmatch(event.name):
        raise UpstreamProtocolError("the upstream sent an event with an odd name")
    return Frame(_decode(event.data), event.name)


def frame_of_body(body: bytes) -> Frame:
    """Raises UpstreamProtocolError unless the body is a strict JSON object."""
    return Frame(_decode(body))


def encode_frame(frame: Frame) -> bytes:
    """The frame as an event. Raises UpstreamProtocolError for an odd name: some are taken from an event's data."""
    if frame.tree is None:
        return encode_event(None, _DONE_MARK)
    data = encode(frame.tree)
    try:
        return encode_event(frame.event, data)
    except ValueError:
        raise UpstreamProtocolError("the upstream sent an event of an odd type") from None


def _decode(data: bytes) -> JsonObject:
    try:
        return decode_object(data)
    except MalformedJson as error:
        raise UpstreamProtocolError(f"the upstream sent something that is not strict JSON: {error}") from None
