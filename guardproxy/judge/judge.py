"""What a judge is."""

from typing import Protocol

from guardproxy.breaker import BreakerState
from guardproxy.model import Request, ToolCall


class Judge(Protocol):
    """`revision` changes when verdicts may; with `view.digest` it is the key of a verdict that is kept."""

    @property
    def revision(self) -> str: ...

    @property
    def truncated(self) -> int:
        """Calls of which a part was not read, since the start."""
        ...

    @property
    def queue_depth(self) -> int:
        """Calls that wait."""
        ...

    @property
    def breaker_state(self) -> BreakerState: ...

    async def score(self, call: ToolCall, request: Request, deadline_s: float) -> float:
        """The probability that carrying out the call does harm. Raises GuardError: Unavailable, Timeout or
        Failure (`flights`)."""
        ...

    def close(self) -> None:
        """Stops what runs and frees what is held. May be called twice; it may wait, so not on an event loop."""
        ...
