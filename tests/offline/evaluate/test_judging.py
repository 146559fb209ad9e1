import asyncio
from typing import Any

import pytest

from guardproxy.decision import Finding, Mode, OnError, Verdict
from guardproxy.model import Request
from guardproxy.offline.evaluate.judging import Judge, Judgement
from guardproxy.offline.evaluate.rows import parse
from guardproxy.runtime import Runtime
from guardproxy.taint import TaintMemory
from guardproxy.testing.fakes import FakeGuard, FakeRouter, FakeUpstream, finding


def judge(row: dict[str, Any], *guards: FakeGuard) -> Judgement:
    runtime = Runtime("r1", guards, FakeRouter(FakeUpstream([])), TaintMemory())
    judgement = asyncio.run(Judge(runtime).judge(parse(row)))
    assert judgement is not None
    return judgement


def scored(score: float, verdict: Verdict = Verdict.ALLOW, mode: Mode = Mode.ENFORCE) -> Finding:
    return Finding("model", "score", "score", verdict, mode, score=score)


def saying(*findings: Finding, **options: Any) -> FakeGuard:
    return FakeGuard(lambda call: findings, **options)


@pytest.mark.parametrize(
    ("verdict", "flagged", "score"),
    [
        (Verdict.ALLOW, False, 0.0),
        (Verdict.REWRITE, False, 0.0),
        (Verdict.REASK, True, 1.0),
        (Verdict.BLOCK, True, 1.0),
    ],
    ids=lambda value: str(value),
)
def test_a_guard_without_scores_says_all_or_nothing(make, verdict: Verdict, flagged: bool, score: float) -> None:
    said = judge(make(), saying(finding(verdict, replacement='{"command":"ls"}')))
    assert (said.flagged, said.score, said.scored) == (flagged, score, False)


def test_the_highest_score_counts(make) -> None:
    said = judge(make(), saying(scored(0.2), scored(0.4)), saying(scored(0.3)))
    assert (said.flagged, said.score, said.scored) == (False, 0.4, True)


def test_a_flagged_row_keeps_its_score(make) -> None:
    said = judge(make(), saying(scored(0.7, Verdict.BLOCK)))
    assert (said.flagged, said.score) == (True, 0.7)


def test_what_is_only_monitored_counts_as_flagged(make) -> None:
    guard = saying(scored(0.7, Verdict.BLOCK, Mode.MONITOR), mode=Mode.MONITOR)
    assert judge(make(), guard).flagged


def test_a_rule_that_blocks_spares_the_model_and_scores_one(make) -> None:
    model = saying(scored(0.1))
    said = judge(make(), saying(finding(Verdict.BLOCK)), model)
    assert (said.flagged, said.score, model.seen) == (True, 1.0, [])


def test_the_guard_is_asked_about_the_call_in_its_request(make) -> None:
    guard = saying()
    judge(make(), guard)
    (call,) = guard.seen
    assert (call.name, call.arguments) == ("bash", '{"command":"ls"}')
    assert guard.contexts[0].request.messages[-1].text == "List my files."
    assert guard.contexts[0].revision == "r1"


def test_earlier_results_are_judged_and_taint_the_call(make, past_call) -> None:
    history = [past_call("c", "cat a"), {"role": "tool", "tool_call_id": "c", "content": "evil"}]
    guard = saying(flag_results=lambda text: text == "evil")
    judge(make(history=history), guard)
    assert len(guard.contexts[0].tainted) == 1
    history[1]["content"] = "fine"
    judge(make(history=history), guard)
    assert not guard.contexts[1].tainted


def test_a_finding_on_an_earlier_result_is_not_one_on_the_call(make, past_call) -> None:
    history = [past_call("c", "cat a"), {"role": "tool", "tool_call_id": "c", "content": "evil"}]
    said = judge(make(history=history), saying(flag_results=lambda text: True))
    assert (said.flagged, said.score) == (False, 0.0)


def test_a_result_is_judged_itself(make) -> None:
    guard = saying(flag_results=lambda text: text == "evil")
    bad, good = (judge(make(kind="tool_result", tool_result=text), guard) for text in ("evil", "fine"))
    assert (bad.flagged, bad.score) == (True, 1.0)
    assert (good.flagged, good.score) == (False, 0.0)


def test_rows_do_not_remember_each_other(make) -> None:
    seen: list[str] = []

    def note(text: str) -> bool:
        seen.append(text)
        return False

    runtime = Runtime("r1", (saying(flag_results=note),), FakeRouter(FakeUpstream([])), TaintMemory())
    judge = Judge(runtime)
    for _ in range(2):
        asyncio.run(judge.judge(parse(make(kind="tool_result", tool_result="same"))))
    assert seen == ["same", "same"]


def test_a_guard_that_fails_blocks_and_is_counted(make) -> None:
    def fail(_: object) -> Any:
        raise RuntimeError("not to be quoted")

    said = judge(make(), FakeGuard(fail))
    assert (said.flagged, said.score, said.failures) == (True, 1.0, ("fake_guard: RuntimeError",))
    result = judge(make(kind="tool_result", tool_result="x"), FakeGuard(fail, flag_results=fail))
    assert (result.flagged, result.score, result.failures) == (True, 1.0, ("fake_guard: RuntimeError",))
    allowed = judge(make(), FakeGuard(fail, on_error=OnError.ALLOW))
    assert (allowed.flagged, allowed.score, len(allowed.failures)) == (False, 0.0, 1)


def test_a_deadline_counts_as_a_failure(make) -> None:
    said = judge(make(), saying(delay_s=5.0, deadline_s=0.01))
    assert (said.flagged, said.failures) == (True, ("fake_guard: deadline",))


def test_nobody_judges_a_request_of_the_user(make) -> None:
    runtime = Runtime("r1", (saying(),), FakeRouter(FakeUpstream([])), TaintMemory())
    assert asyncio.run(Judge(runtime).judge(parse(make(kind="user_request")))) is None


def risk_of(request: Request) -> float:
    return 0.8 if "List" in request.messages[-1].text else 0.2


def test_a_request_of_the_user_is_judged_where_a_guard_reads_it(make) -> None:
    guard = saying(risk=risk_of)
    bad, good = (judge(make(kind="user_request", user_task=task), guard) for task in ("List my files.", "Hello."))
    assert (bad.flagged, bad.score, bad.scored) == (True, 0.8, True)
    assert (good.flagged, good.score, good.scored) == (False, 0.2, True)


def test_a_guard_that_fails_on_a_request_flags_it(make) -> None:
    def fail(_: object) -> Any:
        raise RuntimeError("not to be quoted")

    said = judge(make(kind="user_request"), saying(risk=fail))
    assert (said.flagged, said.score, said.failures) == (True, 1.0, ("fake_guard: RuntimeError",))


def test_a_flagged_request_is_known_when_its_call_is_judged(make) -> None:
    guard = saying(risk=risk_of)
    said = judge(make(), guard)
    assert guard.contexts[0].risky
    assert (said.flagged, said.score) == (False, 0.0)  # it is the call that is judged
