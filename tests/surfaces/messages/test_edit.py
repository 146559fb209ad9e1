"""The ways in which a request is edited."""

from typing import Any

import pytest

from guardproxy.model import CallKey, CallKind, Injection, Position, Request, ToolCall, ToolResult, Turn
from guardproxy.surfaces.messages import Messages
from guardproxy.surfaces.surface import RequestRules
from guardproxy.testing.messages import (
    START,
    STOP,
    Tree,
    add,
    begin,
    call,
    end,
    finish,
    message,
    piece,
    request,
    text,
    word,
)

SURFACE = Messages()
EPHEMERAL = {"cache_control": {"type": "ephemeral"}}


def read(**fields: Any) -> Request:
    return SURFACE.parse(request(**fields), RequestRules())


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (None, "Be good."),
        ("", "Be good."),
        ("Be brief.", "Be brief.\n\nBe good."),
        (
            [{"type": "text", "text": "Be brief.", **EPHEMERAL}],
            [{"type": "text", "text": "Be brief.", **EPHEMERAL}, {"type": "text", "text": "Be good."}],
        ),
    ],
)
def test_an_instruction_goes_to_the_end_of_the_system_prompt(system: Any, expected: Any) -> None:
    edited = SURFACE.with_injection(read(system=system), Injection("Be good.", Position.INSTRUCTION))
    assert edited.tree == request(system=expected)


def test_a_prefill_goes_to_the_end_of_the_messages() -> None:
    asked = read()
    edited = SURFACE.with_injection(asked, Injection("I am", Position.TRAILING_ASSISTANT))
    assert edited.tree["messages"] == [*asked.tree["messages"], {"role": "assistant", "content": "I am"}]
    assert asked.tree == request()


def test_the_positions_are_those_that_the_api_has() -> None:
    assert {Position.TRAILING_ASSISTANT, Position.SUFFIX, Position.INSTRUCTION} == SURFACE.positions


RESULT = {"type": "tool_result", "tool_use_id": "1", "content": "sunny"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Hi.", "Hi.\n\nI am"),
        ([{"type": "text", "text": "Hi."}], [{"type": "text", "text": "Hi."}, {"type": "text", "text": "I am"}]),
        ([RESULT], [RESULT, {"type": "text", "text": "I am"}]),  # results come first in a message
    ],
    ids=["text", "parts", "result"],
)
def test_a_suffix_goes_to_the_end_of_what_the_user_said_last(content: Any, expected: Any) -> None:
    use = {"type": "tool_use", "id": "1", "name": "weather", "input": {}}
    before = [{"role": "user", "content": "First."}, {"role": "assistant", "content": [use]}]
    asked = read(messages=[*before, {"role": "user", "content": content}])
    edited = SURFACE.with_injection(asked, Injection("I am", Position.SUFFIX))
    assert edited.tree["messages"] == [*before, {"role": "user", "content": expected}]
    assert asked.tree["messages"][-1]["content"] == content
    assert edited.messages == asked.messages


CALLS = (
    ToolCall(CallKey(0, 0), CallKind.FUNCTION, "1", "good", '{"a": 1}'),
    ToolCall(CallKey(0, 1), CallKind.BUILTIN, "2", "computer.left_click", ""),
    ToolCall(CallKey(0, 2), CallKind.FUNCTION, "3", "dotted.name", '{"a":'),
    ToolCall(CallKey(0, 1 << 20), CallKind.TEXT, "text_0", "search", "{}"),
)
FEEDBACK = {each.key: f"No {each.id}." for each in CALLS}
RESULTS = [
    {"type": "tool_result", "tool_use_id": "1", "content": "No 1.", "is_error": True},
    {"type": "tool_result", "tool_use_id": "2", "toolset_name": "computer", "content": "No 2.", "is_error": True},
    {"type": "tool_result", "tool_use_id": "3", "content": "No 3.", "is_error": True},
    {"type": "text", "text": "Observation: No text_0."},
]


