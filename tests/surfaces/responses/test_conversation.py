"""What the guards see of a conversation, and how a tool's result is taken out of it."""

import json
from typing import Any

import pytest

from guardproxy.model import CallKind, Message
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import RequestRules

NOTICE = "withheld"


def messages(*items: Any) -> list[Message]:
    return list(Responses().parse({"model": "m", "input": list(items)}, RequestRules()).messages)


def test_messages_of_every_role_and_form() -> None:
    found = messages(
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"text": "b"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "c", "annotations": []}, {"type": "refusal", "refusal": "d"}],
        },
        {"type": "reasoning", "id": "rs_1", "summary": []},
    )
    assert [(m.role, m.text) for m in found] == [("developer", "Be brief."), ("user", "a\nb"), ("assistant", "c\nd")]


CALLS: dict[str, tuple[dict[str, Any], CallKind, str, str]] = {
    "function": (
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
        CallKind.FUNCTION,
        "f",
        '{"a": 1}',
    ),
    "function of a namespace": (
        {"type": "function_call", "call_id": "c", "name": "f", "namespace": "ns", "arguments": "{}"},
        CallKind.FUNCTION,
        "ns.f",
        "{}",
    ),
    "custom": ({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}, CallKind.CUSTOM, "f", "x"),
    "shell": (
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
        CallKind.BUILTIN,
        "shell",
        '{"commands":["ls"]}',
    ),
    "local shell": (
        {"type": "local_shell_call", "id": "i", "call_id": "c", "action": {"command": ["ls"]}, "status": "completed"},
        CallKind.BUILTIN,
        "local_shell",
        '{"command":["ls"]}',
    ),
    "patch": (
        {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "a"}},
        CallKind.BUILTIN,
        "apply_patch",
        '{"type":"delete_file","path":"a"}',
    ),
    "computer": (
        {"type": "computer_call", "id": "i", "call_id": "c", "action": {"type": "wait"}, "pending_safety_checks": []},
        CallKind.BUILTIN,
        "computer",
        '{"action":{"type":"wait"}}',
    ),
    "computer with several actions": (
        {"type": "computer_call", "id": "i", "call_id": "c", "actions": [{"type": "wait"}], "action": None},
        CallKind.BUILTIN,
        "computer",
        '{"actions":[{"type":"wait"}]}',
    ),
    "search": (
        {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {"query": "q"}},
        CallKind.BUILTIN,
        "tool_search",
        '{"query":"q"}',
    ),
    "approval": (
        {"type": "mcp_approval_request", "id": "c", "server_label": "docs", "name": "read", "arguments": "{}"},
        CallKind.APPROVAL,
        "docs.read",
        "{}",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_of_the_past(name: str) -> None:
    item, kind, tool, arguments = CALLS[name]
    (message,) = messages(item)
    (call,) = message.calls
    assert (message.role, call.kind, call.id, call.name, call.arguments) == ("assistant", kind, "c", tool, arguments)


RESULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "function": ("function", {"type": "function_call_output", "call_id": "c", "output": "r"}, "r"),
    "function with parts": (
        "function of a namespace",
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
        "r",
    ),
    "custom": ("custom", {"type": "custom_tool_call_output", "call_id": "c", "output": "r"}, "r"),
    "shell": (
        "shell",
        {
            "type": "shell_call_output",
            "call_id": "c",
            "output": [{"stdout": "r", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
        },
        "r",
    ),
    "shell on both streams": (
        "shell",
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "r", "stderr": "s"}, {"stdout": "t"}]},
        "r\ns\nt",
    ),
    "local shell": ("local shell", {"type": "local_shell_call_output", "id": "c", "output": "r"}, "r"),
    "patch": (
        "patch",
        {"type": "apply_patch_call_output", "call_id": "c", "status": "completed", "output": "r"},
        "r",
    ),
    "patch without words": ("patch", {"type": "apply_patch_call_output", "call_id": "c", "status": "completed"}, ""),
    "computer": (
        "computer",
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": "d"}},
        "",
    ),
    "search": (
        "search",
        {"type": "tool_search_output", "call_id": "c", "tools": [{"type": "custom", "name": "r"}]},
        '[{"type":"custom","name":"r"}]',
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_known_by_their_call(name: str) -> None:
    call, item, text = RESULTS[name]
    message = messages(CALLS[call][0], item)[-1]
    assert message.result is not None
    assert (message.role, message.result.tool, message.result.text) == ("tool", CALLS[call][2], text)


@pytest.mark.parametrize("name", [name for name in RESULTS if RESULTS[name][2]])
def test_a_result_can_be_withheld(name: str) -> None:
    surface = Responses()
    call, item, text = RESULTS[name]
    other = {"type": "function_call_output", "call_id": "d", "output": "harmless"}
    items = [CALLS[call][0], other, item, {"role": "user", "content": text}]
    request = surface.parse({"model": "m", "input": items}, RequestRules())
    (digest,) = {result.digest for result in request.results if result.text == text}
    cleaned = surface.without_results(request, frozenset({digest}), NOTICE)
    again = surface.parse(dict(cleaned.tree), RequestRules())
    assert [m.text for m in again.messages if m.result and m.result.call_id == "d"] == ["harmless"]
    assert again.messages[-1].text == text, "only what a tool said is withheld"
    withheld = next(m for m in again.messages if m.result and m.result.call_id == "c")
    assert text not in withheld.text
    assert withheld.text in (NOTICE, "[]", json.dumps({"output": NOTICE}, separators=(",", ":")))
    assert request.tree["input"] == items, "the request that came is not changed"


def test_a_result_that_no_call_is_known_for_says_its_tool_itself() -> None:
    item = {"type": "function_call_output", "call_id": "c", "name": "f", "namespace": "ns", "output": "r"}
    (message,) = messages(item)
    assert message.result is not None
    assert message.result.tool == "ns.f"


def test_what_an_mcp_server_answered_is_a_result() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "server_label": "docs", "name": "read", "arguments": "{}", "output": "r"}
    (message,) = messages(item)
    assert message.result is not None
    assert (message.result.tool, message.result.text) == ("docs.read", "r")
    assert messages(item | {"output": None}) == []


def test_images_in_results_are_counted() -> None:
    output = [{"type": "input_image", "image_url": "data:,"}, {"type": "input_text", "text": "r"}]
    item = {"type": "function_call_output", "call_id": "c", "output": output}
    request = Responses().parse({"model": "m", "input": [item]}, RequestRules())
    assert request.uninspected == ("image",)
    assert request.results[0].text == "\nr"


def test_history_that_says_nothing_is_passed_over() -> None:
    assert (
        messages(
            {"type": "web_search_call", "id": "w", "status": "completed"},
            {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
            {"type": "configuration_update", "reasoning": {"effort": "low"}},
            {"type": "compaction_trigger"},
            {"type": "program", "id": "p", "call_id": "c", "code": "", "fingerprint": ""},
        )
        == []
    )
