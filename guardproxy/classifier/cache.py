"""Verdicts already given, by a digest of everything that was read to give them. Pure."""

import hashlib
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


def digest_of(*parts: str) -> bytes:
    """A key for all of `parts`, in order; no two different lists of parts share their bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


class VerdictCache(Generic[Value]):
    """The `size` values used last. It holds only what it is given: a failure to judge is never put in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[bytes, Value] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> Value | None:
        value = self._values.get(key)
        if value is None:
            self.misses += 1
            return None
        self.hits += 1
        self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: Value) -> None:
        if self._size < 1:
            return
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)
