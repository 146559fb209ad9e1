"""The words of a refusal. They never quote an argument, and a tool's name only where it cannot be a message itself."""

import re
from collections.abc import Iterable

from guardproxy.decision import Block, Decision
from guardproxy.model import ToolCall, Turn

DEFAULT_TEMPLATE = "[guardproxy] The call to {tool} was not executed: {advice} (reason: {code})"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


def refusal_texts(turn: Turn, decision: Decision, template: str) -> dict[int, str]:
    """For each choice with blocked calls, one line a call. `template` may use {tool}, {code} and {advice}."""
    lines: dict[int, list[str]] = {}
    for call, block in blocked_calls(turn, decision):
        lines.setdefault(call.key.choice, []).append(explain_block(call, block, template))
    return {choice: "\n".join(dict.fromkeys(texts)) for choice, texts in lines.items()}


def blocked_calls(turn: Turn, decision: Decision) -> Iterable[tuple[ToolCall, Block]]:
    for call in turn.calls:
        outcome = decision.outcomes[call.key]
        if isinstance(outcome, Block):
            yield call, outcome


def explain_block(call: ToolCall, block: Block, template: str = DEFAULT_TEMPLATE) -> str:
    words = {"tool": safe_tool_name(call.name), "code": block.code, "advice": block.advice or "it is not allowed here."}
    return re.sub(r"\{(tool|code|advice)\}", lambda match: words[match[1]], template)


def safe_tool_name(name: str) -> str:
    return f"`{name}`" if _PLAIN_NAME.fullmatch(name) else "a tool"
