"""Everything that was proposed and measured. Never pruned: the first round may hold the best."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from guardproxy.offline.learn.scoring import Measured, Score, Scoring, score

ENOUGH = 0.8  # of the tasks of each kind: with fewer answers a prefix has no score
IMPROVEMENT = 0.005  # less than this is no better


@dataclass(frozen=True, slots=True)
class Candidate:
    """`source`: who proposed it, and how."""

    id: str
    round: int
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    candidate: Candidate
    measured: Measured
    score: Score


@dataclass(frozen=True, slots=True)
class Views:
    """The best prefixes seen in three ways; one prefix may stand in several."""

    combined: tuple[Entry, ...]
    perform: tuple[Entry, ...]
    refuse: tuple[Entry, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Each once, the best first."""
        entries = (*self.combined, *self.perform, *self.refuse)
        return tuple(dict.fromkeys(entry.candidate.text for entry in entries))


@dataclass(frozen=True, slots=True)
class Pool:
    entries: tuple[Entry, ...]

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        measured: Mapping[str, Measured],
        sizes: tuple[int, int],
        scoring: Scoring,
    ) -> "Pool":
        """`sizes`: how many benign and harmful tasks there are. What was asked on too few of them is left out."""
        complete = [each for each in candidates if each.id in measured and _enough(measured[each.id], sizes)]
        return cls(tuple(Entry(each, measured[each.id], score(measured[each.id], scoring)) for each in complete))

    def best(self, floor: float = 0.0) -> Entry | None:
        """The highest score among those that do enough benign tasks; the earlier one of two that are equal."""
        fit = [entry for entry in self.entries if entry.measured.performed.value >= floor]
        return max(fit, key=lambda entry: entry.score.combined, default=None)

    def gentler(self, than: Entry) -> Entry | None:
        """The best of those that did more benign tasks, or as many and refused fewer harmful ones."""
        done, refused = than.measured.performed.value, than.measured.refused.value
        gentle = [
            entry
            for entry in self.entries
            if (own := entry.measured).performed.value > done
            or (own.performed.value == done and own.refused.value < refused)
        ]
        return max(gentle, key=lambda entry: entry.score.combined, default=None)

    def views(self, k: int) -> Views:
        return Views(
            self._top(k, lambda score: score.combined),
            self._top(k, lambda score: score.perform),
            self._top(k, lambda score: score.refuse),
        )

    def examples(self, k: int, tau: float) -> Views | None:
        """None while nothing is good enough to learn from: bad examples lead further astray than none."""
        best = self.best()
        return self.views(k) if best is not None and best.score.combined >= tau else None

    def best_until(self, round: int) -> float:
        return max((e.score.combined for e in self.entries if e.candidate.round <= round), default=-math.inf)

    def flat(self, round: int, patience: int) -> bool:
        """Whether the last `patience` rounds brought nothing better."""
        if round <= patience:
            return False
        return self.best_until(round) < self.best_until(round - patience) + IMPROVEMENT

    def _top(self, k: int, by: Callable[[Score], float]) -> tuple[Entry, ...]:
        return tuple(sorted(self.entries, key=lambda entry: (-by(entry.score), -entry.score.combined))[:k])


def _enough(measured: Measured, sizes: tuple[int, int]) -> bool:
    benign, harmful = sizes
    return measured.performed.n >= ENOUGH * benign and measured.refused.n >= ENOUGH * harmful
