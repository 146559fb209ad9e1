"""Exchanges as the pipeline would hand them over."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from guardproxy.decision import Finding, GuardReport, Mode, OnError, Verdict, decide
from guardproxy.exchange import Attempt, Exchange
from guardproxy.model import CallKey, CallKind, ToolCall, Turn

Build = Callable[..., Exchange]


def attempt(*calls: ToolCall, findings: tuple[Finding, ...] = (), outcome: str = "ok", text: str = "") -> Attempt:
    """A turn with these calls, about each of which the guard `rules` says the same."""
    turn = Turn(calls, {0: text}, {0: "tool_calls" if calls else "stop"})
    report = GuardReport("rules", Mode.ENFORCE, OnError.BLOCK, {c.key: findings for c in calls}, outcome, 0.0004)
    reports = [report] if calls else []
    return Attempt(turn, decide(turn, reports).decision, reports)


def call(
    name: str = "bash", arguments: str = '{"command":"ls","cwd":"/srv"}', index: int = 0, id: str = "call_1"
) -> ToolCall:
    return ToolCall(CallKey(0, index), CallKind.FUNCTION, id, name, arguments)


def block(mode: Mode = Mode.ENFORCE, rule: str = "no-root-removal") -> Finding:
    return Finding("rules", rule, "destructive", Verdict.BLOCK, mode, advice="Not that.", score=0.75)


@pytest.fixture
def build() -> Build:
    """`build(*attempts, **fields)` makes an exchange; `build.call`, `build.attempt` and `build.block` its parts."""

    def exchange(*attempts: Attempt, **fields: Any) -> Exchange:
        defaults: dict[str, Any] = {
            "id": "d-1", "surface": "chat_completions", "revision": "0a1b2c3d4e5f", "started_at": 1_700_000_000.123,
            "model": "some-model", "upstream": "main", "status": 200, "outcome": "completed",
            "uninspected": Counter(), "total_seconds": 0.021, "upstream_seconds": 0.02,
        }  # fmt: skip
        return Exchange(**{**defaults, "attempts": list(attempts), **fields})

    exchange.call, exchange.attempt, exchange.block = call, attempt, block  # type: ignore[attr-defined]
    return exchange
