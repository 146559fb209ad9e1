"""From findings to a decision. Pure: no guard is called here, nothing is logged, nothing is sent.

A *verdict* is what the guards say, an *action* is what is done about it; they differ in monitor mode.
Only `decide` makes a `Permit`, and nothing leaves the gate without one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import NoReturn, assert_never

from guardproxy.model import CallKey, CallKind, Turn


class Verdict(IntEnum):
    """What a guard says of a call, in order of strictness."""

    ALLOW = 0
    REWRITE = 1
    REASK = 2
    BLOCK = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class Mode(StrEnum):
    ENFORCE = "enforce"
    MONITOR = "monitor"


class OnError(StrEnum):
    BLOCK = "block"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a guard says about one call.

    `code` is low-cardinality and safe to show and to count. `advice` is operator-written text for the model or the
    user; neither ever quotes an argument value. `replacement` is the whole new argument text of a rewrite.
    """

    guard: str
    rule: str
    code: str
    verdict: Verdict
    mode: Mode = Mode.ENFORCE
    advice: str = ""
    score: float | None = None
    replacement: str | None = None
    uninspected: bool = False  # it says that something was not looked at: its code is counted as such

    @property
    def enforced(self) -> bool:
        return self.mode is Mode.ENFORCE


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What one guard did for one turn. A call that `findings` has no entry for was not judged.

    `outcome` is ok, error or timeout; with one of the latter `findings` counts for nothing.
    """

    guard: str
    mode: Mode
    on_error: OnError
    findings: Mapping[CallKey, Sequence[Finding]]
    outcome: str = "ok"
    seconds: float = 0.0
    cached: bool = False
    skipped: frozenset[CallKey] = frozenset()  # already blocked by a cheaper guard, so not asked


@dataclass(frozen=True, slots=True)
class Allow:
    pass


@dataclass(frozen=True, slots=True)
class Rewrite:
    arguments: str


@dataclass(frozen=True, slots=True)
class Reask:
    feedback: str


@dataclass(frozen=True, slots=True)
class Block:
    code: str
    advice: str = ""


Outcome = Allow | Rewrite | Reask | Block


def verdict_of(outcome: Outcome) -> Verdict:
    match outcome:
        case Allow():
            return Verdict.ALLOW
        case Rewrite():
            return Verdict.REWRITE
        case Reask():
            return Verdict.REASK
        case Block():
            return Verdict.BLOCK
        case _:
            assert_never(outcome)


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of every call of a turn, and the findings behind it."""

    outcomes: Mapping[CallKey, Outcome]
    findings: Mapping[CallKey, tuple[Finding, ...]] = field(default_factory=dict)
    failures_allowed: tuple[str, ...] = ()  # guards that failed and whose on_error let the call pass

    @property
    def action(self) -> Verdict:
        """What is done: the strictest outcome."""
        return max(map(verdict_of, self.outcomes.values()), default=Verdict.ALLOW)

    @property
    def verdict(self) -> Verdict:
        """What was said: the strictest finding, monitored ones included."""
        said = (f.verdict for findings in self.findings.values() for f in findings)
        return max(said, default=Verdict.ALLOW)


_MINT = object()


