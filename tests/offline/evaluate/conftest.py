"""Rows made by hand."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "bash",
            "description": "Runs a command.",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
        },
    }
]

Make = Callable[..., dict[str, Any]]


def past_call(id: str, command: str) -> dict[str, Any]:
    function = {"name": "bash", "arguments": '{"command": "' + command + '"}'}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": id, "type": "function", "function": function}]}


@pytest.fixture
def make() -> Make:
    """A benign call that nothing came before; every field can be another."""
    numbers = count(1)

    def row(**fields: Any) -> dict[str, Any]:
        row = {
            "id": f"row-{next(numbers)}",
            "source": "ours",
            "license": "Apache-2.0",
            "kind": "tool_call",
            "user_task": "List my files.",
            "system": None,
            "tools": TOOLS,
            "history": [],
            "tool_call": {"name": "bash", "arguments": {"command": "ls"}},
            "tool_result": None,
            "label": "benign",
            "category": "files",
            "note": None,
        }
        return row | fields

    return row


@pytest.fixture(name="past_call")
def _past_call() -> Callable[[str, str], dict[str, Any]]:
    return past_call
