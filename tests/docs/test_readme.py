"""What the README shows is what works."""

import re
from pathlib import Path

import pytest

from guardproxy.config.read import read_settings
from guardproxy.policy.loader import load_policy
from guardproxy.policy.testing import run_tests

README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (text,) = [text for text in EXAMPLES if text.startswith(request.param)]
    file = tmp_path / "example.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("example", ["version: 1\npack:"], indirect=True)
def test_the_policy_passes_its_own_cases(example: Path) -> None:
    policy = load_policy([str(example)])
    assert len(policy.tests) == 2
    assert run_tests(policy) == []


@pytest.mark.parametrize("example", ["upstreams:"], indirect=True)
def test_the_configuration_is_read(example: Path) -> None:
    settings = read_settings(example, {"OPENAI_API_KEY": "a-key"})
    assert [upstream.name for upstream in settings.upstreams] == ["local", "openai"]
    assert settings.policy == ("default", "coding-agent")
