"""What the shipped text model says of readings, computed by llama.cpp as the proxy runs it."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guardproxy.classifier.engine import WINDOW_TOKENS
from guardproxy.classifier.llama import Context, Model
from guardproxy.classifier.scores import calibrate
from guardproxy.classifier.serialise import Reading
from training.classifier.readings import windows_of

THREADS = 2
_LEAST = 1e-9  # as the guard bounds probabilities


def text_margins(model_path: Path, readings: Sequence[Reading]) -> npt.NDArray[np.float64]:
    """The log-odds of harm; of a reading's windows the worst counts."""
    model = Model(model_path)
    contexts = [Context(model, WINDOW_TOKENS) for _ in range(THREADS)]

    def share(thread: int) -> list[float]:
        return [_margin(model, contexts[thread], reading) for reading in readings[thread::THREADS]]

    with ThreadPoolExecutor(THREADS) as workers:
        shares = list(workers.map(share, range(THREADS)))
    for context in contexts:
        context.close()
    model.close()
    return np.array([shares[i % THREADS][i // THREADS] for i in range(len(readings))])


def _margin(model: Model, context: Context, reading: Reading) -> float:
    logits = [context.encode([model.begin, *window, model.end]) for window in windows_of(reading, model.tokenize)]
    worst = max(calibrate(each, model.labels, 1.0).harmful for each in logits)
    bounded = min(max(worst, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))
