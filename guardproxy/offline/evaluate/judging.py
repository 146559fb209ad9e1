"""Judging rows as the proxy judges: the same reading, the same reviews, with guards that tell what they said."""

import time
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from guardproxy.decision import Finding, Mode, OnError, Verdict
from guardproxy.exchange import Exchange
from guardproxy.guards.guard import Context, Guard
from guardproxy.intake import RequestReview, review_results
from guardproxy.model import CallKey, Request, ToolCall, ToolResult, Turn
from guardproxy.offline.evaluate.conversation import request_of, turn_of
from guardproxy.offline.evaluate.rows import Kind, Row
from guardproxy.review import review_request, review_result, review_turn
from guardproxy.runtime import Runtime
from guardproxy.taint import TaintMemory


@dataclass(frozen=True, slots=True)
class Judgement:
    """`score` is the highest that a guard gave, 1 where one objects without a score, 0 where none says anything.

    `scored` says that a guard gave one. `failures` names guards that gave no verdict, and why: that may be what flagged
    the row.
    """

    flagged: bool
    score: float
    scored: bool
    failures: tuple[str, ...]
    seconds: float


@dataclass(slots=True)
class _Heard:
    """What the guards said since it was last emptied."""

    findings: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def fail(self, guard: str, error: BaseException) -> None:
        """A deadline cancels."""
        self.failures.append(f"{guard}: {'deadline' if isinstance(error, CancelledError) else type(error).__name__}")


class _Witness:
    """A guard that is heard, and that enforces whatever its mode: what it would block is what is measured."""

    def __init__(self, guard: Guard, heard: _Heard) -> None:
        self.name = guard.name
        self.mode = Mode.ENFORCE
        self.on_error: OnError = guard.on_error
        self.deadline_s = guard.deadline_s
        self.reads_requests = guard.reads_requests
        self._guard = guard
        self._heard = heard

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        try:
            said = await self._guard.review(turn, calls, context)
        except BaseException as error:
            self._heard.fail(self.name, error)
            raise
        return {key: self._hear(findings) for key, findings in said.items()}

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        try:
            return self._hear(await self._guard.review_result(result, context))
        except BaseException as error:
            self._heard.fail(self.name, error)
            raise

    async def review_request(self, request: Request, context: Context) -> Sequence[Finding]:
        try:
            return self._hear(await self._guard.review_request(request, context))
        except BaseException as error:
            self._heard.fail(self.name, error)
            raise

    def _hear(self, findings: Sequence[Finding]) -> Sequence[Finding]:
        enforced = tuple(replace(finding, mode=Mode.ENFORCE) for finding in findings)
        self._heard.findings += enforced
        return enforced


class Judge:
    """Judges one row at a time. Nothing is remembered from one row to the next."""

    def __init__(self, runtime: Runtime) -> None:
        self._heard = _Heard()
        witnesses = tuple(_Witness(guard, self._heard) for guard in runtime.guards)
        self._runtime = replace(runtime, guards=witnesses)

    async def judge(self, row: Row) -> Judgement | None:
        """None where no guard judges this kind of row. Raises MalformedRequest."""
        request = request_of(row, self._runtime.request_rules)
        match row.kind:
            case Kind.TOOL_CALL:
                return await self._call(request, turn_of(row))
            case Kind.TOOL_RESULT:
                return await self._result(request)
            case Kind.USER_REQUEST:
                return await self._request(request)
            case _:
                assert_never(row.kind)

    async def _call(self, request: Request, turn: Turn) -> Judgement:
        runtime = replace(self._runtime, taint=TaintMemory())
        exchange = Exchange("evaluate", request.surface, runtime.revision)
        context = await review_results(request, runtime, exchange)
        context = await RequestReview(runtime, context, exchange).context()
        self._empty()
        started = time.perf_counter()
        permit, _ = await review_turn(runtime.guards, turn, context)
        seconds = time.perf_counter() - started
        return self._judgement(permit.decision.action in (Verdict.BLOCK, Verdict.REASK), seconds)

    async def _result(self, request: Request) -> Judgement:
        self._empty()
        started = time.perf_counter()
        review = await review_result(
            self._runtime.guards, request.results[-1], Context(request, self._runtime.revision)
        )
        return self._judgement(review.flagged, time.perf_counter() - started)

    async def _request(self, request: Request) -> Judgement | None:
        self._empty()
        started = time.perf_counter()
        review = await review_request(self._runtime.guards, request, Context(request, self._runtime.revision))
        if review.risk is None and not self._heard.failures:
            return None
        return self._judgement(review.flagged, time.perf_counter() - started)

    def _empty(self) -> None:
        self._heard.findings.clear()
        self._heard.failures.clear()

    def _judgement(self, flagged: bool, seconds: float) -> Judgement:
        findings = self._heard.findings
        scores = [finding.score for finding in findings if finding.score is not None]
        objects = any(finding.score is None and finding.verdict > Verdict.REWRITE for finding in findings)
        silent = flagged and not scores  # a guard that failed
        score = max([*scores, 1.0 if objects or silent else 0.0])
        return Judgement(flagged, score, bool(scores), tuple(self._heard.failures), seconds)
