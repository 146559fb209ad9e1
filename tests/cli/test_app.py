"""The command as a whole: help, version, and that help costs no heavy import."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from guardproxy import __version__
from guardproxy.cli import app


@pytest.mark.parametrize("command", ["serve", "check", "demo", "explain", "schema"])
def test_every_command_explains_itself_with_examples(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"guardproxy {command}" in result.stdout
    assert "Examples:" in result.stdout


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"guardproxy {__version__}\n")


@pytest.mark.e2e
def test_help_imports_nothing_heavy(program) -> None:
    code = "import sys, guardproxy.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=program.environ({}), capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pydantic", "starlette", "uvicorn", "aiohttp", "yaml", "llama_cpp", "litellm", "numpy"} & set(loaded)


@pytest.mark.e2e
def test_an_id_that_is_none(program) -> None:
    result = program.run("explain", "../../etc/passwd")
    assert result.returncode == 1
    assert "x-guardproxy-decision-id" in result.stderr
