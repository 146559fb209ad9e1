"""All samples of one kind, with what is the same in every fit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.classifier.samples import Sample, balanced, benchmark_samples, own_samples

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

OWN_CALLS = 0.3  # what a call of the own corpus weighs beside one of a benchmark: there are so many more of them
OWN_GROUPS = 5  # the own corpora's domains are left out in so many groups
UNTAUGHT = "own 0"  # the group that the text model is never taught


@dataclass(frozen=True, eq=False)
class Rows:
    samples: list[Sample]

    @cached_property
    def harmful(self) -> Mask:
        return np.array([sample.harmful for sample in self.samples])

    @cached_property
    def weights(self) -> Array:
        own = [sample.row.kind == "tool_call" and sample.own for sample in self.samples]
        return np.array(balanced(self.samples)) * np.where(own, OWN_CALLS, 1.0)

    @cached_property
    def groups(self) -> npt.NDArray[np.str_]:
        """What is left out together: a benchmark's family, or some of the own corpora's domains."""
        own = sorted({sample.family for sample in self.samples if sample.own})
        group_of = {family: f"own {place % OWN_GROUPS}" for place, family in enumerate(own)}
        return np.array([group_of.get(sample.family, sample.family) for sample in self.samples])

    @cached_property
    def taught(self) -> Mask:
        """What the text model learns from: it is not taught calls."""
        texts = np.array([sample.own and sample.row.kind != "tool_call" for sample in self.samples])
        return texts & (self.groups != UNTAUGHT)

    @cached_property
    def fresh(self) -> Numbers:
        """What it was not taught."""
        return np.flatnonzero(~self.taught)

    @property
    def fresh_samples(self) -> list[Sample]:
        return [self.samples[i] for i in self.fresh]

    def unseen(self, fit: Callable[[Numbers], Callable[[Numbers], Array]], among: Mask | None = None) -> Array:
        """For every sample, what a model says that was fitted without its group, on rows of `among` (None: on all)."""
        allowed = np.ones(len(self.samples), dtype=bool) if among is None else among
        found = np.zeros(len(self.samples))
        for group in sorted(set(self.groups)):
            inside = self.groups == group
            outside = allowed & ~inside
            if not outside.any():
                print(f"{group} is all that is left: its figures are of rows that were fitted on", flush=True)
                outside = allowed
            found[inside] = fit(np.flatnonzero(outside))(np.flatnonzero(inside))
        return found


def read_rows(data: Path | None, kind: str) -> Rows:
    """The own corpus of the kind, and the benchmarks in the folder `data`."""
    rows = Rows([*own_samples(kind), *(benchmark_samples(data, kind) if data else ())])
    print(f"{len(rows.samples)} samples of {kind}", flush=True)
    return rows
