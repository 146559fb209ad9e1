"""What the model of these tests says, and that each wire says the same."""

import json

import pytest

from guardproxy.testing.dialects import Said
from tests.frameworks.conversation import (
    ASIDE,
    DONE,
    FAILED,
    HARMFUL,
    MARK,
    REFUSED,
    TASKS,
    Conversation,
    Piece,
    Role,
    next_move,
    note_text,
)
from tests.frameworks.stored import CannotGoOn, Stored
from tests.frameworks.upstream import WIRES
from tests.frameworks.wires import responses

TOOLS = {"read_note": {"name": {"type": "string"}}, "run_shell": {"command": {"type": "string"}}}
GREETING = Piece(Role.USER, TASKS["greeting"])
BACKUP = Piece(Role.USER, TASKS["backup"])


def said(*pieces: Piece, tools: object = TOOLS, model: str = "gpt-4.1") -> Said:
    return next_move(Conversation(model, pieces, tools)).said  # type: ignore[arg-type]


def test_a_task_is_answered_with_its_call() -> None:
    (call,) = said(GREETING).calls
    assert (call.name, call.arguments) == ("read_note", '{"name": "greeting"}')


def test_the_harmful_task_with_the_harmful_call() -> None:
    (call,) = said(GREETING, Piece(Role.RESULT, note_text("greeting")), BACKUP).calls
    assert json.loads(call.arguments) == {"command": HARMFUL}


def test_the_errand_with_both() -> None:
    assert [call.name for call in said(Piece(Role.USER, TASKS["errand"])).calls] == ["read_note", "run_shell"]


def test_a_result_with_text() -> None:
    assert said(GREETING, Piece(Role.RESULT, note_text("greeting"))).text == DONE["greeting"]


def test_a_result_that_is_another_with_a_complaint() -> None:
    assert said(GREETING, Piece(Role.RESULT, "no such note")).text == FAILED


def test_a_refusal_with_resignation() -> None:
    assert said(BACKUP, Piece(Role.ASSISTANT, f"{MARK} The call was not executed.")).text == REFUSED


def test_a_request_on_the_side_with_anything() -> None:
    assert said(GREETING, tools={}).text == ASIDE


def test_a_code_model_writes_its_calls_as_python() -> None:
    answer = said(GREETING, tools={}, model="gpt-4.1-code")
    assert answer.calls == ()
    assert "<code>\nprint(read_note(name='greeting'))\n</code>" in answer.text


@pytest.mark.parametrize("tool", ["exec_command", "Bash"])
def test_a_shell_tool_reads_notes_too(tool: str) -> None:
    (call,) = said(GREETING, tools={tool: {"cmd": {}} if tool == "exec_command" else {"command": {}}}).calls
    assert call.name == tool
    assert list(json.loads(call.arguments).values()) == ["./read_note greeting"]


REQUESTS = {
    "chat": {
        "messages": [{"role": "user", "content": TASKS["greeting"]}],
        "tools": [{"type": "function", "function": {"name": "read_note", "parameters": {"properties": {"name": {}}}}}],
    },
    "responses": {
        "input": TASKS["greeting"],
        "tools": [{"type": "function", "name": "read_note", "parameters": {"properties": {"name": {}}}}],
    },
    "messages": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": TASKS["greeting"]}]}],
        "tools": [{"name": "read_note", "input_schema": {"properties": {"name": {}}}}],
    },
}


@pytest.mark.parametrize("wire", WIRES)
def test_each_wire_is_read_alike(wire: str) -> None:
    conversation = WIRES[wire].read({"model": "gpt-4.1", **REQUESTS[wire]})
    assert conversation == Conversation("gpt-4.1", [GREETING], {"read_note": {"name": {}}})


ASKED = {"model": "gpt-4.1", "input": TASKS["greeting"], "tools": REQUESTS["responses"]["tools"]}


def kept() -> Stored:
    """With an answer of the id resp_1, which holds the call call_0001."""
    stored = Stored()
    conversation = stored.conversation(responses, ASKED)
    stored.keep(responses.whole(ASKED, "1", next_move(conversation).said), conversation)
    return stored


def result(call_id: str) -> dict[str, str]:
    return {"type": "function_call_output", "call_id": call_id, "output": note_text("greeting")}


def test_the_server_goes_on_from_what_it_kept() -> None:
    further = {"model": "gpt-4.1", "previous_response_id": "resp_1", "input": [result("call_0001")]}
    conversation = kept().conversation(responses, further)
    assert [piece.role for piece in conversation.pieces] == [Role.USER, Role.ASSISTANT, Role.RESULT]


def test_and_from_what_a_request_refers_to() -> None:
    reference = {"type": "item_reference", "id": "fc_1_call_0001"}
    items = [{"role": "user", "content": TASKS["greeting"]}, reference, result("call_0001")]
    assert kept().conversation(responses, {"model": "gpt-4.1", "input": items}).calls == {"call_0001"}


REFUSED_INPUTS = {
    "previous_response_not_found": {"previous_response_id": "resp_9", "input": "Hello."},
    "item_not_found": {"input": [{"type": "item_reference", "id": "msg_9"}]},
    "missing_tool_output": {"previous_response_id": "resp_1", "input": "Never mind."},
    "missing_tool_call": {"input": [result("call_9")]},
}


@pytest.mark.parametrize("code", REFUSED_INPUTS)
def test_what_it_does_not_go_on_from(code: str) -> None:
    with pytest.raises(CannotGoOn) as refused:
        kept().conversation(responses, {"model": "gpt-4.1", **REFUSED_INPUTS[code]})
    assert refused.value.tree["code"] == code
