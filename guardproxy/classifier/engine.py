"""Runs the classifier on worker threads of its own: one shared model, one context for each thread.

`score` never does the model's work on the event loop. It answers within its deadline or raises; nobody waits behind a
full queue or a broken model. Whoever stops waiting (deadline, cancelled request) takes the work with them: an encode
that nobody waits for is aborted.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Final

from guardproxy.breaker import Breaker, BreakerState
from guardproxy.classifier import llama
from guardproxy.classifier.model_file import Calibration, ModelFile, find_model, refuse
from guardproxy.classifier.scores import BENIGN_LABELS, Scores, calibrate
from guardproxy.classifier.serialise import MAX_CHARACTERS
from guardproxy.classifier.windows import windows
from guardproxy.errors import GuardError

WINDOW_TOKENS: Final = 128  # holds nine calls of ten whole; llama.cpp takes 130 kB of memory for each token of it
_SPECIAL_TOKENS: Final = 2  # [CLS] and [SEP] around each window


class ClassifierUnavailable(GuardError):
    """Nothing was judged: the queue is full, the breaker is open, or the engine is closed."""


class ClassifierTimeout(GuardError, TimeoutError):
    """No verdict within the deadline."""


class ClassifierFailure(GuardError):
    """The model gave no usable output."""


@dataclass(slots=True, eq=False)
class _Flight:
    """One text being judged, and how many wait for it. Guarded by the engine's lock."""

    text: str
    future: "Future[Scores] | None" = None
    context: llama.Context | None = None
    waiters: int = 1
    started: bool = False
    abandoned: bool = False


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
        self.truncated = 0  # texts of which a part was not read, since the start
        self._model = model
        self._queue = queue
        self._breaker = breaker or Breaker()
        self._lock = Lock()
        self._flights: dict[str, _Flight] = {}
        self._closed = False
        self._contexts: SimpleQueue[llama.Context] = SimpleQueue()
        self._every_context = [llama.Context(model, WINDOW_TOKENS) for _ in range(threads)]
        for context in self._every_context:
            self._contexts.put(context)
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="guardproxy-classifier")

    @property
    def queue_depth(self) -> int:
        """Texts that wait for a free worker."""
        with self._lock:
            return self._waiting()

    @property
    def breaker_state(self) -> BreakerState:
        with self._lock:
            return self._breaker.state

    async def score(self, text: str, deadline_s: float) -> Scores:
        """The calibrated probabilities for `text`. Raises GuardError in one of the three forms above."""
        flight = self._join(text)
        timed_out = False
        try:
            async with asyncio.timeout(deadline_s):
                assert flight.future is not None
                return await _outcome(flight.future)
        except llama.Aborted:
            raise ClassifierUnavailable("the classifier is closed") from None
        except TimeoutError:
            timed_out = True
            raise ClassifierTimeout(f"the classifier gave no verdict within {deadline_s:g} s") from None
        finally:
            self._leave(flight, timed_out)

    def close(self) -> None:
        """Stops what runs, joins the threads, frees the model. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for flight in self._flights.values():
                if flight.context is not None:
                    flight.context.abort()
        self._workers.shutdown(wait=True)
        for context in self._every_context:
            context.close()
        self._model.close()

    def _join(self, text: str) -> _Flight:
        """The flight that judges this very text already, or a new one."""
        with self._lock:
            if self._closed:
                raise ClassifierUnavailable("the classifier is closed")
            if (flight := self._flights.get(text)) is not None:
                flight.waiters += 1
                return flight
            if len(self._flights) >= self._queue + self.threads:
                raise ClassifierUnavailable("the classifier's queue is full")
            if not self._breaker.admit():
                raise ClassifierUnavailable("the classifier's breaker is open")
            flight = self._flights[text] = _Flight(text)
            flight.future = self._workers.submit(self._run, flight)
            return flight

    def _leave(self, flight: _Flight, timed_out: bool) -> None:
        with self._lock:
            flight.waiters -= 1
            if flight.waiters or self._flights.get(flight.text) is not flight:
                return
            self._abandon(flight)
            if timed_out:
                self._breaker.failed()
            else:
                self._breaker.abandoned()

    def _abandon(self, flight: _Flight) -> None:
        """Nobody waits any more and there is no verdict yet. The lock is held."""
        del self._flights[flight.text]
        flight.abandoned = True
        if flight.future is not None:
            flight.future.cancel()  # does nothing once it runs
        if flight.context is not None:
            flight.context.abort()

    def _waiting(self) -> int:
        return sum(not flight.started for flight in self._flights.values())

    def _run(self, flight: _Flight) -> Scores:
        """On a worker thread. The context is this thread's until it is put back."""
        context = self._contexts.get()
        try:
            self._start(flight, context)
            scores = self._judge(flight.text, context)
        except llama.Aborted:
            self._finish(flight, failed=None)
            raise
        except Exception as error:
            self._finish(flight, failed=True)
            raise ClassifierFailure(f"the classifier failed: {error}") from error
        else:
            self._finish(flight, failed=False)
            return scores
        finally:
            self._contexts.put(context)

    def _start(self, flight: _Flight, context: llama.Context) -> None:
        with self._lock:
            if self._closed or flight.abandoned:
                raise llama.Aborted
            context.rearm()
            flight.started = True
            flight.context = context

    def _finish(self, flight: _Flight, failed: bool | None) -> None:
        """Takes the flight off the board, unless its last waiter already did and told the breaker."""
        with self._lock:
            flight.context = None
            if self._flights.get(flight.text) is not flight:
                return
            del self._flights[flight.text]
            match failed:
                case True:
                    self._breaker.failed()
                case False:
                    self._breaker.succeeded()
                case None:
                    self._breaker.abandoned()

    def _judge(self, text: str, context: llama.Context) -> Scores:
        began = time.perf_counter()
        tokens = self._model.tokenize(text[:MAX_CHARACTERS])
        parts, cut = windows(tokens, context.capacity - _SPECIAL_TOKENS)
        cut |= len(text) > MAX_CHARACTERS
        worst = max((self._judge_window(part, context) for part in parts), key=lambda scores: scores.harmful)
        with self._lock:
            self.truncated += cut
        seconds = time.perf_counter() - began
        return replace(worst, tokens=len(tokens), windows=len(parts), truncated=cut, seconds=seconds)

    def _judge_window(self, tokens: Sequence[int], context: llama.Context) -> Scores:
        logits = context.encode([self._model.begin, *tokens, self._model.end])
        return calibrate(logits, self.labels, self.calibration.temperature)


async def _outcome(future: "Future[Scores]") -> Scores:
    """Waits without a hold on the work: `asyncio.wrap_future` would cancel it for every waiter when one leaves."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: "Future[Scores]") -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits there
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    await done.wait()
    return future.result()


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
