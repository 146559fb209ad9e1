"""Runs the classifier on worker threads of its own: one shared model, one context for each thread.

`score` never does the model's work on the event loop. It answers within its deadline or raises (see `flights`).
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Final

from guardproxy.breaker import Breaker, BreakerState
from guardproxy.classifier import llama
from guardproxy.classifier.cache import digest_of
from guardproxy.classifier.model_file import Calibration, ModelFile, find_model, refuse
from guardproxy.classifier.scores import BENIGN_LABELS, Scores, calibrate
from guardproxy.classifier.serialise import MAX_CHARACTERS, Reading
from guardproxy.classifier.windows import led_windows
from guardproxy.flights import Flights

WINDOW_TOKENS: Final = 128  # holds nine calls of ten whole; llama.cpp takes 130 kB of memory for each token of it
_SPECIAL_TOKENS: Final = 2  # [CLS] and [SEP] around each window


class Engine:
    """Safe to use from several event loops and threads. `close` it; afterwards every `score` raises."""

    def __init__(
        self,
        model: llama.Model,
        *,
        revision: str,
        calibration: Calibration,
        threads: int,
        queue: int,
        breaker: Breaker | None = None,
    ) -> None:
        self.revision = revision
        self.labels = model.labels
        self.calibration = calibration
        self.threads = threads
        self.truncated = 0  # readings of which a part was not read, since the start
        self._model = model
        self._counting = Lock()
        self._contexts = [llama.Context(model, WINDOW_TOKENS) for _ in range(threads)]
        self._flights: Flights[llama.Context, Scores] = Flights(
            "classifier", self._contexts, queue=queue, breaker=breaker or Breaker()
        )

    @property
    def queue_depth(self) -> int:
        """Readings that wait for a free worker."""
        return self._flights.waiting

    @property
    def breaker_state(self) -> BreakerState:
        return self._flights.breaker_state

    async def score(self, reading: Reading, deadline_s: float) -> Scores:
        """The calibrated probabilities for a reading, of which the worst window counts. Raises GuardError: Unavailable,
        Timeout or Failure (`flights`)."""
        key = digest_of(reading.lead, reading.body)
        return await self._flights.run(key, lambda context: self._judge(reading, context), deadline_s)

    def close(self) -> None:
        """Stops what runs, joins the threads, frees the model. May be called twice."""
        if self._flights.close():
            for context in self._contexts:
                context.close()
            self._model.close()

    def _judge(self, reading: Reading, context: llama.Context) -> Scores:
        """On a worker thread."""
        began = time.perf_counter()
        lead = self._model.tokenize(reading.lead[:MAX_CHARACTERS])
        body = self._model.tokenize(reading.body[:MAX_CHARACTERS])
        parts, cut = led_windows(lead, body, context.capacity - _SPECIAL_TOKENS)
        cut |= len(reading.body) > MAX_CHARACTERS
        worst = max((self._judge_window(part, context) for part in parts), key=lambda scores: scores.harmful)
        if cut:
            with self._counting:
                self.truncated += 1
        seconds = time.perf_counter() - began
        return replace(worst, tokens=len(body), windows=len(parts), truncated=cut, seconds=seconds)

    def _judge_window(self, tokens: Sequence[int], context: llama.Context) -> Scores:
        logits = context.encode([self._model.begin, *tokens, self._model.end])
        try:
            return calibrate(logits, self.labels, self.calibration.temperature)
        except ValueError as error:
            raise llama.EncodeFailure(str(error)) from error


def load_engine(model_path: Path | None, threads: int, queue: int) -> Engine:
    """An engine that is ready. Raises ConfigurationError when the model file is not what it should be."""
    file = find_model(model_path)
    try:
        model = llama.Model(file.path)
    except llama.LoadFailure as error:
        raise refuse(file.path, str(error)) from error
    try:
        _check_head(model, file)
        calibration = file.calibration or _own_calibration(model, file)
        return Engine(model, revision=file.revision, calibration=calibration, threads=threads, queue=queue)
    except llama.LoadFailure as error:
        model.close()
        raise refuse(file.path, str(error)) from error
    except BaseException:
        model.close()
        raise


def _check_head(model: llama.Model, file: ModelFile) -> None:
    labels = model.labels
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise refuse(file.path, "it has no classification head with two or more differently named labels")
    if not BENIGN_LABELS.intersection(labels) or BENIGN_LABELS.issuperset(labels):
        known = ", ".join(sorted(BENIGN_LABELS))
        raise refuse(file.path, f"of its labels one must be called one of {known}, and one must not be")
    if model.context_length < WINDOW_TOKENS:
        raise refuse(file.path, f"its context of {model.context_length} tokens is below {WINDOW_TOKENS}")


def _own_calibration(model: llama.Model, file: ModelFile) -> Calibration:
    """What a file without manifest says of itself in its metadata, or the defaults."""
    defaults = Calibration()
    try:
        return Calibration(
            temperature=float(model.metadata("guardproxy.temperature") or defaults.temperature),
            threshold=float(model.metadata("guardproxy.threshold") or defaults.threshold),
            tainted_threshold=float(model.metadata("guardproxy.tainted_threshold") or defaults.tainted_threshold),
        )
    except ValueError as error:
        raise refuse(file.path, f"its guardproxy metadata are not numbers: {error}") from error
