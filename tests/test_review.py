"""Asking the guards: in order, in time, and never with a call that is already blocked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from guardproxy.decision import Allow, Block, Finding, GuardReport, Mode, OnError, Outcome, Rewrite, Verdict
from guardproxy.guards.guard import Context
from guardproxy.model import CallKey, CallKind, Request, ToolCall, ToolResult, Turn
from guardproxy.review import RequestReview, ResultReview, review_request, review_result, review_turn
from guardproxy.testing.fakes import FakeGuard, finding

CONTEXT = Context(Request("chat_completions", "m", False, {}, (), ()), "r1")
TURN = Turn(
    tuple(ToolCall(CallKey(0, i), CallKind.FUNCTION, f"c{i}", name, "{}") for i, name in enumerate("ab")), {}, {}
)
BLOCK = finding(Verdict.BLOCK)


def review(*guards: FakeGuard, turn: Turn = TURN) -> tuple[Mapping[CallKey, Outcome], list[GuardReport]]:
    permit, reports = asyncio.run(review_turn(guards, turn, CONTEXT))
    assert permit.turn is turn
    return permit.decision.outcomes, reports


def test_what_a_cheap_guard_blocks_the_next_is_not_asked() -> None:
    first = FakeGuard(lambda call: [BLOCK] if call.name == "a" else [], name="first")
    second = FakeGuard(lambda call: (), name="second")
    outcomes, reports = review(first, second)
    assert [call.name for call in second.seen] == ["b"]
    assert outcomes == {(0, 0): Block("fake_code", "Ask the user first."), (0, 1): Allow()}
    assert reports[1].skipped == {(0, 0)}


def test_a_guard_that_only_monitors_does_not_spare_the_next() -> None:
    first = FakeGuard(lambda call: [finding(Verdict.BLOCK, mode=Mode.MONITOR)], mode=Mode.MONITOR)
    second = FakeGuard(lambda call: ())
    review(first, second)
    assert [call.name for call in second.seen] == ["a", "b"]


def test_a_guard_with_nothing_left_to_judge_is_not_asked_and_blocks_nothing_more() -> None:
    def fails(call: ToolCall) -> Any:
        raise RuntimeError

    outcomes, reports = review(FakeGuard(lambda call: [BLOCK]), FakeGuard(fails))
    assert {type(outcome) for outcome in outcomes.values()} == {Block}
    assert [report.outcome for report in reports] == ["ok", "ok"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError(1), AssertionError(), RecursionError(), MemoryError()])
def test_whatever_goes_wrong_in_a_guard_is_no_verdict(error: Exception) -> None:
    def fails(call: ToolCall) -> Any:
        raise error

    outcomes, reports = review(FakeGuard(fails))
    assert set(outcomes.values()) == {Block("guard_error")}
    assert reports[0].outcome == "error"


def test_a_guard_that_takes_too_long_is_no_verdict() -> None:
    outcomes, reports = review(FakeGuard(lambda call: (), delay_s=5, deadline_s=0.01))
    assert set(outcomes.values()) == {Block("guard_timeout")}
    assert reports[0].outcome == "timeout"
    assert 0 < reports[0].seconds < 2


def test_a_cancellation_is_no_failure_of_a_guard() -> None:
    async def scenario() -> None:
        task = asyncio.create_task(review_turn([FakeGuard(lambda call: (), delay_s=5, deadline_s=9)], TURN, CONTEXT))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario())


@pytest.mark.parametrize("answer", [None, [], {"a": ()}, 7])
def test_a_guard_that_answers_nonsense_lets_nothing_pass(answer: object) -> None:
    class Nonsense(FakeGuard):
        async def review(self, turn: Turn, calls: Sequence[ToolCall], context: Context) -> Any:
            return answer

    outcomes, _ = review(Nonsense(lambda call: ()))
    assert {type(outcome) for outcome in outcomes.values()} == {Block}


def test_a_rewritten_call_is_reviewed_as_it_would_leave_by_all() -> None:
    def rewrites(call: ToolCall) -> Any:
        return [finding(Verdict.REWRITE, replacement="new")] if call.arguments != "new" else []

    watching = FakeGuard(lambda call: [BLOCK] if call == second else [], name="watching")
    first, second = TURN.calls[0], TURN.calls[1]
    turn = Turn((first,), {}, {})
    outcomes, reports = review(FakeGuard(rewrites), watching, turn=turn)
    assert outcomes == {first.key: Rewrite("new")}
    assert [call.arguments for call in watching.seen] == ["{}", "new"]
    assert len(reports) == 4

    objects = FakeGuard(lambda call: [BLOCK] if call.arguments == "new" else [])
    assert isinstance(review(FakeGuard(rewrites), objects, turn=turn)[0][first.key], Block)


# --- tool results ---------------------------------------------------------------------------------------------------

RESULT = ToolResult("c", "t", "text", "digest")


class Reader(FakeGuard):
    """Says `answer` of a tool result, or raises it, after a while."""

    def __init__(self, answer: Any, **fields: Any) -> None:
        super().__init__(lambda call: (), **fields)
        self.answer = answer

    async def review_result(self, result: ToolResult, context: Context) -> Any:
        await asyncio.sleep(self.delay_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


CLEAN, FLAGS, FAILS = Reader(()), Reader([finding(Verdict.REASK)]), Reader(RuntimeError())
UNREAD = Reader([replace(finding(Verdict.ALLOW), code="classifier_truncated", uninspected=True)])
LATE = Reader((), delay_s=5, deadline_s=0.01)
OPEN = Reader(RuntimeError(), on_error=OnError.ALLOW, name="open")
MONITORED = Reader([finding(Verdict.BLOCK, mode=Mode.MONITOR)], mode=Mode.MONITOR)


@pytest.mark.parametrize(
    ("guards", "expected"),
    [
        ([], ResultReview(False, True)),
        ([CLEAN], ResultReview(False, True)),
        ([Reader([finding(Verdict.ALLOW)])], ResultReview(False, True)),
        ([CLEAN, FLAGS], ResultReview(True, True)),
        ([UNREAD], ResultReview(False, True, uninspected=("classifier_truncated",))),
        ([UNREAD, FLAGS], ResultReview(True, True, uninspected=("classifier_truncated",))),
        ([MONITORED], ResultReview(False, True)),
        ([FAILS], ResultReview(True, False)),
        ([LATE], ResultReview(True, False)),
        ([FAILS, FLAGS], ResultReview(True, True)),
        ([OPEN], ResultReview(False, False, ("open",))),
        ([OPEN, FLAGS], ResultReview(True, True)),
        ([OPEN, FAILS], ResultReview(True, False, ("open",))),
        ([Reader(RuntimeError(), mode=Mode.MONITOR)], ResultReview(False, False)),
        ([Reader(None)], ResultReview(True, False)),
    ],
)
def test_a_tool_result(guards: list[FakeGuard], expected: ResultReview) -> None:
    assert asyncio.run(review_result(guards, RESULT, CONTEXT)) == expected


# --- the user's request ---------------------------------------------------------------------------------------------


class Asker(Reader):
    """Says `answer` of a request."""

    async def review_request(self, request: Request, context: Context) -> Any:
        return await self.review_result(RESULT, context)


def scored(score: float | None, verdict: Verdict = Verdict.ALLOW, mode: Mode = Mode.ENFORCE) -> list[Finding]:
    return [replace(finding(verdict, mode=mode), score=score)]


@pytest.mark.parametrize(
    ("guards", "expected"),
    [
        ([], RequestReview(False, None)),
        ([Asker(())], RequestReview(False, None)),
        ([Asker(scored(0.3))], RequestReview(False, 0.3)),
        ([Asker(scored(0.9, Verdict.BLOCK)), Asker(scored(0.95))], RequestReview(True, 0.95)),
        ([Asker(scored(0.9, Verdict.BLOCK, Mode.MONITOR), mode=Mode.MONITOR)], RequestReview(False, 0.9)),
        ([Asker(scored(None, Verdict.BLOCK))], RequestReview(True, 1.0)),
        ([Asker(scored(None))], RequestReview(False, None)),
        ([Asker(RuntimeError())], RequestReview(True, None)),
        ([Asker((), delay_s=5, deadline_s=0.01)], RequestReview(True, None)),
        ([Asker(RuntimeError(), mode=Mode.MONITOR)], RequestReview(False, None)),
        (
            [Asker(RuntimeError(), on_error=OnError.ALLOW, name="open"), Asker(scored(0.2))],
            RequestReview(False, 0.2, ("open",)),
        ),
        ([Asker(UNREAD.answer)], RequestReview(False, None, uninspected=("classifier_truncated",))),
    ],
)
def test_a_request(guards: list[FakeGuard], expected: RequestReview) -> None:
    assert asyncio.run(review_request(guards, CONTEXT.request, CONTEXT)) == expected
