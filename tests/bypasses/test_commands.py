"""Every way around the default policy that was found. One file for each idea, every call of it must be stopped."""

import json
from pathlib import Path

import pytest

from guardproxy import strict_yaml
from guardproxy.decision import Verdict
from guardproxy.policy.loader import load_policy
from guardproxy.policy.schema import CaseModel
from guardproxy.policy.testing import judge

FILES = sorted(Path(__file__).parent.glob("*.yaml"))
POLICY = load_policy(["default"])


def calls(path: Path) -> list[dict[str, object]]:
    tree = strict_yaml.parse(path.read_bytes(), path.name).tree
    assert isinstance(tree, dict)
    assert isinstance(tree["calls"], list)
    return [dict(call) for call in tree["calls"] if isinstance(call, dict)]


CALLS = [(path.stem, call) for path in FILES for call in calls(path)]


@pytest.mark.parametrize(("idea", "call"), CALLS, ids=[f"{idea}-{place}" for place, (idea, _) in enumerate(CALLS)])
def test_the_call_is_stopped(idea: str, call: dict[str, object]) -> None:
    case = CaseModel.model_validate({"name": idea, "call": call, "expect": "block"})
    strictest = max((f.verdict for f in judge(POLICY, case) if f.enforced), default=Verdict.ALLOW)
    assert strictest >= Verdict.REASK, json.dumps(call)


def test_no_file_is_empty() -> None:
    assert all(calls(path) for path in FILES)
    assert len(CALLS) > 500
