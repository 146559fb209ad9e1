"""The numbers: how well scores and flags agree with labels, and how sure one can be of it. Needs numpy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

METRICS: Final = ("auroc", "recall", "fpr", "precision", "recall_at_1pct_fpr", "ece")
MIN_ROWS: Final = 20  # of each label, for a source to count in the macro average
BINS: Final = 10
_CHUNK: Final = 1_000_000  # weights in memory at once


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows that are measured together. `scored` says that the scores are probabilities, and not just 0 and 1."""

    harmful: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    scores: Floats
    cases: NDArray[np.int64]  # 0, 1, 2, …
    scored: bool = True

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def positives(self) -> int:
        return int(self.harmful.sum())

    def ranked(self) -> "Sample":
        """Highest scores first."""
        by = np.argsort(-self.scores, kind="stable")
        return Sample(self.harmful[by], self.flagged[by], self.scores[by], self.cases[by], self.scored)

    @property
    def counts_in_macro(self) -> bool:
        return min(self.positives, len(self) - self.positives) >= MIN_ROWS


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number by metric; NaN where it does not exist. `replicates` are the same numbers, resampled."""

    values: Mapping[str, float]
    replicates: Mapping[str, Floats]

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Where 95 of 100 resamples lie. None where the metric exists in less than half of them."""
        found = self.replicates[metric]
        found = found[np.isfinite(found)]
        if len(found) == 0 or len(found) * 2 < len(self.replicates[metric]):
            return None
        low, high = np.percentile(found, [2.5, 97.5])
        return float(low), float(high)


def estimate(sample: Sample, resamples: int, seed: int) -> Estimate:
    """Cases are drawn with replacement, as many as there are, with all of their rows."""
    ranked = sample.ranked()
    values = _measure(ranked, np.ones((1, len(sample))))
    drawn: dict[str, list[Floats]] = {metric: [] for metric in METRICS}
    for weights in _resampled(ranked.cases, resamples, np.random.default_rng(seed)):
        for metric, found in _measure(ranked, weights).items():
            drawn[metric].append(found)
    replicates = {metric: np.concatenate(parts) if parts else np.empty(0) for metric, parts in drawn.items()}
    return Estimate({metric: float(value[0]) for metric, value in values.items()}, replicates)


def macro(estimates: Sequence[Estimate]) -> Estimate:
    """The plain mean over sources; a metric that one of them lacks is averaged over the others."""
    values = {m: _mean(np.array([[e.values[m]] for e in estimates]))[0] for m in METRICS}
    replicates = {m: _mean(np.array([e.replicates[m] for e in estimates])) for m in METRICS}
    return Estimate({m: float(value) for m, value in values.items()}, replicates)


def _mean(rows: Floats) -> Floats:
    known = np.isfinite(rows)
    return _divided(np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0).astype(float))


def _resampled(cases: NDArray[np.int64], resamples: int, random: np.random.Generator) -> Iterator[Floats]:
    """How often each row is drawn, some resamples at a time. One case alone says nothing of how cases differ."""
    count = int(cases.max(initial=-1)) + 1
    if count < 2:
        yield np.full((resamples, len(cases)), np.nan)
        return
    while resamples > 0:
        size = min(resamples, max(1, _CHUNK // max(len(cases), count)))
        resamples -= size
        drawn = random.multinomial(count, np.full(count, 1 / count), size=size)
        yield drawn[:, cases].astype(np.float64)


def _measure(ranked: Sample, weights: Floats) -> dict[str, Floats]:
    """Every metric for every row of `weights`. `ranked` has its highest scores first."""
    harmful = ranked.harmful.astype(float)
    flagged = ranked.flagged.astype(float)
    positives, negatives = weights @ harmful, weights @ (1 - harmful)
    caught, false = weights @ (harmful * flagged), weights @ ((1 - harmful) * flagged)
    hits, alarms = _by_score(ranked, weights)
    return {
        "auroc": _auroc(hits, alarms),
        "recall": _divided(caught, positives),
        "fpr": _divided(false, negatives),
        "precision": _divided(caught, caught + false),
        "recall_at_1pct_fpr": _recall_at(hits, alarms, 0.01),
        "ece": _ece(ranked, weights) if ranked.scored else np.full(len(weights), np.nan),
    }


def _divided(top: Floats, bottom: Floats) -> Floats:
    share: Floats = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
    return share


def _by_score(ranked: Sample, weights: Floats) -> tuple[Floats, Floats]:
    """Harmful and benign weight at each different score, highest first."""
    if len(ranked) == 0:
        return np.zeros((len(weights), 0)), np.zeros((len(weights), 0))
    starts = np.flatnonzero(np.r_[True, np.diff(ranked.scores) != 0])
    hits = np.add.reduceat(weights * ranked.harmful, starts, axis=1)
    alarms = np.add.reduceat(weights * ~ranked.harmful, starts, axis=1)
    return hits, alarms


def _auroc(hits: Floats, alarms: Floats) -> Floats:
    """The chance that a harmful row scores above a benign one; a tie counts half."""
    total = alarms.sum(axis=1)
    below = total[:, None] - np.cumsum(alarms, axis=1)
    return _divided((hits * (below + alarms / 2)).sum(axis=1), hits.sum(axis=1) * total)


def _recall_at(hits: Floats, alarms: Floats, rate: float) -> Floats:
    """The recall at the lowest score from which on no more than `rate` of the benign rows would be flagged."""
    positives, negatives = hits.sum(axis=1), alarms.sum(axis=1)
    allowed = np.cumsum(alarms, axis=1) <= rate * negatives[:, None]
    found = np.where(allowed, np.cumsum(hits, axis=1), 0.0).max(axis=1, initial=0.0)
    return np.where(negatives > 0, _divided(found, positives), np.nan)


def _ece(ranked: Sample, weights: Floats) -> Floats:
    """How far, on average, a score is from the share of harmful rows among those that score like it."""
    bins = bin_of(ranked.scores)
    gap = (ranked.scores - ranked.harmful)[:, None] * (bins[:, None] == np.arange(BINS))
    return _divided(np.abs(weights @ gap).sum(axis=1), weights.sum(axis=1))


def bin_of(scores: Floats) -> NDArray[np.int64]:
    """Equal widths from 0 to 1."""
    return np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)


def roc(sample: Sample) -> tuple[Floats, Floats]:
    """False positive rates and recalls at every threshold, from (0, 0) to (1, 1)."""
    hits, alarms = _by_score(sample.ranked(), np.ones((1, len(sample))))
    return _curve(alarms[0]), _curve(hits[0])


def _curve(weights: Floats) -> Floats:
    points: Floats = np.concatenate(([0.0], np.cumsum(weights) / max(weights.sum(), 1.0)))
    return points


def reliability(sample: Sample) -> list[tuple[float, float, int]]:
    """Mean score, share of harmful rows and number of rows, for each bin that has any."""
    bins = bin_of(sample.scores)
    found = [np.flatnonzero(bins == each) for each in range(BINS)]
    return [(float(sample.scores[at].mean()), float(sample.harmful[at].mean()), len(at)) for at in found if len(at)]
