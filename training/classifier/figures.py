"""Figures of the first stage, by source: pooled ones only tell sources apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from guardproxy.classifier.first_stage import Scale
from training.classifier.measure import auroc, calibration_error
from training.classifier.samples import Sample

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ENOUGH = 20  # rows of each label for a source to count in the mean


def figures(
    samples: Sequence[Sample], harmful: Mask, scale: Scale, margins: Array, threshold: float
) -> dict[str, dict[str, Any]]:
    """By source, and of all."""
    probabilities = np.array([scale.probability(float(margin)) for margin in margins])
    sources = np.array([sample.source for sample in samples])
    masks = {name: sources == name for name in sorted(set(sources))}
    found = {name: _of_one(probabilities[mask], harmful[mask], threshold) for name, mask in masks.items()}
    both = [f["auroc"] for f in found.values() if min(f["harmful"], f["n"] - f["harmful"]) >= ENOUGH]
    weights = np.where(harmful, 1 / max(harmful.sum(), 1), 1 / max((~harmful).sum(), 1))
    rates = false_positives(samples, harmful, probabilities, threshold)
    found["all"] = {
        "macro_auroc": round(float(np.mean(both)), 4) if both else None,
        "macro_fpr": round(float(np.mean(list(rates.values()))), 4) if rates else None,
        "ece_balanced": round(calibration_error(probabilities, harmful, weights), 4),
    }
    return found


def false_positives(
    samples: Sequence[Sample], harmful: Mask, probabilities: Array, threshold: float
) -> dict[str, float]:
    """By source with benign rows. The own corpora are left out unless there is nothing else."""
    sources = np.array([sample.source for sample in samples])
    found = set(sources[~harmful].tolist())
    names = sorted({name for name in found if not name.startswith("corpus-")} or found)
    return {name: float(np.mean(probabilities[~harmful & (sources == name)] >= threshold)) for name in names}


def threshold_for(samples: Sequence[Sample], harmful: Mask, probabilities: Array, rate: float) -> float:
    """The lowest threshold at which the mean over sources of the false positive rates is at most `rate`, rounded up to
    four digits, so that no row at the threshold changes sides."""
    candidates = np.unique(np.append(np.ceil(probabilities * 1e4) / 1e4, 1.0))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        rates = list(false_positives(samples, harmful, probabilities, float(candidates[middle])).values())
        low, high = (low, middle) if np.mean(rates or [0.0]) <= rate else (middle + 1, high)
    return float(candidates[min(low, len(candidates) - 1)])


def _of_one(probabilities: Array, harmful: Mask, threshold: float) -> dict[str, Any]:
    found: dict[str, Any] = {"n": len(probabilities), "harmful": int(harmful.sum())}
    found["auroc"] = auroc(probabilities, harmful)
    found["recall"] = float(np.mean(probabilities[harmful] >= threshold)) if harmful.any() else None
    found["fpr"] = float(np.mean(probabilities[~harmful] >= threshold)) if (~harmful).any() else None
    if harmful.any() and (~harmful).any():
        limit = np.quantile(probabilities[~harmful], 0.99, method="higher")
        found["recall_at_1pct_fpr"] = float(np.mean(probabilities[harmful] > limit))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
