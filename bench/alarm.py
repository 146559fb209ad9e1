"""A timer of microseconds for an event loop: the loop's own timers count whole milliseconds.

Both delays of the mock and arrivals of the load generator need it, since the figures looked for are below one.
"""

import asyncio
import ctypes
import heapq
import itertools
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_SECOND = 1_000_000_000

now_ns = time.monotonic_ns


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class Alarm:
    """Calls back at times of `time.monotonic_ns`, through one timerfd (see timerfd_create(2)) in the running loop."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._armed_ns = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._ring)

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        heapq.heappush(self._due, (due_ns, next(self._serial), callback))
        self._arm()

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _arm(self) -> None:
        first_ns = self._due[0][0]
        if self._armed_ns and self._armed_ns <= first_ns:
            return
        self._armed_ns = first_ns
        when = _Itimerspec(_Timespec(0, 0), _Timespec(*divmod(max(first_ns, 1), _SECOND)))
        if self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(when), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _ring(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        self._armed_ns = 0
        now = now_ns()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        if self._due:
            self._arm()
