"""Judging one call, or one tool result, by a policy. Pure: same input, same findings."""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from guardproxy import strict_json
from guardproxy.decision import Finding, OnError, Verdict
from guardproxy.model import CallKind, ToolCall, ToolResult
from guardproxy.policy.compile import CompiledRule
from guardproxy.policy.conditions import CelValue, Condition, ConditionError, make_context
from guardproxy.policy.policy import Policy
from guardproxy.policy.scene import Scene
from guardproxy.policy.unicode import encodable
from guardproxy.policy.view import CallView, call_views
from guardproxy.provenance import Origin, Provenance, trace_arguments
from guardproxy.strict_json import Json

if TYPE_CHECKING:
    import cel

GUARD = "rules"
OPAQUE_CALL = "opaque-call"
TOO_LARGE = "arguments-too-large"
BUILT_IN = frozenset({OPAQUE_CALL, TOO_LARGE})  # findings that no pack has to ask for


def evaluate(policy: Policy, call: ToolCall, scene: Scene) -> tuple[Finding, ...]:
    """What the policy finds about a call and about every call that it would dispatch. At most one finding a rule."""
    findings: list[Finding] = []
    if call.kind is CallKind.OPAQUE and not policy.allows_opaque(call.name):
        findings.append(Finding(GUARD, OPAQUE_CALL, "opaque_call", Verdict.BLOCK))
    judged = [_Judged(view) for view in call_views(call, scene, policy.matters)]
    said: set[str] = set()
    for one in judged:
        for rule in policy.rules_for(one.view.name):
            if rule.id not in said and (finding := one.judge(rule)):
                said.add(rule.id)
                findings.append(finding)
    if any(one.view.truncated for one in judged):
        findings.append(Finding(GUARD, TOO_LARGE, "arguments_too_large", Verdict.BLOCK))
    return tuple(findings)


def evaluate_result(policy: Policy, result: ToolResult, scene: Scene) -> tuple[Finding, ...]:
    """What the policy finds about a tool's answer; an enforced finding flags it."""
    rules = policy.result_rules(result.tool)
    if not rules:
        return ()
    arguments: Json = {"text": result.text}
    judged = _Judged(CallView(result.tool, result.tool, CallKind.FUNCTION, result.text, arguments, scene))
    return tuple(finding for rule in rules if (finding := judged.judge(rule)))


class _Judged:
    """One effective call under judgement. The CEL context is built for the first condition and shared by the rest."""

    def __init__(self, view: CallView) -> None:
        self.view = view

    @cached_property
    def _context(self) -> "cel.Context":
        return make_context(self._variables)

    @cached_property
    def _traced_context(self) -> "cel.Context":
        """As `_context`, with `provenance`, which costs more than all the rest."""
        return make_context({**self._variables, "provenance": {"args": self._origins()}})

    @cached_property
    def _variables(self) -> dict[str, CelValue]:
        scene, view = self.view.scene, self.view
        spec = scene.spec(view.name)
        tool: CelValue = {
            "declared": spec is not None,
            "name": view.name,
            "description": spec.description if spec else "",
        }
        return {"call": view.cel(), "tool": tool, **scene.variables()}

    @cached_property
    def _provenance(self) -> Provenance:
        return trace_arguments(self.view.name, self.view.arguments, self.view.scene.conversation)

    def _origins(self) -> dict[str, CelValue]:
        """The origin of every argument. One that holds nothing to trace, such as a boolean, is the model's."""
        tree = self.view.arguments
        names = list(tree) if isinstance(tree, dict) else []
        found = {**dict.fromkeys(names, Origin.MODEL), **self._provenance.by_argument}
        return {encodable(name): origin.value for name, origin in found.items()}

    @cached_property
    def _capped(self) -> frozenset[str]:
        return self.view.capped() | self.view.scene.capped()

    def judge(self, rule: CompiledRule) -> Finding | None:
        try:
            return self._finding(rule) if self._matches(rule) else None
        except ConditionError:
            verdict = Verdict.ALLOW if rule.on_error is OnError.ALLOW else Verdict.BLOCK
            return Finding(GUARD, rule.id, "policy_error", verdict, rule.mode)

    def _matches(self, rule: CompiledRule) -> bool:
        view = self.view
        if rule.commands is not None and not any(test.match(c, view) for c in view.commands for test in rule.commands):
            return False
        if rule.arguments is not None and not any(test.match(view) for test in rule.arguments):
            return False
        if rule.text is not None and not any(rule.text.match(t, view) for a in view.strings for t in a.texts):
            return False
        return rule.condition is None or self._holds(rule.condition)

    def _holds(self, condition: Condition) -> bool:
        if condition.lists and condition.lists & self._capped:
            raise ConditionError("a list is too long to be judged")
        if not condition.asks_for_provenance:
            return condition.holds(self._context)
        if self._provenance.unsure:
            raise ConditionError("the arguments are too long to be traced")
        return condition.holds(self._traced_context)

    def _finding(self, rule: CompiledRule) -> Finding:
        if rule.verdict is not Verdict.REWRITE:
            return Finding(GUARD, rule.id, rule.code, rule.verdict, rule.mode, rule.advice)
        replacement = self._rewritten(rule)
        if replacement is None:
            return Finding(GUARD, rule.id, "rewrite_impossible", Verdict.BLOCK, rule.mode, rule.advice)
        return Finding(GUARD, rule.id, rule.code, Verdict.REWRITE, rule.mode, rule.advice, replacement=replacement)

    def _rewritten(self, rule: CompiledRule) -> str | None:
        """The arguments with the rule's values put in; None inside a dispatcher, or where there is no such place."""
        tree = self.view.arguments
        if self.view.inner or self.view.kind is CallKind.CUSTOM or not isinstance(tree, dict):
            return None
        for path, value in rule.rewrite:
            tree = _replaced(tree, tuple(_steps(path)), value)
        return strict_json.encode(tree).decode()


def _steps(path: str) -> Iterator[str | int]:
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", path):
        yield int(part[1:-1]) if part.startswith("[") else part


def _replaced(tree: Json, steps: tuple[str | int, ...], value: Json) -> Json:
    """A copy of the tree with one place changed; objects on the way are made, lists are not lengthened."""
    if not steps:
        return value
    head, rest = steps[0], steps[1:]
    match tree, head:
        case list(), int() if head < len(tree):
            return [*tree[:head], _replaced(tree[head], rest, value), *tree[head + 1 :]]
        case dict(), str():
            return {**tree, head: _replaced(tree.get(head, {}), rest, value)}
        case _:
            return tree
