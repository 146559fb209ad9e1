"""A model's work on threads, for which several may wait: each piece is done once, and dropped when nobody waits any
more.

The work is never done on the event loop. Nobody waits behind a full queue or a broken model. Whoever stops waiting
(deadline, cancelled request) takes the work with them: what runs is aborted.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock
from typing import Generic, Protocol, TypeVar

from guardproxy.breaker import Breaker, BreakerState
from guardproxy.errors import GuardError
from guardproxy.llamacpp import Aborted, EncodeFailure


class Unavailable(GuardError):
    """Nothing was judged: the queue is full, the breaker is open, or the model is closed."""


class Timeout(GuardError, TimeoutError):
    """No verdict within the deadline."""


class Failure(GuardError):
    """The model gave no usable verdict."""


class Abortable(Protocol):
    """What one thread works with at a time."""

    def abort(self) -> None:
        """Makes the work in progress, and any later one until `rearm`, raise Aborted. Any thread may."""
        ...

    def rearm(self) -> None: ...


R = TypeVar("R", bound=Abortable)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Flight(Generic[R, T]):
    """One piece of work, and how many wait for it. Guarded by the lock."""

    key: bytes
    work: Callable[[R], T]
    future: "Future[T] | None" = None
    resource: R | None = None
    waiters: int = 1
    started: bool = False
    abandoned: bool = False


class Flights(Generic[R, T]):
    """Safe to use from several event loops and threads. One thread for each of `resources`. `name` is what errors call
    the model. `close` it."""

    def __init__(self, name: str, resources: Sequence[R], *, queue: int, breaker: Breaker) -> None:
        self._name = name
        self._resources = resources
        self._queue = queue
        self._breaker = breaker
        self._lock = Lock()
        self._flights: dict[bytes, _Flight[R, T]] = {}
        self._closed = False
        self._free: SimpleQueue[R] = SimpleQueue()
        for resource in resources:
            self._free.put(resource)
        self._workers = ThreadPoolExecutor(len(resources), thread_name_prefix=f"guardproxy-{name}")

    @property
    def waiting(self) -> int:
        """Pieces of work that wait for a free thread."""
        with self._lock:
            return sum(not flight.started for flight in self._flights.values())

    @property
    def breaker_state(self) -> BreakerState:
        with self._lock:
            return self._breaker.state

    async def run(self, key: bytes, work: Callable[[R], T], deadline_s: float) -> T:
        """What `work` returns, or what it returned to another who asked for the same key. Raises GuardError."""
        flight = self._join(key, work)
        timed_out = False
        try:
            async with asyncio.timeout(deadline_s):
                assert flight.future is not None
                return await _outcome(flight.future)
        except Aborted:
            raise Unavailable(f"the {self._name} is closed") from None
        except TimeoutError:
            timed_out = True
            raise Timeout(f"the {self._name} gave no verdict within {deadline_s:.3g} s") from None
        finally:
            self._leave(flight, timed_out)

    def close(self) -> bool:
        """Stops what runs and joins the threads. Says whether this was the first call."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
            for flight in self._flights.values():
                if flight.resource is not None:
                    flight.resource.abort()
        self._workers.shutdown(wait=True)
        return True

    def _join(self, key: bytes, work: Callable[[R], T]) -> _Flight[R, T]:
        with self._lock:
            if self._closed:
                raise Unavailable(f"the {self._name} is closed")
            if (flight := self._flights.get(key)) is not None:
                flight.waiters += 1
                return flight
            if len(self._flights) >= self._queue + len(self._resources):
                raise Unavailable(f"the {self._name}'s queue is full")
            if not self._breaker.admit():
                raise Unavailable(f"the {self._name}'s breaker is open")
            flight = self._flights[key] = _Flight(key, work)
            flight.future = self._workers.submit(self._run, flight)
            return flight

    def _leave(self, flight: _Flight[R, T], timed_out: bool) -> None:
        with self._lock:
            flight.waiters -= 1
            if flight.waiters or self._flights.get(flight.key) is not flight:
                return
            del self._flights[flight.key]  # nobody waits any more, and there is no verdict yet
            flight.abandoned = True
            if flight.future is not None:
                flight.future.cancel()  # does nothing once it runs
            if flight.resource is not None:
                flight.resource.abort()
            if timed_out:
                self._breaker.failed()
            else:
                self._breaker.abandoned()

    def _run(self, flight: _Flight[R, T]) -> T:
        """On a worker thread. The resource is this thread's until it is put back."""
        resource = self._free.get()
        try:
            self._start(flight, resource)
            result = flight.work(resource)
        except Aborted:
            self._finish(flight, self._breaker.abandoned)
            raise
        except Exception as error:
            self._finish(flight, self._breaker.failed)
            told = str(error) if isinstance(error, EncodeFailure) else type(error).__name__  # others may quote a call
            raise Failure(f"the {self._name} failed: {told}") from error
        else:
            self._finish(flight, self._breaker.succeeded)
            return result
        finally:
            self._free.put(resource)

    def _start(self, flight: _Flight[R, T], resource: R) -> None:
        with self._lock:
            if self._closed or flight.abandoned:
                raise Aborted
            resource.rearm()
            flight.started = True
            flight.resource = resource

    def _finish(self, flight: _Flight[R, T], tell_breaker: Callable[[], None]) -> None:
        """Takes the flight off the board, unless its last waiter already did and told the breaker."""
        with self._lock:
            flight.resource = None
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
                tell_breaker()


async def _outcome(future: "Future[T]") -> T:
    """Waits without a hold on the work: `asyncio.wrap_future` would cancel it for every waiter when one leaves."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: "Future[T]") -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits there
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    await done.wait()
    return future.result()
