"""What a guard is: it is asked about a turn, or about a tool result, and says what it finds. It fails closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from guardproxy.decision import Finding, Mode, OnError
from guardproxy.model import CallKey, Request, ToolCall, ToolResult, Turn


@dataclass(frozen=True, slots=True)
class Context:
    """What a guard may know beside the turn.

    `tainted` holds the digests of the results in `request` that a guard flagged, now or earlier: a call of this turn
    may have been steered by one of them. `risky` says that a guard flagged what the user asks for. `revision` is the
    policy's digest.
    """

    request: Request
    revision: str
    tainted: frozenset[str] = frozenset()
    risky: bool = False


class Guard(Protocol):
    """Judges calls. Raises GuardError (or anything) when it cannot; `decide` then blocks or, by `on_error`, allows.

    `review` is given the calls that are still undecided and returns an entry for every one of them: an empty
    sequence says "nothing found". A call without an entry counts as not judged. `deadline_s` bounds one review.
    """

    name: str
    mode: Mode
    on_error: OnError
    deadline_s: float

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        """Findings by call."""
        ...

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        """Findings on a tool result that was not seen before; any enforced one flags it."""
        ...

    @property
    def reads_requests(self) -> bool:
        """Whether it judges what users ask for: who does not is not asked."""
        ...

    async def review_request(self, request: Request, context: Context) -> Sequence[Finding]:
        """Findings on what the user asks for; any enforced one flags it.

        A flagged request goes to the model all the same: the calls that follow are held to stricter bounds.
        """
        ...
