"""The lattice: the strictest of what the guards say, and nothing that was not judged."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.decision import (
    Allow,
    Block,
    Decision,
    Finding,
    GuardReport,
    Mode,
    OnError,
    Outcome,
    Permit,
    Reask,
    Rewrite,
    Verdict,
    block_reasked,
    confirm_rewrites,
    decide,
    verdict_of,
)
from guardproxy.model import CallKey, CallKind, ToolCall, Turn
from guardproxy.testing.fakes import finding

KEY, OTHER = CallKey(0, 0), CallKey(0, 1)
ALLOW, REWRITE, REASK, BLOCK = Verdict


def turn(*keys: CallKey, kind: CallKind = CallKind.FUNCTION) -> Turn:
    return Turn(tuple(ToolCall(key, kind, "c", "tool", "{}") for key in keys or (KEY,)), {}, {0: "tool_calls"})


def report(
    *findings: Finding,
    mode: Mode = Mode.ENFORCE,
    on_error: OnError = OnError.BLOCK,
    outcome: str = "ok",
    silent: bool = False,
    skipped: bool = False,
    guard: str = "g",
) -> GuardReport:
    said = {} if silent else {KEY: findings}
    return GuardReport(guard, mode, on_error, said, outcome, skipped=frozenset([KEY] if skipped else []))


def outcome(*reports: GuardReport) -> Outcome:
    return decide(turn(), reports).decision.outcomes[KEY]


def rewrite(arguments: str | None, mode: Mode = Mode.ENFORCE) -> Finding:
    return finding(REWRITE, replacement=arguments, mode=mode)


CLEAN = report()
BLOCKED = Block("fake_code", "Ask the user first.")


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], Block("not_judged")),
        ([CLEAN], Allow()),
        ([report(finding(ALLOW))], Allow()),
        ([report(finding(BLOCK))], BLOCKED),
        ([report(finding(REASK))], Reask("Ask the user first.")),
        ([report(rewrite("x"))], Rewrite("x")),
        ([report(rewrite(""))], Rewrite("")),
        ([report(finding(REASK), finding(BLOCK))], BLOCKED),
        ([report(finding(BLOCK)), CLEAN], BLOCKED),
        ([CLEAN, report(finding(BLOCK))], BLOCKED),
        ([report(rewrite("x")), report(finding(REASK))], Reask("Ask the user first.")),
        # rewrites
        ([report(rewrite("x")), report(rewrite("x"))], Rewrite("x")),
        ([report(rewrite("x")), report(rewrite("y"))], Block("conflicting_rewrites")),
        ([report(rewrite("x"), rewrite("y"))], Block("conflicting_rewrites")),
        ([report(rewrite(None))], Block("conflicting_rewrites")),
        ([report(rewrite("x"), rewrite(None))], Block("conflicting_rewrites")),
        ([report(rewrite("x"), rewrite("y", Mode.MONITOR))], Rewrite("x")),
        # monitor
        ([report(finding(BLOCK, mode=Mode.MONITOR))], Allow()),
        ([report(finding(BLOCK, mode=Mode.MONITOR), finding(REASK))], Reask("Ask the user first.")),
        ([report(silent=True, mode=Mode.MONITOR)], Allow()),
        ([report(outcome="error", mode=Mode.MONITOR)], Allow()),
        # no verdict
        ([report(silent=True)], Block("guard_silent")),
        ([report(outcome="error")], Block("guard_error")),
        ([report(outcome="timeout")], Block("guard_timeout")),
        ([report(finding(ALLOW), outcome="error")], Block("guard_error")),
        ([report(outcome="error"), CLEAN], Block("guard_error")),
        ([report(silent=True, on_error=OnError.ALLOW)], Allow()),
        ([report(outcome="timeout", on_error=OnError.ALLOW)], Allow()),
        ([report(outcome="error", on_error=OnError.ALLOW), report(finding(BLOCK))], BLOCKED),
        ([report(outcome="error", on_error=OnError.ALLOW), report(outcome="error")], Block("guard_error")),
        # skipped: only after an enforced block, and only where the report says so
        ([report(finding(BLOCK)), report(silent=True, skipped=True)], BLOCKED),
        ([report(silent=True, skipped=True)], Block("guard_silent")),
        ([CLEAN, report(silent=True, skipped=True)], Block("guard_silent")),
        ([report(silent=True, skipped=True), report(finding(BLOCK))], Block("guard_silent")),
        ([report(finding(BLOCK, mode=Mode.MONITOR)), report(silent=True, skipped=True)], Block("guard_silent")),
        ([report(finding(REASK)), report(silent=True, skipped=True)], Block("guard_silent")),
        ([report(finding(BLOCK), outcome="error", on_error=OnError.ALLOW), report(silent=True, skipped=True)],
         Block("guard_silent")),
    ],
)  # fmt: skip
def test_cases(reports: list[GuardReport], expected: Outcome) -> None:
    assert outcome(*reports) == expected


def test_each_call_gets_its_own_outcome_and_one_without_an_entry_is_blocked() -> None:
    permit = decide(turn(KEY, OTHER), [report()])
    assert permit.decision.outcomes == {KEY: Allow(), OTHER: Block("guard_silent")}
    assert permit.decision.action is BLOCK


def test_a_finding_on_a_call_that_does_not_exist_changes_nothing() -> None:
    stray = GuardReport("g", Mode.ENFORCE, OnError.BLOCK, {KEY: (), OTHER: (finding(BLOCK),)})
    assert decide(turn(KEY), [stray]).decision.outcomes == {KEY: Allow()}


def test_a_turn_without_calls_needs_no_guard() -> None:
    decision = decide(Turn((), {0: "hello"}, {0: "stop"}), []).decision
    assert (decision.action, decision.verdict, decision.outcomes) == (ALLOW, ALLOW, {})


def test_the_verdict_counts_monitored_findings_and_the_action_does_not() -> None:
    decision = decide(turn(), [report(finding(BLOCK, mode=Mode.MONITOR))]).decision
    assert (decision.verdict, decision.action) == (BLOCK, ALLOW)


def test_failures_that_were_let_pass_are_named_silence_included() -> None:
    reports = [
        report(outcome="error", on_error=OnError.ALLOW, guard="failed"),
        report(outcome="timeout", on_error=OnError.ALLOW, guard="late"),
        report(silent=True, on_error=OnError.ALLOW, guard="silent"),
        report(outcome="error", mode=Mode.MONITOR, guard="monitored"),
        report(guard="fine", on_error=OnError.ALLOW),
    ]
    assert decide(turn(), reports).decision.failures_allowed == ("failed", "late", "silent")


@pytest.mark.parametrize("kind", [CallKind.OPAQUE, CallKind.TEXT, CallKind.APPROVAL])
def test_a_rewrite_of_what_cannot_be_rewritten_blocks(kind: CallKind) -> None:
    """Nobody knows where its arguments are, or the provider has them already: what would be run is not what was
    rewritten."""
    permit = decide(turn(kind=kind), [report(rewrite("x"))])
    assert permit.decision.outcomes == {KEY: Block("rewrite_impossible")}


@pytest.mark.parametrize("mint", [None, object(), True, "mint"])
def test_a_permit_is_not_built_by_hand(mint: object) -> None:
    with pytest.raises(TypeError):
        Permit(turn(), Decision({KEY: Allow()}), mint)


def test_a_permit_is_not_changed_after_the_fact() -> None:
    permit = decide(turn(), [])
    with pytest.raises(AttributeError):
        permit.decision = Decision({KEY: Allow()})
    with pytest.raises(AttributeError):
        permit.turn = turn()


def test_reasks_harden_into_blocks_and_nothing_else_changes() -> None:
    permit = decide(
        turn(KEY, OTHER), [GuardReport("g", Mode.ENFORCE, OnError.BLOCK, {KEY: [finding(REASK)], OTHER: []})]
    )
    hard = block_reasked(permit)
    assert hard.decision.outcomes == {KEY: Block("reask_exhausted", "Ask the user first."), OTHER: Allow()}
    assert hard.decision.findings == permit.decision.findings
    assert hard.turn is permit.turn


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([rewrite("x")], [], Rewrite("x")),
        ([rewrite("x")], [rewrite("x")], Rewrite("x")),
        ([rewrite("x")], [rewrite("y")], Block("unstable_rewrite")),
        ([rewrite("x")], [finding(REASK)], Reask("Ask the user first.")),
        ([rewrite("x")], [finding(BLOCK)], BLOCKED),
        ([], [], Allow()),
        ([], [finding(BLOCK)], BLOCKED),
        ([], [finding(REASK)], Reask("Ask the user first.")),
        ([], [rewrite("late")], Block("unstable_rewrite")),  # nobody has reviewed it
        ([finding(BLOCK)], [], BLOCKED),
        ([finding(REASK)], [], Reask("Ask the user first.")),
        ([finding(REASK)], [rewrite("x")], Reask("Ask the user first.")),
        ([finding(BLOCK)], [rewrite("x")], BLOCKED),
    ],
)
def test_a_second_review_confirms_rewrites(first: list[Finding], second: list[Finding], expected: Outcome) -> None:
    permit = decide(turn(), [report(*first)])
    again = decide(turn(), [report(*second)])
    confirmed = confirm_rewrites(permit, again)
    assert confirmed.decision.outcomes[KEY] == expected
    assert confirmed.turn is permit.turn
    assert len(confirmed.decision.findings.get(KEY, ())) == len(first) + len(second)


def test_failures_let_pass_in_the_second_review_are_named_too() -> None:
    late = report(outcome="timeout", on_error=OnError.ALLOW, guard="late")
    confirmed = confirm_rewrites(decide(turn(), [report(rewrite("x"))]), decide(turn(), [report(), late]))
    assert confirmed.decision.failures_allowed == ("late",)


FINDINGS = st.builds(
    finding,
    st.sampled_from(Verdict),
    mode=st.sampled_from(Mode),
    replacement=st.sampled_from([None, "x", "y"]),
)
REPORTS = st.builds(
    lambda findings, **how: report(*findings, **how),
    st.lists(FINDINGS, max_size=2),
    mode=st.sampled_from(Mode),
    on_error=st.sampled_from(OnError),
    outcome=st.sampled_from(["ok", "ok", "error", "timeout"]),
    silent=st.booleans(),
    skipped=st.booleans(),
)
REPORT_LISTS = st.lists(REPORTS, max_size=4)


def strictness(found: Outcome) -> int:
    return verdict_of(found).value


@given(st.lists(REPORTS, min_size=1, max_size=4), REPORTS)
def test_adding_a_report_never_loosens(reports: list[GuardReport], more: GuardReport) -> None:
    assert strictness(outcome(*reports, more)) >= strictness(outcome(*reports))


@given(REPORT_LISTS, st.randoms())
def test_the_order_of_full_reports_does_not_matter(reports: list[GuardReport], random: object) -> None:
    full = [replace(r, skipped=frozenset()) for r in reports]
    shuffled = list(full)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert strictness(outcome(*shuffled)) == strictness(outcome(*full))


@given(REPORT_LISTS)
def test_only_a_judged_call_is_allowed(reports: list[GuardReport]) -> None:
    if isinstance(outcome(*reports), Allow | Rewrite):
        assert reports
        for each in reports:
            judged = each.outcome == "ok" and KEY in each.findings
            assert judged or each.on_error is OnError.ALLOW or each.mode is Mode.MONITOR


@given(REPORT_LISTS, REPORT_LISTS)
def test_confirming_never_loosens(first: list[GuardReport], second: list[GuardReport]) -> None:
    permit = decide(turn(), first)
    confirmed = confirm_rewrites(permit, decide(turn(), second)).decision.outcomes[KEY]
    assert strictness(confirmed) >= strictness(permit.decision.outcomes[KEY])
    if isinstance(confirmed, Rewrite):
        assert confirmed == permit.decision.outcomes[KEY]
