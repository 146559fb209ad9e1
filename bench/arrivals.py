"""When requests arrive under open-loop load. Pure: the same seed gives the same arrivals."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """`at_ns` counts from the start of the load; `target` names the server that gets the request."""

    at_ns: int
    target: str


def poisson(rate: float, seconds: float, targets: Sequence[str], seed: int) -> list[Arrival]:
    """Independent arrivals, `rate` a second for each target, all targets mixed in one sequence.

    Mixing pairs the targets: what disturbs the machine disturbs them alike. A sum of Poisson processes is one, and
    which target each arrival belongs to is then a fair draw.
    """
    draw = random.Random(seed)
    at, arrivals = 0.0, []
    while (at := at + draw.expovariate(rate * len(targets))) < seconds:
        arrivals.append(Arrival(int(at * _SECOND), draw.choice(targets)))
    return arrivals
