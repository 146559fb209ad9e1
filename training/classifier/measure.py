"""Figures about scores. All are within one source: pooled figures only tell sources apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.classifier.dataset import Example

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def auroc(scores: Array, harmful: Mask) -> float | None:
    """The chance that a harmful row scores above a benign one, ties counting half."""
    benign = np.sort(scores[~harmful])
    if not len(benign) or not harmful.any():
        return None
    below = np.searchsorted(benign, scores[harmful], "left") + np.searchsorted(benign, scores[harmful], "right")
    return float(np.mean(below / 2 / len(benign)))


def false_positives(examples: Sequence[Example], scores: Array, threshold: float) -> dict[str, float]:
    """By source with benign rows. The seed corpus is our own, so it is left out unless there is nothing else."""
    sources = np.array([e.source for e in examples])
    benign = np.array([not e.harmful for e in examples])
    found = set(sources[benign])
    names = sorted(found - {"seed"} or found)
    return {name: float(np.mean(scores[benign & (sources == name)] >= threshold)) for name in names}


def threshold_for(examples: Sequence[Example], scores: Array, rate: float) -> float:
    """The lowest threshold at which the mean over sources of the false positive rates is at most `rate`."""
    low, high = 0, len(candidates := np.unique(np.append(scores, 1.0)))
    while low < high:
        middle = (low + high) // 2
        rates = list(false_positives(examples, scores, candidates[middle]).values()) or [0.0]
        low, high = (low, middle) if np.mean(rates) <= rate else (middle + 1, high)
    return float(candidates[min(low, len(candidates) - 1)])


def calibration_error(probabilities: Array, harmful: Mask, weights: Array, bins: int = 10) -> float:
    """Expected calibration error, each row counting by its weight."""
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        inside = which == b
        if weight := weights[inside].sum():
            gap = np.average(probabilities[inside], weights=weights[inside])
            total += weight * abs(gap - np.average(harmful[inside], weights=weights[inside]))
    return float(total / weights.sum())


def by_source(examples: Sequence[Example], scores: Array, threshold: float) -> dict[str, dict[str, Any]]:
    sources = np.array([e.source for e in examples])
    harmful = np.array([e.harmful for e in examples])
    masks = {name: sources == name for name in sorted(set(sources))}
    return {name: _figures(scores[mask], harmful[mask], threshold) for name, mask in masks.items()}


def _figures(scores: Array, harmful: Mask, threshold: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"n": len(scores), "harmful": int(harmful.sum())}
    figures["auroc"] = auroc(scores, harmful)
    figures["recall"] = float(np.mean(scores[harmful] >= threshold)) if harmful.any() else None
    figures["fpr"] = float(np.mean(scores[~harmful] >= threshold)) if (~harmful).any() else None
    for name, rate in (("recall_at_1pct_fpr", 0.01), ("recall_at_2pct_fpr", 0.02)):
        if harmful.any() and (~harmful).any():
            limit = np.quantile(scores[~harmful], 1 - rate, method="higher")
            figures[name] = float(np.mean(scores[harmful] > limit))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
