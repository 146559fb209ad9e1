from pathlib import Path

import pytest

from guardproxy.policy.loader import load_policy
from guardproxy.policy.testing import run_tests

PACK = """\
version: 1
pack: mine
rules:
  - {{id: no-rm, description: d, code: cc, tools: bash, command: {{program: rm}}, {more}}}
  - {{id: results, description: d, code: cc, on: tool_result, text: {{regex: bad}}}}
tests:
  - {{name: the case, {case}}}
"""
RM = "call: {tool: bash, arguments: {command: rm x}}"
LS = "call: {tool: bash, arguments: {command: ls}}"


def problems(tmp_path: Path, case: str, more: str = "verdict: block") -> list[str]:
    path = tmp_path / "p.yaml"
    path.write_text(PACK.format(case=case, more=more))
    return [f"{f.line} {f.path}: {f.problem}" for f in run_tests(load_policy([str(path)]))]


@pytest.mark.parametrize(
    ("case", "more"),
    [
        (f"{RM}, expect: block", "verdict: block"),
        (f"{RM}, expect: block, rule: no-rm", "verdict: block"),
        (f"{RM}, expect: reask", "verdict: reask"),
        (f"{RM}, expect: monitor", "mode: monitor"),
        (f"{RM}, expect: rewrite, rewritten: {{command: ls}}", "verdict: rewrite, rewrite: {command: ls}"),
        (f"{LS}, expect: allow", "verdict: block"),
        ("result: {tool: t, text: bad}, expect: flag", "verdict: block"),
        ("result: {tool: t, text: good}, expect: allow", "verdict: block"),
    ],
)
def test_a_case_that_holds(tmp_path: Path, case: str, more: str) -> None:
    assert problems(tmp_path, case, more) == []


@pytest.mark.parametrize(
    ("case", "more", "problem"),
    [
        (f"{RM}, expect: allow", "verdict: block", "expected allow, came out as block (no-rm)"),
        (f"{LS}, expect: block", "verdict: block", "expected block, came out as allow (no rule)"),
        (f"{RM}, expect: block, rule: results", "verdict: block", "expected rule results"),
        (f"{RM}, expect: block", "mode: monitor", "came out as allow"),
        (f"{RM}, expect: rewrite, rewritten: {{command: cat}}", "verdict: rewrite, rewrite: {command: ls}", "others"),
        ("result: {tool: t, text: bad}, expect: allow", "verdict: block", "came out as flag"),
    ],
)
def test_a_case_that_does_not_hold(tmp_path: Path, case: str, more: str, problem: str) -> None:
    (found,) = problems(tmp_path, case, more)
    assert found.startswith("7 tests: the case: ")
    assert problem in found
