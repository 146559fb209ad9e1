"""The audit log: an observer that writes one JSON line for each exchange, from a thread of its own.

`record` puts the exchange into a bounded queue and returns. A disk that is full, read-only or not ours stops no
request: lines wait and are tried again, what no longer fits into the queue is dropped and counted, the log says so now
and then, and `degraded` lets the readiness check say so too.
"""

import asyncio
import contextlib
import errno
import logging
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from guardproxy.errors import ConfigurationError, Fault
from guardproxy.exchange import Exchange
from guardproxy.telemetry.audit_file import AuditFile
from guardproxy.telemetry.record import Content, Renderer

GATHER_S = (
    0.02  # after the first line of a batch: a thread woken for every line costs the event loop more than the line
)
MAX_WAITING_BYTES = 64 * 1024 * 1024  # of arguments and texts in the queue, beside the limit on its length
MAX_BATCH = 256
RETRY_S = 1.0
LOG_EVERY_S = 60.0
CLOSE_TIMEOUT_S = 5.0
KEY_BYTES = 32

_log = logging.getLogger(__name__)


def read_key(path: Path | None) -> bytes:
    """The key of the digests, from a file or fresh. Raises ConfigurationError.

    With a fresh one, hashes of two runs cannot be compared, and the chain cannot be verified later.
    """
    if path is None:
        _log.info("the audit's hashes use a fresh key; set audit.key_file to compare them between runs")
        return secrets.token_bytes(KEY_BYTES)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            [Fault(str(path), None, "audit.key_file", error.strerror or "cannot be read")]
        ) from None
    if len(key) < 16:
        raise ConfigurationError([Fault(str(path), None, "audit.key_file", "the key must have at least 16 bytes")])
    return key


class _Line(NamedTuple):
    data: bytes
    weight: int  # of the exchange it came from


class AuditLog:
    """`path` None is standard output. `on_drop` is told how many records were lost, from either thread."""

    def __init__(
        self,
        path: Path | None,
        content: Content,
        key: bytes,
        max_bytes: int,
        backups: int,
        queue: int,
        on_drop: Callable[[int], None],
    ) -> None:
        self._file = AuditFile(path, max_bytes, backups)
        self._renderer = Renderer(content, key)
        self._limit = queue
        self._on_drop = on_drop
        self._queue: SimpleQueue[Exchange | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._give_up_at = float("inf")  # time.monotonic()
        # Each of these is written by one thread only.
        self._bytes_in = 0
        self._bytes_out = 0
        self._dropped_by_record = 0
        self._dropped_by_writer = 0
        # The writer's own.
        self._waiting: list[_Line] = []
        self._prev = ""
        self._drops_told = 0
        self._problem = ""
        self._logged_at = float("-inf")

    @property
    def degraded(self) -> str:
        """What keeps lines from being written, such as "ENOSPC"; empty while all is well."""
        return self._problem

    @property
    def dropped(self) -> int:
        return self._dropped_by_record + self._dropped_by_writer

    def record(self, exchange: Exchange) -> None:
        weight = _weight(exchange)
        too_many = self._queue.qsize() >= self._limit
        too_much = self._bytes_in - self._bytes_out + weight > MAX_WAITING_BYTES
        if too_many or too_much or self._closing.is_set():
            self._dropped_by_record += 1
            self._tell_drop(1)
            return
        self._bytes_in += weight
        self._queue.put(exchange)

    async def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="guardproxy-audit", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Writes what is waiting; what a dead disk keeps back for CLOSE_TIMEOUT_S is dropped and counted."""
        self._give_up_at = time.monotonic() + CLOSE_TIMEOUT_S
        self._closing.set()
        self._queue.put(None)  # wakes the writer
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT_S + 2 * RETRY_S)

    # The writer's thread

    def _run(self) -> None:
        last = self._file.last_line()
        self._prev = self._renderer.chain(last) if last else ""
        self._attempt_write()
        while not self._done():
            self._collect()
            self._attempt_write()
            if self._problem:
                self._pause()
        self._finish()

    def _done(self) -> bool:
        if not self._closing.is_set():
            return False
        return (not self._waiting and self._queue.empty()) or time.monotonic() > self._give_up_at

    def _pause(self) -> None:
        if self._closing.wait(RETRY_S):
            time.sleep(RETRY_S / 10)

    def _collect(self) -> None:
        """Fills `_waiting` up to a batch; waits for the first line unless there is trouble to come back to."""
        wait = not self._waiting and not self._problem
        with contextlib.suppress(Empty):
            while len(self._waiting) < MAX_BATCH:
                exchange = self._queue.get(block=wait)
                if exchange is None:
                    break
                self._render(exchange)
                if wait:
                    self._closing.wait(GATHER_S)
                wait = False

    def _render(self, exchange: Exchange) -> None:
        dropped = self.dropped
        try:
            data = self._renderer.line(exchange, prev=self._prev, dropped=dropped - self._drops_told)
        except Exception as error:
            _log.error("an exchange was not recorded: %s", type(error).__name__)
            self._bytes_out += _weight(exchange)
            self._drop(1)
            return
        self._waiting.append(_Line(data, _weight(exchange)))
        self._prev = self._renderer.chain(data)
        self._drops_told = dropped

    def _attempt_write(self) -> None:
        try:
            self._write()
        except OSError as error:
            self._degrade(errno.errorcode.get(error.errno or 0, type(error).__name__))
        except ValueError as error:  # a path that cannot be one
            self._degrade(type(error).__name__)
        else:
            self._recover()

    def _write(self) -> None:
        self._file.open()
        while self._waiting:
            written = self._file.write([line.data for line in self._waiting])
            self._bytes_out += sum(line.weight for line in self._waiting[:written])
            del self._waiting[:written]

    def _degrade(self, problem: str) -> None:
        self._problem = problem
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            _log.error("the audit log cannot be written: %s; %d records dropped so far", problem, self.dropped)

    def _recover(self) -> None:
        if self._problem:
            _log.warning("the audit log is written again; %d records were dropped", self.dropped)
            self._problem = ""
            self._logged_at = float("-inf")

    def _drop(self, count: int) -> None:
        if count:
            self._dropped_by_writer += count
            self._tell_drop(count)

    def _finish(self) -> None:
        self._drop(len(self._waiting) + self._empty_queue())
        with contextlib.suppress(OSError):
            self._file.sync()
        with contextlib.suppress(OSError):
            self._file.close()

    def _empty_queue(self) -> int:
        count = 0
        with contextlib.suppress(Empty):
            while True:
                count += self._queue.get(block=False) is not None
        return count

    def _tell_drop(self, count: int) -> None:
        try:
            self._on_drop(count)
        except Exception as error:
            _log.error("dropped audit records were not counted: %s", type(error).__name__)


def _weight(exchange: Exchange) -> int:
    """Roughly the bytes that an exchange keeps alive."""
    asked = sum(len(message.text) for message in exchange.request.messages) if exchange.request else 0
    return asked + sum(
        sum(len(call.arguments) for call in attempt.turn.calls) + sum(map(len, attempt.turn.texts.values()))
        for attempt in exchange.attempts
    )
