"""Making several parts that may each be faulty, and telling all faults at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from guardproxy.errors import ConfigurationError, Fault

T = TypeVar("T")


@dataclass(slots=True)
class Attempts:
    """Makes one part after the other and gathers what is wrong with all of them."""

    faults: list[Fault] = field(default_factory=list)

    def make(self, part: Callable[[], T]) -> T | None:
        try:
            return part()
        except ConfigurationError as error:
            self.faults += error.faults
            return None
