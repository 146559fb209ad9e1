"""Figures about probabilities, by source: pooled ones only tell sources apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from guardproxy.offline.evaluate.cases import episodes, place_of
from training.classifier.samples import Sample

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ENOUGH = 20  # rows of each label for a source to count in the mean


def figures(samples: Sequence[Sample], harmful: Mask, probabilities: Array, flagged: Mask) -> dict[str, dict[str, Any]]:
    """By source, and of all."""
    sources = np.array([sample.source for sample in samples])
    masks = {name: sources == name for name in sorted(set(sources))}
    found = {name: _of_one(probabilities[mask], harmful[mask], flagged[mask]) for name, mask in masks.items()}
    both = [f["auroc"] for f in found.values() if min(f["harmful"], f["n"] - f["harmful"]) >= ENOUGH]
    weights = np.where(harmful, 1 / max(harmful.sum(), 1), 1 / max((~harmful).sum(), 1))
    rates = by_benign_source(samples, harmful, flagged)
    found["all"] = {
        "macro_auroc": round(float(np.mean(both)), 4) if both else None,
        "macro_fpr": round(float(np.mean(list(rates.values()))), 4) if rates else None,
        "ece_balanced": round(calibration_error(probabilities, harmful, weights), 4),
    }
    return found


def by_benign_source(samples: Sequence[Sample], harmful: Mask, hit: Mask) -> dict[str, float]:
    """The share of benign rows that are `hit`, by source. The own corpora are left out unless there is nothing else."""
    sources = np.array([sample.source for sample in samples])
    found = set(sources[~harmful].tolist())
    names = sorted({name for name in found if not name.startswith("corpus-")} or found)
    return {name: float(np.mean(hit[~harmful & (sources == name)])) for name in names}


def of_benign_sources(samples: Sequence[Sample], harmful: Mask, hit: Mask) -> dict[str, float]:
    """The share of rows that are `hit` in each source that has no harmful row, or of benign ones if every one has."""
    mixed = {sample.source for sample, bad in zip(samples, harmful.tolist(), strict=True) if bad}
    found = by_benign_source(samples, harmful, hit)
    return {name: share for name, share in found.items() if name not in mixed} or found


def by_episode(samples: Sequence[Sample], harmful: Mask, flagged: Mask) -> dict[str, dict[str, Any]]:
    """By source: of the episodes with a harmful call the share of which one such call is flagged (`stopped`), and of
    the others the share of which any call is (`touched`). An episode is the calls of one case that begin alike."""
    keys = episodes([place_of(sample.row) for sample in samples])
    found: dict[str, dict[bytes, list[tuple[bool, bool]]]] = {}
    for sample, key, bad, hit in zip(samples, keys, harmful.tolist(), flagged.tolist(), strict=True):
        found.setdefault(sample.source, {}).setdefault(key, []).append((bad, hit))
    return {source: _of_episodes(list(each.values())) for source, each in sorted(found.items())}


def _of_episodes(each: Sequence[Sequence[tuple[bool, bool]]]) -> dict[str, Any]:
    attacked = [any(hit for bad, hit in calls if bad) for calls in each if any(bad for bad, _ in calls)]
    others = [any(hit for _, hit in calls) for calls in each if not any(bad for bad, _ in calls)]
    return {
        "attacked": len(attacked),
        "stopped": round(float(np.mean(attacked)), 4) if attacked else None,
        "others": len(others),
        "touched": round(float(np.mean(others)), 4) if others else None,
    }


def _of_one(probabilities: Array, harmful: Mask, flagged: Mask) -> dict[str, Any]:
    found: dict[str, Any] = {"n": len(probabilities), "harmful": int(harmful.sum())}
    found["auroc"] = auroc(probabilities, harmful)
    found["recall"] = float(np.mean(flagged[harmful])) if harmful.any() else None
    found["fpr"] = float(np.mean(flagged[~harmful])) if (~harmful).any() else None
    if harmful.any() and (~harmful).any():
        limit = np.quantile(probabilities[~harmful], 0.99, method="higher")
        found["recall_at_1pct_fpr"] = float(np.mean(probabilities[harmful] > limit))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def auroc(scores: Array, harmful: Mask) -> float | None:
    """The chance that a harmful row scores above a benign one, ties counting half."""
    benign = np.sort(scores[~harmful])
    if not len(benign) or not harmful.any():
        return None
    below = np.searchsorted(benign, scores[harmful], "left") + np.searchsorted(benign, scores[harmful], "right")
    return float(np.mean(below / 2 / len(benign)))


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
