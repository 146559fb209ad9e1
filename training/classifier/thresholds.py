"""The thresholds that ship: the lowest that keep false alarms, on sources that were not seen, at a rate."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from guardproxy.classifier.first_stage import Scale
from training.classifier.figures import by_benign_source, of_benign_sources
from training.classifier.rows import Array, Mask, Rows

FALSE_POSITIVES = 0.015  # at the worst of the sources whose calls are all benign
FALSE_POSITIVES_IN_ALL = 0.02  # there, with the lower threshold for calls behind a flagged result
FALSE_POSITIVES_OF_RESULTS = 0.10  # the mean over sources: a flagged result or request blocks nothing by itself
FALSE_POSITIVES_OF_REQUESTS = 0.05


def behind_flagged(results: Sequence[Sequence[float]], scale: Scale, threshold: float) -> Mask:
    """Of each call whether a result of its conversation is flagged, by the margins of the first stage alone."""
    worst = (max(map(scale.probability, margins), default=0.0) for margins in results)
    return np.array([probability >= threshold for probability in worst])


def thresholds_of_calls(rows: Rows, unseen: Array, tainted: Mask) -> tuple[float, float]:
    """Of calls, and of calls behind a flagged result."""

    def worst(hit: Mask) -> float:
        return max(of_benign_sources(rows.samples, rows.harmful, hit).values(), default=0.0)

    call = _lowest(unseen, lambda threshold: worst(unseen >= threshold), FALSE_POSITIVES)

    def in_all(threshold: float) -> float:
        return worst(unseen >= np.where(tainted, min(threshold, call), call))

    return call, min(call, _lowest(unseen, in_all, FALSE_POSITIVES_IN_ALL))


def threshold_of_flags(rows: Rows, unseen: Array, rate: float) -> float:
    """Of results or requests. Rows that the text model was taught do not count."""
    harmful, fresh = rows.harmful[rows.fresh], unseen[rows.fresh]

    def mean(threshold: float) -> float:
        rates: Mapping[str, float] = by_benign_source(rows.fresh_samples, harmful, fresh >= threshold)
        return float(np.mean(list(rates.values()) or [0.0]))

    return _lowest(fresh, mean, rate)


def _lowest(probabilities: Array, false_positives: Callable[[float], float], rate: float) -> float:
    """`false_positives` fall as the threshold rises. Rounded up to four digits, so that no row at the threshold changes
    sides."""
    candidates = np.unique(np.append(np.ceil(probabilities * 1e4) / 1e4, 1.0))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if false_positives(float(candidates[middle])) <= rate else (middle + 1, high)
    return float(candidates[min(low, len(candidates) - 1)])
