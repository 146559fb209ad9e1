"""Asking the guards. Cheap ones come first, and a call that one of them blocks is not shown to the dearer ones."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace

from guardproxy.decision import Finding, GuardReport, Mode, OnError, Permit, Rewrite, Verdict, confirm_rewrites, decide
from guardproxy.guards.guard import Context, Guard
from guardproxy.model import CallKey, Request, ToolCall, ToolResult, Turn

_log = logging.getLogger(__name__)


async def review_turn(guards: Sequence[Guard], turn: Turn, context: Context) -> tuple[Permit, list[GuardReport]]:
    """The decision on a turn. Rewritten calls are reviewed once more, as they would leave."""
    reports = await _ask_all(guards, turn, context)
    permit = decide(turn, reports)
    if any(isinstance(outcome, Rewrite) for outcome in permit.decision.outcomes.values()):
        rewritten = _as_rewritten(turn, permit)
        again = await _ask_all(guards, rewritten, context)
        permit = confirm_rewrites(permit, decide(rewritten, again))
        reports += again
    return permit, reports


@dataclass(frozen=True, slots=True)
class ResultReview:
    """What the guards say of a tool result. It is `certain`, and worth remembering, unless a guard failed."""

    flagged: bool
    certain: bool
    failures_allowed: tuple[str, ...] = ()
    uninspected: tuple[str, ...] = ()  # codes of findings that say so


async def review_result(guards: Sequence[Guard], result: ToolResult, context: Context) -> ResultReview:
    """Whether any guard flags a tool result. A guard that fails flags it, unless its `on_error` is allow."""
    failed: list[Guard] = []
    uninspected: list[str] = []
    for guard in guards:
        findings = await _said(guard, guard.review_result(result, context), "tool result")
        if findings is None:
            failed.append(guard)
            continue
        uninspected += [f.code for f in findings if f.uninspected]
        if any(map(_flags, findings)):
            return ResultReview(flagged=True, certain=True, uninspected=tuple(uninspected))
    flagged, allowed = _of_failures(failed)
    return ResultReview(flagged, certain=not failed, failures_allowed=allowed, uninspected=tuple(uninspected))


@dataclass(frozen=True, slots=True)
class RequestReview:
    """What the guards say of what the user asks for. `risk` is the highest score, 1 where one objects without a score,
    None where none judged it."""

    flagged: bool
    risk: float | None
    failures_allowed: tuple[str, ...] = ()
    uninspected: tuple[str, ...] = ()


async def review_request(guards: Sequence[Guard], request: Request, context: Context) -> RequestReview:
    """All guards that read requests are asked. One that fails flags the request, unless its `on_error` is allow."""
    failed: list[Guard] = []
    found: list[Finding] = []
    for guard in guards:
        if not guard.reads_requests:
            continue
        findings = await _said(guard, guard.review_request(request, context), "request")
        if findings is None:
            failed.append(guard)
        else:
            found += findings
    flagged, allowed = _of_failures(failed)
    scores = [f.score for f in found if f.score is not None]
    scores += [1.0 for f in found if f.score is None and f.verdict is not Verdict.ALLOW]
    uninspected = tuple(f.code for f in found if f.uninspected)
    return RequestReview(flagged or any(map(_flags, found)), max(scores, default=None), allowed, uninspected)


async def _said(guard: Guard, review: Awaitable[Sequence[Finding]], of: str) -> Sequence[Finding] | None:
    """None where the guard failed."""
    try:
        async with asyncio.timeout(guard.deadline_s):
            return tuple(await review)
    except Exception as error:
        _log.warning("guard %s failed on a %s: %s", guard.name, of, type(error).__name__)
        return None


def _flags(finding: Finding) -> bool:
    return finding.enforced and finding.verdict is not Verdict.ALLOW


def _of_failures(failed: Sequence[Guard]) -> tuple[bool, tuple[str, ...]]:
    """Whether guards that failed flag what they were asked about, and which of them let it pass."""
    flagged = any(guard.on_error is OnError.BLOCK and guard.mode is Mode.ENFORCE for guard in failed)
    return flagged, tuple(guard.name for guard in failed if guard.on_error is OnError.ALLOW)


def _as_rewritten(turn: Turn, permit: Permit) -> Turn:
    def rewritten(call: ToolCall) -> ToolCall:
        outcome = permit.decision.outcomes[call.key]
        return replace(call, arguments=outcome.arguments) if isinstance(outcome, Rewrite) else call

    return replace(turn, calls=tuple(map(rewritten, turn.calls)))


async def _ask_all(guards: Sequence[Guard], turn: Turn, context: Context) -> list[GuardReport]:
    reports: list[GuardReport] = []
    blocked: set[CallKey] = set()
    for guard in guards:
        report = await _ask(guard, turn, frozenset(blocked), context)
        reports.append(report)
        blocked |= {key for key, findings in report.findings.items() if any(map(_blocks, findings))}
    return reports


def _blocks(finding: Finding) -> bool:
    return finding.enforced and finding.verdict is Verdict.BLOCK


async def _ask(guard: Guard, turn: Turn, blocked: frozenset[CallKey], context: Context) -> GuardReport:
    calls = [call for call in turn.calls if call.key not in blocked]
    started = time.perf_counter()
    findings: Mapping[CallKey, Sequence[Finding]] = {}
    outcome = "ok"
    try:
        if calls:
            async with asyncio.timeout(guard.deadline_s):
                said = await guard.review(turn, calls, context)
            findings = {key: tuple(found) for key, found in said.items()}
    except TimeoutError:
        outcome = "timeout"
    except Exception as error:  # whatever went wrong in a guard is "no verdict", which decide() reads as a block
        _log.warning("guard %s failed: %s", guard.name, type(error).__name__)
        outcome = "error"
    seconds = time.perf_counter() - started
    return GuardReport(guard.name, guard.mode, guard.on_error, findings, outcome, seconds, skipped=blocked)
