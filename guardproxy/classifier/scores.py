"""From a head's raw outputs to calibrated probabilities. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BENIGN_LABELS = frozenset({"benign", "safe", "clean"})


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model says of one text.

    `harmful` is the probability that no benign label holds, `label` the likeliest harmful one. Of several windows the
    worst counts. `truncated` says that part of the text was not read. `seconds` is the worker's time.
    """

    probabilities: Mapping[str, float]
    harmful: float
    label: str
    tokens: int = 0
    windows: int = 1
    truncated: bool = False
    seconds: float = 0.0


def calibrate(logits: Sequence[float], labels: Sequence[str], temperature: float) -> Scores:
    """Softmax at `temperature`. Raises ValueError when an output is not a number, which is no verdict."""
    if not all(map(math.isfinite, logits)):
        raise ValueError("the model's output is not finite")
    top = max(logits)
    weights = [math.exp((logit - top) / temperature) for logit in logits]
    total = math.fsum(weights)
    probabilities = {label: weight / total for label, weight in zip(labels, weights, strict=True)}
    harmful = {label: p for label, p in probabilities.items() if label not in BENIGN_LABELS}
    return Scores(probabilities, math.fsum(harmful.values()), max(harmful, key=lambda label: harmful[label]))
