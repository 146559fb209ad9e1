"""Every shipped pack's own cases, and calls of ordinary work that must pass."""

from pathlib import Path

import pytest

from guardproxy import strict_yaml
from guardproxy.policy.loader import load_policy, shipped_packs
from guardproxy.policy.policy import PackCase, Policy
from guardproxy.policy.schema import CaseModel
from guardproxy.policy.testing import judge, run_case, run_tests

POLICIES = {name: load_policy([name]) for name in shipped_packs()}
CASES = [(p, case) for name, p in POLICIES.items() for case in p.tests if case.pack == name]
ORDINARY = strict_yaml.parse((Path(__file__).parent / "ordinary_work.yaml").read_bytes(), "ordinary_work").tree


@pytest.mark.parametrize(("policy", "case"), CASES, ids=[f"{c.pack}-{place}" for place, (_, c) in enumerate(CASES)])
def test_a_case_of_a_pack(policy: Policy, case: PackCase) -> None:
    assert run_case(policy, case) is None


@pytest.mark.parametrize("name", shipped_packs())
def test_a_pack_has_cases_for_each_outcome(name: str) -> None:
    own = [c.case.expect for c in POLICIES[name].tests if c.pack == name]
    assert {"allow", "block"} <= set(own)
    assert name != "default" or len(own) > 150


def test_cases_of_a_pack_hold_beside_other_packs() -> None:
    assert run_tests(load_policy(["default", "strict"])) == []


@pytest.mark.parametrize("name", shipped_packs())
def test_every_rule_that_blocks_has_a_case(name: str) -> None:
    """Not for each rule of default: those are covered by tests/bypasses too."""
    policy = POLICIES[name]
    cases = {c.case.rule for c in policy.tests}
    untested = {r.id for r in policy.rules if r.id not in cases}
    assert len(untested) < len(policy.rules) / 2, sorted(untested)


def ordinary() -> list[dict[str, object]]:
    assert isinstance(ORDINARY, dict)
    commands, calls = ORDINARY["commands"], ORDINARY["calls"]
    assert isinstance(commands, list)
    assert isinstance(calls, list)
    return [{"tool": "bash", "arguments": {"command": c}} for c in commands] + [
        dict(c) for c in calls if isinstance(c, dict)
    ]


@pytest.mark.parametrize("call", ordinary(), ids=range(len(ordinary())))
def test_ordinary_work_passes(call: dict[str, object]) -> None:
    case = CaseModel.model_validate({"name": "x", "call": call, "expect": "allow"})
    assert [f.rule for f in judge(POLICIES["default"], case) if f.enforced] == []
