"""The ways in which one text can be injected, to be measured against each other."""

from collections.abc import Iterator
from dataclasses import dataclass

from guardproxy.model import Position
from guardproxy.prefix.injector import Turns


@dataclass(frozen=True, slots=True)
class Mode:
    """`keep`: the text stays in the conversation, so that the model sees its earlier ones."""

    position: Position
    turns: Turns = Turns.EVERY
    keep: bool = False

    @property
    def label(self) -> str:
        kept = ", kept in the history" if self.keep else ""
        return f"{self.position} on {'every turn' if self.turns is Turns.EVERY else 'the first turn'}{kept}"


def modes_of(position: Position) -> Iterator[Mode]:
    """All that there are where a prefix goes in at `position`. What is not prefilled is in no history."""
    for place in dict.fromkeys((position, Position.SUFFIX, Position.INSTRUCTION)):
        for turns in Turns:
            for keep in (False, True) if place.prefills else (False,):
                yield Mode(place, turns, keep)
