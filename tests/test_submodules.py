"""Submodules without their packages; each case in a process of its own, since imports are remembered."""

import subprocess
import sys

import pytest

from guardproxy.submodules import import_alone


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_is_not_run_and_can_be_imported_later() -> None:
    run(
        """
import sys
from guardproxy.submodules import import_alone
alone = import_alone("email", "charset")
assert "email" not in sys.modules
import email
assert email.message_from_string and sys.modules["email.charset"] is alone
"""
    )


def test_a_package_that_is_there_already_is_used() -> None:
    import json

    assert import_alone("json", "scanner") is json.scanner


def test_conditions_are_compiled_without_a_command_line_for_them() -> None:
    run(
        """
import sys
from guardproxy.policy.conditions import compile_condition
compile_condition("1 < 2")
assert "cel.cel" in sys.modules and "prompt_toolkit" not in sys.modules
import cel
assert cel.evaluate("1 < 2") is True
"""
    )


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="there is no package no_such_package"):
        import_alone("no_such_package", "anything")