def test_feedback_answers_every_call() -> None:
    turn = Turn(CALLS, {0: "Let me."}, {0: "tool_use"})
    edited = SURFACE.with_feedback(read(), turn, FEEDBACK, SURFACE.reader(read()))
    said, answered = edited.tree["messages"][-2:]
    assert said == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me."},
            {"type": "tool_use", "id": "1", "name": "good", "input": {"a": 1}},
            {"type": "tool_use", "id": "2", "name": "left_click", "toolset_name": "computer", "input": {}},
            {"type": "tool_use", "id": "3", "name": "dotted.name", "input": {"malformed": '{"a":'}},
        ],
    }
    assert answered == {"role": "user", "content": RESULTS}
    again = SURFACE.parse(dict(edited.tree), RequestRules())
    assert [result.tool for result in again.results] == ["good", "computer.left_click", "dotted.name"]


@pytest.mark.parametrize("said", ["", " \n"])
def test_feedback_holds_no_empty_text(said: str) -> None:
    """A provider refuses a text block without characters."""
    turn = Turn(CALLS[:1], {0: said}, {0: "tool_use"})
    edited = SURFACE.with_feedback(read(), turn, FEEDBACK, SURFACE.reader(read()))
    assert [block["type"] for block in edited.tree["messages"][-2]["content"]] == ["tool_use"]


THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}


def test_feedback_gives_the_model_its_thoughts_back() -> None:
    """With thinking on, a provider refuses an assistant's turn that does not begin with them as they were signed."""
    trees: list[Tree] = [
        START,
        begin(0, "thinking", thinking="", signature=""),
        add(0, "thinking_delta", thinking="Hm."),
        add(0, "signature_delta", signature="c2ln"),
        end(0),
        begin(1, "redacted_thinking", data="ZGF0YQ=="),
        end(1),
        begin(2, "server_tool_use", id="s", name="web_search", input={}),
        piece(2, '{"query":'),
        piece(2, '"x"}'),
        end(2),
        text(3),
        word(3, "Let "),
        word(3, "me."),
        end(3),
        text(4),
        end(4),
        call(5, caller={"type": "direct"}),
        piece(5, '{"a":'),
        piece(5, "1}"),
        end(5),
        finish("tool_use"),
        STOP,
    ]
    used = call(5)["content_block"] | {"input": {"a": 1}, "caller": {"type": "direct"}}
    content = [
        THOUGHT,
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        SEARCH,
        {"type": "text", "text": "Let me."},
        used,
    ]
    turn = Turn((ToolCall(CallKey(0, 0), CallKind.FUNCTION, "toolu_5", "good", '{"a":1}'),), {0: "Let me."}, {0: "x"})
    feedback = {CallKey(0, 0): "No."}
    streamed = SURFACE.reader(read())
    for tree in trees:
        streamed.read(tree)
    whole = SURFACE.reader(read(stream=False))
    whole.read(message(*content, reason="tool_use"))
    for reader in (streamed, whole):
        edited = SURFACE.with_feedback(read(), turn, feedback, reader)
        assert edited.tree["messages"][-2] == {"role": "assistant", "content": content}
        assert edited.tree["messages"][-1]["content"][0]["tool_use_id"] == "toolu_5"


def result(call_id: str, content: Any) -> Tree:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def test_a_flagged_result_is_replaced_wherever_it_stands() -> None:
    flagged = ToolResult.of("2", "", "bad\nworse").digest
    bad = [{"type": "text", "text": "bad"}, {"type": "text", "text": "worse"}]
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "user", "content": [result("1", "fine"), result("2", bad), {"type": "text", "text": "bad\nworse"}]},
        {"role": "user", "content": [result("3", "bad\nworse"), result("4", None)]},
    ]
    asked = read(messages=messages)
    edited = SURFACE.without_results(asked, frozenset({flagged}), "Withheld.")
    assert edited.tree["messages"] == [
        messages[0],
        {
            "role": "user",
            "content": [result("1", "fine"), result("2", "Withheld."), {"type": "text", "text": "bad\nworse"}],
        },
        {"role": "user", "content": [result("3", "Withheld."), result("4", None)]},
    ]
    assert asked.tree["messages"] == messages


def test_a_question_of_our_own() -> None:
    question = SURFACE.question("m", "Who are you?", 5)
    assert not question.stream
    assert question.tree == {
        "model": "m",
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 5,
        "temperature": 0,
    }
