"""The record of everything that happened for one request. The pipeline fills it in; observers read it."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardproxy.decision import Decision, GuardReport
from guardproxy.model import Request, Turn


@dataclass(frozen=True, slots=True)
class Attempt:
    """One turn of the model and what was decided about it; there are several where the model was asked again."""

    turn: Turn
    decision: Decision
    reports: Sequence[GuardReport]


@dataclass(slots=True)
class Exchange:
    """Mutable on purpose: it is one request's notebook, written by the pipeline alone and handed over at the end.

    `outcome` is one of: completed, blocked, cancelled, refused (the client's fault), upstream_error, error.
    Times are seconds; `started_at` is Unix time.
    """

    id: str
    surface: str
    revision: str
    started_at: float = field(default_factory=time.time)
    model: str = ""
    upstream: str = ""
    stream: bool = False
    request: Request | None = None  # as the client asked; None where it could not be read
    status: int = 0
    outcome: str = "error"
    error_code: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    prefix_position: str = "none"
    prefix_outcome: str = "off"
    prefix_id: str = ""
    prefix_arm: str = ""  # empty: no prefix is at work for this model
    prefix_reply: str = ""  # what the model's last turn was: refusal, calls or text; empty as for the arm
    prefix_tampering: Counter[str] = field(default_factory=Counter)  # result_imitated, user_cancelled…
    tainted_results: tuple[str, ...] = ()  # digests of the tool results that a guard flagged
    request_risk: float | None = None  # the highest score of what the user asks for; None where no guard judged it
    request_flagged: bool = False
    uninspected: Counter[str] = field(default_factory=Counter)
    usage: Mapping[str, Any] | None = None
    upstream_headers: Sequence[tuple[str, str]] = ()  # those that may pass to the client
    upstream_seconds: float = 0.0
    guard_seconds: float = 0.0
    hold_seconds: float = 0.0
    client_seconds: float = 0.0  # waiting for the client to take what was sent
    total_seconds: float = 0.0

    hold_since: float | None = None  # time.perf_counter() of the first held frame, until release
    wait_since: float | None = None  # the same of a wait for the upstream

    def begin_hold(self) -> None:
        if self.hold_since is None:
            self.hold_since = time.perf_counter()

    def end_hold(self) -> None:
        if self.hold_since is not None:
            self.hold_seconds += time.perf_counter() - self.hold_since
            self.hold_since = None

    def begin_wait(self) -> None:
        self.wait_since = time.perf_counter()

    def end_wait(self) -> None:
        if self.wait_since is not None:
            self.upstream_seconds += time.perf_counter() - self.wait_since
            self.wait_since = None

    def end(self) -> None:
        """Closes whatever is still open. `total_seconds` is the caller's to set."""
        self.end_hold()
        self.end_wait()

    @property
    def upstream_request_id(self) -> str:
        return next((value for name, value in self.upstream_headers if name in ("x-request-id", "request-id")), "")

    @property
    def added_seconds(self) -> float:
        """What the proxy itself added: the total less the waiting on the upstream and on the client."""
        return max(0.0, self.total_seconds - self.upstream_seconds - self.client_seconds)

    @property
    def decision(self) -> Decision | None:
        """The decision in force: the last attempt's."""
        return self.attempts[-1].decision if self.attempts else None
