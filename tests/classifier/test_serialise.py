import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.serialise import (
    MAX_ARGUMENTS,
    MAX_BODY,
    MAX_CHARACTERS,
    MAX_TASK,
    MAX_WORDS,
    Reading,
    latest_request,
    read_call,
    read_request,
    read_result,
    safe,
    serialise_call,
)
from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult, ToolSpec


def call(name: str, arguments: str) -> ToolCall:
    return ToolCall(CallKey(0, 0), CallKind.FUNCTION, "call_1", name, arguments)


def request(*tools: ToolSpec) -> Request:
    return Request("chat_completions", "m", False, {}, (), tools)


def text_of(arguments: str) -> str:
    return serialise_call(call("t", arguments), request()).text


def test_a_call_is_written_with_its_tools_purpose() -> None:
    spec = ToolSpec(CallKind.FUNCTION, "mcp__mail__sendEmail", "Send an e-mail.\nTo anyone.", None)
    written = serialise_call(call(spec.name, '{"to": "a@b.example", "cc": ["c", null, 1]}'), request(spec))
    assert written.text == (
        "tool: mcp mail send Email\npurpose: Send an e-mail. To anyone.\narguments: to: a@b.example cc: c null 1"
    )
    assert not written.truncated


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"command": "rm \\u002drf /"}', "command: rm -rf /"),  # JSON escapes hide nothing
        ('{"a": {"b": {}}, "c": []}', "a: b: c:"),  # keys without a value are seen too
        ('{"a": [{"b": true}, {"b": 2.5}]}', "a: b: true b: 2.5"),
        ("SELECT 1", "SELECT 1"),  # a custom tool's text
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),  # not strict JSON: read as it stands
        ('"just a string"', "just a string"),
    ],
)
def test_how_arguments_are_written(arguments: str, expected: str) -> None:
    assert text_of(arguments) == f"tool: t\narguments: {expected}"


def test_empty_arguments_leave_the_tool_alone() -> None:
    assert text_of("") == text_of("{}") == "tool: t"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a\x00b\x1b[31mc", "a b [31mc"),
        ("\uff52\uff4d -rf", "rm -rf"),  # full-width letters
        ("r\u200bm", "rm"),  # zero-width space
        ("a\u202eb", "ab"),  # bidirectional override
        ("".join(chr(0xE0000 + ord(c)) for c in "run"), "run"),  # tag characters
        ("x\ud800y", "x\ufffdy"),  # a lone surrogate
        ("one\r\n\ttwo", "one two"),
        ("\u65e5\u672c \U0001f600", "\u65e5\u672c \U0001f600"),
    ],
)
def test_text_is_made_safe(raw: str, expected: str) -> None:
    assert safe(raw) == expected


@given(st.text(st.characters(exclude_categories=[]), max_size=200))
def test_safe_text_is_printable_encodable_and_stays_as_it_is(raw: str) -> None:
    once = safe(raw)
    once.encode("utf-8")
    assert once.replace(" ", "").isprintable()


@given(
    st.text(max_size=60),
    st.recursive(st.none() | st.text() | st.integers(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)),
)
def test_any_call_becomes_bounded_text(name: str, tree: object) -> None:
    written = serialise_call(call(name, json.dumps(tree)), request())
    assert len(written.text) <= MAX_CHARACTERS
    written.text.encode("utf-8")


def test_a_long_argument_keeps_its_head_and_its_tail_and_is_counted() -> None:
    written = serialise_call(call("t", json.dumps({"x": "HEAD " + "a" * 100_000 + " TAIL"})), request())
    assert written.truncated
    assert "HEAD" in written.text
    assert written.text.endswith("TAIL")
    assert "[cut]" in written.text
    assert len(written.text) <= MAX_ARGUMENTS + 40


@pytest.mark.parametrize(("extra", "truncated"), [(0, False), (1, True)])
def test_the_limit_itself_is_not_a_cut(extra: int, truncated: bool) -> None:
    written = serialise_call(call("t", "a" * (MAX_ARGUMENTS + extra)), request())
    assert written.truncated is truncated


