"""The guard that applies the rule packs: deterministic, first in line, needs nothing but the call."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from guardproxy.decision import Finding, Mode, OnError
from guardproxy.guards.guard import Context
from guardproxy.model import CallKey, Request, ToolCall, ToolResult, Turn
from guardproxy.policy.engine import GUARD, evaluate, evaluate_result
from guardproxy.policy.policy import Policy
from guardproxy.policy.scene import Scene

INLINE = 16_384  # characters of arguments that are judged on the event loop; more goes to a thread
READING_SHARE = 0.6  # of the deadline, for reading scripts; what is not read by then counts as too large


class RulesGuard:
    """Judges calls and tool results by a policy. In monitor mode nothing that it finds is enforced."""

    name = GUARD
    reads_requests = False

    def __init__(
        self, *, policy: Policy, mode: Mode = Mode.ENFORCE, on_error: OnError = OnError.BLOCK, deadline_s: float = 1.0
    ) -> None:
        self.policy = policy
        self.mode = mode
        self.on_error = on_error
        self.deadline_s = deadline_s

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        def judge() -> dict[CallKey, Sequence[Finding]]:
            scene = Scene(context.request, turn, context.tainted, self._stop())
            return {call.key: self._in_mode(evaluate(self.policy, call, scene)) for call in calls}

        if sum(len(call.arguments) for call in calls) <= INLINE and not self._must_read_much(context):
            return judge()
        return await asyncio.to_thread(judge)

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        def judge() -> Sequence[Finding]:
            scene = Scene(context.request, None, context.tainted, self._stop())
            return self._in_mode(evaluate_result(self.policy, result, scene))

        return judge() if len(result.text) <= INLINE else await asyncio.to_thread(judge)

    async def review_request(self, request: Request, context: Context) -> Sequence[Finding]:
        return ()

    def _must_read_much(self, context: Context) -> bool:
        """Whether a rule asks where values came from, and the conversation is long."""
        texts = (len(message.text) for message in context.request.messages)
        return self.policy.asks_for_provenance and sum(texts) > 8 * INLINE

    def _in_mode(self, findings: tuple[Finding, ...]) -> Sequence[Finding]:
        if self.mode is Mode.ENFORCE:
            return findings
        return tuple(replace(f, mode=Mode.MONITOR) for f in findings)

    def _stop(self) -> Callable[[], bool]:
        """True once reading has had its share of the deadline: hostile scripts can keep a parser busy for minutes."""
        end = time.monotonic() + self.deadline_s * READING_SHARE
        return lambda: time.monotonic() > end
