"""A bounded map that forgets: model names come from clients, and servers are upgraded."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """At most `size` entries, the oldest leave first; each is forgotten `seconds` after it was put."""

    def __init__(self, size: int, seconds: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    @property
    def full(self) -> bool:
        self._forget()
        return len(self._entries) >= self._size

    def __contains__(self, key: K) -> bool:
        self._forget()
        return key in self._entries

    def get(self, key: K) -> V | None:
        self._forget()
        found = self._entries.get(key)
        return None if found is None else found[1]

    def put(self, key: K, value: V) -> None:
        self._forget()
        self._entries[key] = (self._clock() + self._seconds, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def _forget(self) -> None:
        """The order of putting is the order of forgetting."""
        now = self._clock()
        while self._entries and next(iter(self._entries.values()))[0] < now:
            self._entries.popitem(last=False)
