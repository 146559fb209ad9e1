"""Shared by all tests: a guard that reads its verdict from the tool's name."""

from collections.abc import Callable, Sequence

import pytest

from guardproxy.decision import Finding, Verdict
from guardproxy.model import ToolCall
from guardproxy.testing.fakes import FakeGuard, finding

FIXED = '{"fixed": true}'


def _say(call: ToolCall) -> Sequence[Finding]:
    if call.name.startswith("bad"):
        return [finding(Verdict.BLOCK)]
    if call.name.startswith("ask"):
        return [finding(Verdict.REASK)]
    if call.name.startswith("fix") and call.arguments != FIXED:
        return [finding(Verdict.REWRITE, replacement=FIXED)]
    return []


@pytest.fixture
def guard() -> FakeGuard:
    """Blocks `bad…`, asks again for `ask…`, rewrites the arguments of `fix…` to `{"fixed": true}`, allows the rest."""
    return FakeGuard(_say)


@pytest.fixture
def guarding() -> Callable[..., FakeGuard]:
    """As `guard`, with other fields."""
    return lambda **fields: FakeGuard(_say, **fields)
