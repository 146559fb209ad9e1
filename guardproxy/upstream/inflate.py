"""Bounded decoding of a compressed answer, for servers that compress although they were asked not to. Pure."""

import zlib
from collections.abc import Iterator

from guardproxy.errors import UpstreamProtocolError

_PIECE = 65536  # bytes a step may grow to: a bomb is met in steps that the size limit can stop

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Inflate:
    """One content coding of one body. `feed` yields pieces of at most 64 KiB, so the caller can count and stop."""

    __slots__ = ("_stream",)

    def __init__(self, coding: str) -> None:
        """Raises UpstreamProtocolError for a coding other than gzip or deflate (zlib-wrapped, RFC 9110 8.4.1.2)."""
        bits = _WINDOW_BITS.get(coding)
        if bits is None:
            raise UpstreamProtocolError("the model server compressed its answer although asked not to")
        self._stream = zlib.decompressobj(bits)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._step(data)
            if piece:
                yield piece
            data = self._stream.unconsumed_tail
            if self._stream.unused_data:
                raise UpstreamProtocolError("the model server's answer goes on after its compressed end")
            if not data and len(piece) < _PIECE:  # a full piece may have more behind it, with no input left
                return

    def finish(self) -> None:
        """Raises UpstreamProtocolError where the compressed stream was cut."""
        if not self._stream.eof:
            raise UpstreamProtocolError("the model server's compressed answer was cut short")

    def _step(self, data: bytes) -> bytes:
        try:
            return self._stream.decompress(data, _PIECE)
        except zlib.error:
            raise UpstreamProtocolError("the model server's compressed answer is broken") from None
