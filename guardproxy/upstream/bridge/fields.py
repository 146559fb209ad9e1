"""Reading a request's objects field by field, so that nothing is left out of a translation without being named.

A field is translated, known to say nothing to a chat model, or refused. Fields that hold null are as good as absent.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from guardproxy.errors import MalformedRequest
from guardproxy.strict_json import Json, JsonObject
from guardproxy.surfaces.chat_completions.fields import SAMPLER_FIELDS

SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p", "seed"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty"),
    *sorted(SAMPLER_FIELDS - {"reasoning", "thinking"}),  # these two are the asked APIs' own
)
"""What the APIs, or the servers that extend them, call the same."""


def untranslatable(param: str, why: str) -> MalformedRequest:
    message = f"'{param}' cannot be served: this upstream speaks chat completions only, and {why}."
    return MalformedRequest(message, param=param, code="not_translatable")


class Fields:
    """One object of a request. `at` is its place, for messages; the body's own is empty."""

    __slots__ = ("_rest", "at")

    def __init__(self, tree: Mapping[str, Any], at: str = "") -> None:
        self._rest: JsonObject = {name: value for name, value in tree.items() if value is not None}
        self.at = at

    @classmethod
    def of(cls, value: object, at: str) -> "Fields":
        if not isinstance(value, Mapping):
            raise MalformedRequest(f"'{at}' must be an object.", param=at)
        return cls(value, at)

    def place(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name

    def take(self, name: str) -> Json:
        return self._rest.pop(name, None)

    def string(self, name: str) -> str:
        """A string that must be there; it may be empty."""
        value = self.take(name)
        if not isinstance(value, str):
            raise self.fault(name, "a string")
        return value

    def optional_string(self, name: str) -> str | None:
        return self.string(name) if name in self._rest else None

    def objects(self, name: str) -> list["Fields"]:
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fault(name, "a list")
        return [Fields.of(entry, f"{self.place(name)}[{i}]") for i, entry in enumerate(value)]

    def object(self, name: str) -> "Fields | None":
        value = self.take(name)
        return None if value is None else Fields.of(value, self.place(name))

    def copied(self, *names: str) -> JsonObject:
        """Fields that mean the same in both APIs, those of them that are there."""
        return {name: self._rest.pop(name) for name in names if name in self._rest}

    def require(self, name: str, *wanted: Json) -> None:
        """Takes a field that must be absent or hold one of the `wanted` values."""
        value = self.take(name)
        if value is not None and value not in wanted:
            raise self.refused(name, "it has nothing like this field's value")

    def fault(self, name: str, wanted: str) -> MalformedRequest:
        return MalformedRequest(f"'{self.place(name)}' must be {wanted}.", param=self.place(name))

    def refused(self, name: str, why: str) -> MalformedRequest:
        return untranslatable(self.place(name), why)

    def end(self, ignored: Set[str] = frozenset()) -> None:
        """Every field was taken, or says nothing to a chat model."""
        for name in self._left(ignored):
            raise self.refused(name[:64], "it has no such field")

    def _left(self, ignored: Set[str]) -> Iterator[str]:
        return (name for name in self._rest if name not in ignored)