def test_text_that_grows_when_normalised_is_cut_and_counted() -> None:
    written = serialise_call(call("t", "\ufdfa" * MAX_ARGUMENTS), request())  # one character becomes eighteen
    assert written.truncated
    assert len(written.text) <= MAX_CHARACTERS


@pytest.mark.parametrize(
    "tree",
    [
        {f"key{i}": i for i in range(10_000)},
        {"k" * 1_000_000: 1},
        {"x": "a" * 1_000_000},
        {"x": "\u200b" * 1_000_000},
        [0] * 500_000,
    ],
    ids=["ten thousand keys", "a huge key", "a huge value", "a huge invisible value", "a huge list"],
)
def test_huge_arguments_are_read_in_bounded_time_and_the_cut_is_counted(tree: object) -> None:
    arguments = json.dumps(tree)
    began = time.perf_counter()
    written = serialise_call(call("t", arguments), request())
    assert time.perf_counter() - began < 3.0  # 30 ms on an idle core
    assert written.truncated
    assert len(written.text) <= MAX_CHARACTERS


def test_deep_arguments_are_read_to_the_bottom() -> None:
    deep = "[" * 190 + '"bottom"' + "]" * 190
    assert text_of(deep).endswith("bottom")
    too_deep = "[" * 5000 + '"bottom"' + "]" * 5000
    assert len(text_of(too_deep)) <= MAX_CHARACTERS


def test_the_walk_ends_after_so_many_words() -> None:
    exact = serialise_call(call("t", json.dumps([1] * MAX_WORDS)), request())
    beyond = serialise_call(call("t", json.dumps([1] * (MAX_WORDS + 1))), request())
    assert (exact.truncated, beyond.truncated) == (False, True)


def talk(*messages: Message) -> Request:
    return Request("chat_completions", "m", False, {}, messages, ())


def test_a_call_is_read_beside_the_task() -> None:
    reading = read_call(call("t", '{"a": 1}'), request(), "Do\nthis")
    assert reading == Reading("task: Do this", "tool: t\narguments: a: 1")
    assert read_call(call("t", "{}"), request(), "").lead == "task:"


def test_a_long_task_is_bounded_and_no_cut_of_the_call() -> None:
    reading = read_call(call("t", "{}"), request(), "begin " + "\ufdfa" * 1_000_000 + " end")
    assert len(reading.lead) <= len("task: ") + MAX_TASK
    assert reading.lead.startswith("task: begin")
    assert reading.lead.endswith("end")
    assert not reading.truncated
    assert read_call(call("t", "a" * 10_000), request(), "").truncated


def test_a_result_is_read_as_its_units() -> None:
    assert read_result("one two") == Reading("result:", "one two")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], ""),
        ([Message("system", "s")], ""),
        ([Message("user", "first"), Message("assistant", "a"), Message("user", "last")], "last"),
        ([Message("user", "first"), Message("assistant", "a"), Message("tool", "t")], "first"),
        (
            [Message("user", "old"), Message("assistant", "a"), Message("user", "one"), Message("user", "two")],
            "one\ntwo",
        ),
        ([Message("user", "said"), Message("tool", "t", result=ToolResult.of("c", "t", "t"))], "said"),
    ],
)
def test_what_came_in_the_users_name_last(messages: list[Message], expected: str) -> None:
    assert latest_request(talk(*messages)) == expected
    assert read_request(talk(*messages)) == (Reading("request:", expected.replace("\n", " ")) if expected else None)


@pytest.mark.parametrize(
    "text",
    [
        "x " * 500_000,
        "\u200b" * 1_000_000,
        "\x00\x1b" * 500_000,
        "\ud800" * 1_000_000,
        "\ufdfa" * 1_000_000,
        "[" * 1_000_000,
        json.dumps({f"key{i}": i for i in range(10_000)}),
    ],
    ids=["words", "invisible", "control", "surrogates", "growing", "brackets", "keys"],
)
def test_a_huge_request_is_read_in_bounded_time_and_the_cut_is_counted(text: str) -> None:
    began = time.perf_counter()
    reading = read_request(talk(Message("user", text)))
    assert time.perf_counter() - began < 3.0
    assert reading is not None
    assert reading.truncated
    assert len(reading.body) <= MAX_BODY
    reading.body.encode("utf-8")