class Permit:
    """The right to let one turn leave, as its decision says. Cannot be built outside this module."""

    __slots__ = ("decision", "turn")
    decision: Decision
    turn: Turn

    def __init__(self, turn: Turn, decision: Decision, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("a Permit is made by decide() and by nothing else")
        object.__setattr__(self, "turn", turn)
        object.__setattr__(self, "decision", decision)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Permit does not change")


def decide(turn: Turn, reports: Sequence[GuardReport]) -> Permit:
    """The strictest of what the guards say, call by call.

    A guard that failed, or that is silent about a call, blocks that call unless it is in monitor mode or its
    `on_error` is allow; so does a turn that no guard judged. Adding a report never loosens an outcome.
    """
    findings = {call.key: tuple(_findings_on(call.key, reports)) for call in turn.calls}
    decision = Decision(
        outcomes={call.key: _outcome(call.kind, findings[call.key]) for call in turn.calls},
        findings={key: said for key, said in findings.items() if said},
        failures_allowed=tuple(report.guard for report in reports if _failed_open(report, turn)),
    )
    return Permit(turn, decision, _MINT)


def block_reasked(permit: Permit) -> Permit:
    """The same decision with every reask hardened into a block, for when asking again is not possible."""

    def harden(outcome: Outcome) -> Outcome:
        return Block("reask_exhausted", outcome.feedback) if isinstance(outcome, Reask) else outcome

    if not any(isinstance(outcome, Reask) for outcome in permit.decision.outcomes.values()):
        return permit
    outcomes = {key: harden(outcome) for key, outcome in permit.decision.outcomes.items()}
    return Permit(permit.turn, replace(permit.decision, outcomes=outcomes), _MINT)


_FIXED = frozenset({CallKind.OPAQUE, CallKind.TEXT, CallKind.APPROVAL})
"""Calls whose arguments cannot be changed: nobody knows where, or how, they are written, or who runs the call has them
already."""

_NOT_JUDGED = Finding("pipeline", "not_judged", "not_judged", Verdict.BLOCK)


def confirm_rewrites(first: Permit, second: Permit) -> Permit:
    """`first`, each of its rewrites confirmed only if `second`, the review of the rewritten turn, has no objection.

    A rewrite that the second review would rewrite differently never settles, so it blocks.
    """
    outcomes: dict[CallKey, Outcome] = {}
    for key, outcome in first.decision.outcomes.items():
        again = second.decision.outcomes[key]
        match outcome, again:
            case Rewrite(), Allow():
                outcomes[key] = outcome
            case Rewrite(arguments=arguments), Rewrite(arguments=same) if arguments == same:
                outcomes[key] = outcome
            case Allow() | Rewrite(), Rewrite():  # nobody has reviewed the newest one
                outcomes[key] = Block("unstable_rewrite")
            case _:
                outcomes[key] = max(outcome, again, key=verdict_of)
    findings = {
        call.key: first.decision.findings.get(call.key, ()) + second.decision.findings.get(call.key, ())
        for call in first.turn.calls
    }
    failures = tuple(dict.fromkeys(first.decision.failures_allowed + second.decision.failures_allowed))
    said = {key: both for key, both in findings.items() if both}
    return Permit(first.turn, Decision(outcomes, said, failures), _MINT)


def _findings_on(key: CallKey, reports: Sequence[GuardReport]) -> Iterable[Finding]:
    if not reports:
        yield _NOT_JUDGED
    blocked_before = False
    for report in reports:
        if report.outcome == "ok" and key in report.findings:
            yield from report.findings[key]
            blocked_before |= any(f.enforced and f.verdict is Verdict.BLOCK for f in report.findings[key])
        elif not (blocked_before and key in report.skipped):
            yield _failure(report)


def _failure(report: GuardReport) -> Finding:
    """A guard that gave no verdict on a call."""
    outcome = "silent" if report.outcome == "ok" else report.outcome
    verdict = Verdict.ALLOW if report.on_error is OnError.ALLOW else Verdict.BLOCK
    return Finding(report.guard, f"{report.guard}_{outcome}", f"guard_{outcome}", verdict, report.mode)


def _failed_open(report: GuardReport, turn: Turn) -> bool:
    """Whether a call passed this guard without a verdict because its `on_error` is allow."""
    judged = report.findings.keys() | report.skipped if report.outcome == "ok" else set()
    silent_about = {call.key for call in turn.calls} - judged
    return report.on_error is OnError.ALLOW and bool(silent_about)


def _outcome(kind: CallKind, findings: Sequence[Finding]) -> Outcome:
    enforced = [f for f in findings if f.enforced]
    strictest = max(enforced, key=lambda f: f.verdict, default=None)
    match strictest.verdict if strictest else Verdict.ALLOW:
        case Verdict.ALLOW:
            return Allow()
        case Verdict.REWRITE:
            if kind in _FIXED:
                return Block("rewrite_impossible")
            return _rewrite([f for f in enforced if f.verdict is Verdict.REWRITE])
        case Verdict.REASK:
            assert strictest is not None
            return Reask(strictest.advice)
        case Verdict.BLOCK:
            assert strictest is not None
            return Block(strictest.code, strictest.advice)
        case _ as unreachable:
            assert_never(unreachable)


def _rewrite(findings: Sequence[Finding]) -> Outcome:
    replacements = {f.replacement for f in findings}
    if len(replacements) != 1 or None in replacements:
        return Block("conflicting_rewrites")
    return Rewrite(str(replacements.pop()))
