"""A row as the chat completions request that an agent would have sent, and as the call that the model answers with."""

from typing import Any

from guardproxy import strict_json
from guardproxy.model import CallKey, CallKind, Request, ToolCall, Turn
from guardproxy.offline.evaluate.rows import Kind, Row
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.chat_completions import ChatCompletions
from guardproxy.surfaces.surface import RequestRules

_ID = "call_evaluated"


def request_of(row: Row, rules: RequestRules) -> Request:
    """As the proxy reads it. Raises MalformedRequest."""
    return ChatCompletions().parse(tree_of(row), rules)


def tree_of(row: Row) -> JsonObject:
    messages: list[Any] = [{"role": "system", "content": row.system}] if row.system else []
    messages += row.history
    if row.user_task and not _says_it_already(row):
        messages.append({"role": "user", "content": row.user_task})
    if row.kind is Kind.TOOL_RESULT:
        messages += _answered(row)
    tree: JsonObject = {"model": "evaluated", "messages": messages}
    return tree | {"tools": list(row.tools)} if row.tools else tree


def turn_of(row: Row) -> Turn:
    """The model's turn: the one call that is judged."""
    assert row.call is not None, "`rows.parse` refuses a tool_call row without one"
    arguments = strict_json.encode(row.call["arguments"]).decode()
    call = ToolCall(CallKey(0, 0), CallKind.FUNCTION, _ID, row.call["name"], arguments)
    return Turn((call,), {}, {0: "tool_calls"})


def _says_it_already(row: Row) -> bool:
    """A history tells of the task, but a judged request has to be what the user says last."""
    last = row.history[-1] if row.history else None
    if row.kind is Kind.USER_REQUEST:
        return isinstance(last, dict) and (last.get("role"), last.get("content")) == ("user", row.user_task)
    return last is not None


def _answered(row: Row) -> list[JsonObject]:
    """The judged result, after the call that it answers; one is made up where the history does not end with it."""
    id = _last_call_id(row.history)
    before: list[JsonObject] = []
    if id is None and row.call is not None:
        arguments = strict_json.encode(row.call["arguments"]).decode()
        call: JsonObject = {
            "id": _ID,
            "type": "function",
            "function": {"name": row.call["name"], "arguments": arguments},
        }
        before.append({"role": "assistant", "content": None, "tool_calls": [call]})
    return [*before, {"role": "tool", "tool_call_id": id or _ID, "content": row.result}]


def _last_call_id(history: tuple[Any, ...]) -> str | None:
    """Of the last call, if the history ends with it."""
    last = history[-1] if history else None
    calls = last.get("tool_calls") if isinstance(last, dict) else None
    if not isinstance(calls, list) or not calls or not isinstance(calls[-1], dict):
        return None
    id = calls[-1].get("id")
    return id if isinstance(id, str) and id else None
