"""What is worked out once: lazily for one object, or for as long as there is room to remember it. Safe with threads."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class lazy(Generic[Value]):
    """A property that is worked out when it is first asked for. Two threads may both do so, and find the same; that of
    `functools` would let one wait for the other, and before Python 3.12 for the properties of all other objects too."""

    def __init__(self, work: Callable[[Any], Value]) -> None:
        self._work = work
        self._name = work.__name__

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Value:
        value = instance.__dict__[self._name] = self._work(instance)
        return value


class Remembered(Generic[Key, Value]):
    """The values used last, as many as weigh at most `room` together."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._left = room
        self._values: OrderedDict[Key, tuple[int, Value]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[1]

    def put(self, key: Key, value: Value, weight: int) -> None:
        if weight > self._room:
            return
        with self._lock:
            self._forget(key)
            self._values[key] = (weight, value)
            self._left -= weight
            while self._left < 0:
                self._forget(next(iter(self._values)))

    def forget(self, key: Key) -> None:
        with self._lock:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        weight, _ = self._values.pop(key, (0, None))
        self._left += weight
