"""Server-sent events, bytes to events and back, knowing no sockets (WHATWG HTML, section 9.2.6).

Events do not depend on how the bytes were cut. Comments, `id` and `retry` fields are read and dropped: they carry
nothing that a model client uses, and could carry what the gate holds.
"""

import re
from functools import lru_cache
from typing import NamedTuple


class SseEvent(NamedTuple):
    name: str | None
    data: bytes


class SseError(ValueError):
    """The byte stream is not a usable event stream."""


class SseParser:
    """Feed bytes, take events. `max_event_bytes` bounds what an unfinished event may pile up."""

    def __init__(self, max_event_bytes: int) -> None:
        self._max = max_event_bytes
        self._buffer = bytearray()
        self._searched = 0  # no event ends before this place, so a long one is searched but once
        self._at_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes, in order. Raises SseError when an event grows too large."""
        self._buffer += self._with_plain_newlines(chunk)
        if self._at_start and not self._skip_byte_order_mark():
            return []
        blocks = self._take_blocks()
        if len(self._buffer) > self._max or any(len(block) > self._max for block in blocks):
            raise SseError("an event is larger than the limit")
        return [event for block in blocks if (event := _parse(block)) is not None]

    def _take_blocks(self) -> list[bytes]:
        blocks: list[bytes] = []
        start = 0
        while (end := self._buffer.find(b"\n\n", self._searched)) >= 0:
            blocks.append(bytes(self._buffer[start:end]))
            start = self._searched = end + 2
        del self._buffer[:start]
        self._searched = max(0, len(self._buffer) - 1)
        return blocks

    def close(self) -> None:
        """Call at the end of the bytes. Raises SseError if they end within an event."""
        if self._buffer.strip(b"\n"):
            raise SseError("the stream ends within an event")

    def _with_plain_newlines(self, chunk: bytes) -> bytes:
        if not chunk or (b"\r" not in chunk and not self._after_cr):
            return chunk
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
            if not chunk:
                return chunk
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _skip_byte_order_mark(self) -> bool:
        """False while the first bytes might still become a byte-order mark."""
        mark = b"\xef\xbb\xbf"
        if len(self._buffer) < len(mark) and mark.startswith(self._buffer):
            return False
        if self._buffer.startswith(mark):
            del self._buffer[: len(mark)]
        self._at_start = False
        return True


_UNICODE_BREAKS = {"\u0085".encode(): b"\\u0085", "\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


EVENT_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""Nothing in it ends a line, whatever a client takes for a line's end: some know more of them than the standard."""


def encode_event(name: str | None, data: bytes) -> bytes:
    """One event. Raises ValueError for an odd name, which could begin an event of its own.

    `data` is compact JSON or the end mark, so it holds no line break of the standard. Those of Unicode are escaped: a
    client that splits lines as Unicode does would read the text after one as a line, and so as an event, of its own.
    """
    if not data.isascii():
        for mark, escaped in _UNICODE_BREAKS.items():
            data = data.replace(mark, escaped)
    if name is None:
        return b"data: " + data + b"\n\n"
    return _head(name) + data + b"\n\n"


@lru_cache(maxsize=256)
def _head(name: str) -> bytes:
    if not EVENT_NAME.fullmatch(name):
        raise ValueError("the name of an event is no plain word")
    return b"event: " + name.encode() + b"\ndata: "


KEEP_ALIVE = b": guardproxy is reviewing\n\n"


_USUAL = re.compile(rb"(?:event: ([A-Za-z0-9_.:-]+)\n)?data: ([^\n]*)")


def _parse(block: bytes) -> SseEvent | None:
    if found := _USUAL.fullmatch(block):  # nearly every event of a model server
        name, data = found.groups()
        return SseEvent(name.decode() if name else None, data)
    event: str | None = None
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            event = value.removeprefix(b" ").decode("utf-8", "replace") or None
    return SseEvent(event, b"\n".join(lines)) if lines else None
