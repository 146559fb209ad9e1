"""Which tasks the search sees, and which are kept for the numbers that go into the artifact.

The best of many prefixes is partly the luckiest, so its score on the tasks that chose it is too high. By digest of the
pair: the same tasks are drawn on every machine, and the two of a pair are never parted.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from guardproxy.offline.learn.tasks import Kind, Task, digest_of


@dataclass(frozen=True, slots=True)
class Split:
    """`gate` are the tasks that choose its threshold, and nothing else."""

    search: tuple[Task, ...]
    held_out: tuple[Task, ...]
    gate: tuple[Task, ...] = ()

    @property
    def tasks(self) -> dict[str, Task]:
        return {task.id: task for task in (*self.search, *self.gate, *self.held_out)}


def split(tasks: Sequence[Task], share: float, limit: int | None, gate: float = 0.0) -> Split:
    """`share` of the pairs of every domain are held out, and `gate` of the rest are for the gate. `limit`: at most so
    many tasks of each kind are searched on, drawn over all domains alike."""
    by_domain: dict[str, dict[str, list[Task]]] = defaultdict(lambda: defaultdict(list))
    for task in tasks:
        by_domain[task.domain][task.pair].append(task)
    search: list[tuple[float, list[Task]]] = []
    held_out: list[Task] = []
    gating: list[Task] = []
    for domain in sorted(by_domain):
        pairs = sorted(by_domain[domain].items(), key=lambda item: _rank(item[0]))
        held = _held(len(pairs), share)
        held_out += [task for _, pair in pairs[:held] for task in pair]
        kept = round((len(pairs) - held) * gate)
        gating += [task for _, pair in pairs[held : held + kept] for task in pair]
        rest = pairs[held + kept :]
        search += [(place / len(rest), pair) for place, (_, pair) in enumerate(rest)]
    drawn = [task for _, pair in sorted(search, key=lambda item: item[0]) for task in pair]
    return Split(tuple(_limited(drawn, limit)), tuple(held_out), tuple(gating))


def digest_of_tasks(tasks: Sequence[Task]) -> str:
    """Of which tasks a split holds."""
    return digest_of(sorted(task.id for task in tasks))


def _held(pairs: int, share: float) -> int:
    """Where a domain has two pairs or more, both sides get one."""
    held = round(pairs * share)
    return min(max(held, 1), pairs - 1) if pairs > 1 and 0 < share < 1 else min(held, pairs)


def _limited(tasks: Sequence[Task], limit: int | None) -> list[Task]:
    if limit is None:
        return list(tasks)
    return [task for kind in Kind for task in [each for each in tasks if each.kind is kind][:limit]]


def _rank(pair: str) -> bytes:
    return hashlib.blake2b(pair.encode("utf-8", "surrogatepass"), digest_size=16).digest()
