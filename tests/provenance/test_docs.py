"""The rule in the documentation does what its own tests say."""

import re
from pathlib import Path

from guardproxy.policy.loader import load_policy
from guardproxy.policy.testing import run_tests

PAGE = Path(__file__).parents[2] / "docs" / "provenance.md"


def test_the_rule_in_the_documentation(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "mail.yaml"
    path.write_text(block)
    policy = load_policy([str(path)])
    assert len(policy.tests) == 2
    assert run_tests(policy) == []
