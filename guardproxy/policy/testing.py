"""Running the cases that packs carry. `guardproxy check` and every reload do this before a policy is put in force."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

from guardproxy.decision import Finding, Verdict
from guardproxy.errors import Fault
from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult, ToolSpec, Turn
from guardproxy.policy.engine import BUILT_IN, evaluate, evaluate_result
from guardproxy.policy.policy import PackCase, Policy
from guardproxy.policy.scene import Scene
from guardproxy.policy.schema import CallModel, CaseModel, HistoryModel


def run_tests(policy: Policy) -> list[Fault]:
    """One fault for each case that does not come out as its pack says."""
    return [fault for case in policy.tests if (fault := run_case(policy, case))]


def run_case(policy: Policy, case: PackCase) -> Fault | None:
    findings = tuple(_in_scope(judge(policy, case.case), case))
    problem = _problem(case.case, findings)
    return Fault(case.source, case.line, f"tests: {case.case.name}", problem) if problem else None


def judge(policy: Policy, case: CaseModel) -> tuple[Finding, ...]:
    """The findings on a case's call or result."""
    request, tainted = _request(case)
    if case.result is not None:
        result = ToolResult("call_result", case.result.tool, case.result.text, _digest(case.result.text))
        return evaluate_result(policy, result, Scene(request, None, tainted))
    assert case.call is not None
    call = ToolCall(CallKey(0, 0), CallKind(case.call.kind), "call_0", case.call.tool, _text(case.call))
    return evaluate(policy, call, Scene(request, Turn((call,), {0: case.text}, {0: "tool_calls"}), tainted))


def _in_scope(findings: tuple[Finding, ...], case: PackCase) -> Iterator[Finding]:
    """The findings of the rules that the case's pack knows, in that pack's modes, and those of no rule at all."""
    for finding in findings:
        if finding.rule in case.scope:
            yield replace(finding, mode=case.scope[finding.rule])
        elif finding.rule in BUILT_IN:
            yield finding


def _problem(case: CaseModel, findings: tuple[Finding, ...]) -> str:
    enforced = [f for f in findings if f.enforced]
    strictest = max((f.verdict for f in enforced), default=Verdict.ALLOW)
    came = "flag" if case.result and strictest is Verdict.BLOCK else strictest.label
    if case.expect == "monitor" and strictest is Verdict.ALLOW:
        came = "monitor" if any(not f.enforced for f in findings) else "allow"
    rules = sorted({f.rule for f in findings})
    if came != case.expect:
        return f"expected {case.expect}, came out as {came} ({', '.join(rules) or 'no rule'})"
    if case.rule is not None and case.rule not in rules:
        return f"expected rule {case.rule}, found by {', '.join(rules) or 'no rule'}"
    if case.rewritten is not None and [json.loads(f.replacement or "null") for f in findings if f.replacement] != [
        case.rewritten
    ]:
        return "the rewritten arguments are others"
    return ""


def _text(call: CallModel | HistoryModel) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _request(case: CaseModel) -> tuple[Request, frozenset[str]]:
    messages: list[Message] = [Message("user", case.task)] if case.task else []
    for place, past in enumerate(case.history):
        call = ToolCall(CallKey(0, 0), CallKind.FUNCTION, f"past_{place}", past.tool, _text(past))
        result = ToolResult(call.id, past.tool, past.result, _digest(past.result))
        messages += [Message("assistant", "", (call,)), Message("tool", past.result, (), result)]
    tools = tuple(ToolSpec(CallKind.FUNCTION, name, "", None) for name in case.request.tools)
    tainted = frozenset(_digest(past.result) for past in case.history if past.tainted)
    return (
        Request(
            case.request.surface,
            case.request.model,
            case.request.stream,
            {"user": case.request.user},
            tuple(messages),
            tools,
        ),
        tainted,
    )
