"""The organism on threads of its own: loaded at the first question, aborted when nobody reads the answer any more."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Final

from guardproxy.errors import UpstreamError, UpstreamRefusal, UpstreamTimeout, UpstreamUnavailable
from guardproxy.judge.causal import Model
from guardproxy.llamacpp import Aborted, EncodeFailure, LoadFailure
from guardproxy.upstream.organism.model_file import SHIPPED, find_model
from guardproxy.upstream.organism.pen import Pen, Sampling, Token, TooLong, Vocabulary
from guardproxy.upstream.organism.request import Wanted

THREADS: Final = 2

Item = Token | int | UpstreamError | None
"""A token; before the first one, how many the prompt had; at the end an error or None."""


@dataclass(slots=True, eq=False)
class _Run:
    """One turn that is being written. Guarded by its lock."""

    tell: Callable[[Item], None]
    lock: Lock = field(default_factory=Lock)
    pen: Pen | None = None
    abandoned: bool = False

    def begin(self, pen: Pen) -> None:
        with self.lock:
            if self.abandoned:
                raise Aborted
            pen.rearm()
            self.pen = pen

    def end(self) -> None:
        with self.lock:
            self.pen = None

    def abandon(self) -> None:
        with self.lock:
            self.abandoned = True
            if self.pen is not None:
                self.pen.abort()


class Writer:
    """Safe to use from several event loops. `close` it."""

    def __init__(self, path: Path = SHIPPED, threads: int = THREADS) -> None:
        self._path = path
        self._lock = Lock()
        self._loaded: tuple[Model, Vocabulary] | None = None
        self._pens: list[Pen] = []
        self._free: SimpleQueue[Pen] = SimpleQueue()
        self._runs: set[_Run] = set()
        self._closed = False
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="guardproxy-organism")

    async def write(self, wanted: Wanted, sampling: Sampling, deadline: float) -> AsyncIterator[Token | int]:
        """How many tokens the prompt has, then the tokens of one turn. Leaving the iterator stops the writing.

        Raises UpstreamRefusal where the prompt is too long, UpstreamTimeout, UpstreamUnavailable.
        """
        loop, items = asyncio.get_running_loop(), asyncio.Queue[Item]()

        def tell(item: Item) -> None:
            with suppress(RuntimeError):  # the loop is closed, so nobody waits there
                loop.call_soon_threadsafe(items.put_nowait, item)

        run = self._submit(_Run(tell), wanted, sampling)
        try:
            while True:
                item = await _within(items, deadline)
                match item:
                    case None:
                        return
                    case UpstreamError():
                        raise item
                    case _:
                        yield item
        finally:
            run.abandon()
            with self._lock:
                self._runs.discard(run)

    def close(self) -> None:
        """Stops what is written, joins the threads, frees the model. May be called twice."""
        with self._lock:
            self._closed = True
            runs = list(self._runs)
        for run in runs:
            run.abandon()
        self._workers.shutdown(wait=True, cancel_futures=True)
        for pen in self._pens:
            pen.close()
        self._pens.clear()
        if self._loaded is not None:
            self._loaded[0].close()
            self._loaded = None

    def _submit(self, run: _Run, wanted: Wanted, sampling: Sampling) -> _Run:
        with self._lock:
            if self._closed:
                raise UpstreamUnavailable("the embedded model is closed")
            self._runs.add(run)
            self._workers.submit(self._write, run, wanted, sampling)
        return run

    def _write(self, run: _Run, wanted: Wanted, sampling: Sampling) -> None:
        """On a worker thread. The pen is this thread's until it is put back."""
        try:
            pen, vocabulary = self._pen()
        except LoadFailure as error:
            run.tell(UpstreamUnavailable(f"the embedded model cannot be loaded: {error}"))
            return
        try:
            run.begin(pen)
            prompt = vocabulary.tokens(wanted.prompt())
            pen.require_room(prompt)
            run.tell(len(prompt))
            for token in pen.write(prompt, sampling, wanted.room, wanted.likeliest, calls=not wanted.no_call):
                run.tell(token)
            run.tell(None)
        except TooLong as error:
            run.tell(UpstreamRefusal(400, str(error), type="invalid_request_error", code="context_length_exceeded"))
        except Aborted:
            run.tell(UpstreamUnavailable("the embedded model was stopped"))
        except EncodeFailure as error:
            run.tell(UpstreamUnavailable(f"the embedded model failed: {error}"))
        finally:
            run.end()
            self._free.put(pen)

    def _pen(self) -> tuple[Pen, Vocabulary]:
        with self._lock:
            if self._loaded is None:
                model = Model(find_model(self._path).path)
                self._loaded = model, Vocabulary(model)
            model, vocabulary = self._loaded
            with suppress(Empty):
                return self._free.get_nowait(), vocabulary
            pen = Pen(model, vocabulary)
            self._pens.append(pen)
            return pen, vocabulary


async def _within(items: asyncio.Queue[Item], deadline: float) -> Item:
    left = deadline - time.monotonic()
    try:
        async with asyncio.timeout(left if left < float("inf") else None):
            return await items.get()
    except TimeoutError:
        raise UpstreamTimeout("the embedded model was not done in time") from None
