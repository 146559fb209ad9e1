"""Reading requests: what is served, what is refused and why, and the ways in which a request is edited."""

import contextlib
import copy
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from guardproxy.errors import MalformedRequest
from guardproxy.model import (
    CallKey,
    CallKind,
    Injection,
    Message,
    Position,
    Request,
    ToolCall,
    ToolResult,
    ToolSpec,
    Turn,
)
from guardproxy.surfaces.chat_completions.fields import PROVIDER_TOOL_FIELDS, SAMPLER_FIELDS, SDK_FIELDS
from guardproxy.surfaces.chat_completions.request import (
    parse,
    with_feedback,
    with_injection,
    without_results,
)
from guardproxy.surfaces.surface import RequestRules
from guardproxy.testing.chat import request, whole_call

RULES = RequestRules()
FUNCTION, CUSTOM, LEGACY, OPAQUE = CallKind.FUNCTION, CallKind.CUSTOM, CallKind.LEGACY_FUNCTION, CallKind.OPAQUE


def read(**fields: Any) -> Request:
    return parse(request(**fields), RULES)


# --- fields ----------------------------------------------------------------------------------------------------------


def test_the_table_is_the_contract_of_the_installed_sdk() -> None:
    """A field that a newer SDK brings must be looked at before it may pass: it may make the provider run a tool."""
    annotations: set[str] = set()
    for params in (CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming):
        annotations |= get_type_hints(params).keys()
    assert "messages" in annotations
    assert annotations - SDK_FIELDS - PROVIDER_TOOL_FIELDS == set()
    assert not SDK_FIELDS & PROVIDER_TOOL_FIELDS
    assert not SDK_FIELDS & SAMPLER_FIELDS


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "x", "", 10**30])
def test_an_unknown_scalar_passes(value: object) -> None:
    tree = request(top_k=value)
    assert parse(tree, RULES).tree is tree


@pytest.mark.parametrize("field", ["provider_options", "plugins", "mcp_servers", "Tools", "x" * 500])
@pytest.mark.parametrize("value", [{}, [], {"a": 1}, [1]])
def test_an_unknown_object_or_list_is_refused_unless_named(field: str, value: object) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse(request(**{field: value}), RULES)
    assert (caught.value.param, caught.value.code) == (field[:64], "field_refused")
    assert parse(request(**{field: value}), RequestRules(allow_fields=frozenset({field}))).tree[field] == value


@pytest.mark.parametrize("field", sorted(SAMPLER_FIELDS))
def test_fields_of_common_servers_pass(field: str) -> None:
    assert read(**{field: {"a": [1]}}).tree[field] == {"a": [1]}


@pytest.mark.parametrize("value", [{}, {"search_context_size": "low"}, True, "on"])
def test_web_search_by_the_provider_is_refused(value: object) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(web_search_options=value)
    assert caught.value.param == "web_search_options"
    rules = RequestRules(allow_provider_tools=frozenset({"web_search_options"}))
    assert parse(request(web_search_options=value), rules).tree["web_search_options"] == value
    assert read(web_search_options=None)


@pytest.mark.parametrize("kind", ["web_search", "mcp", "code_interpreter", "Function", "", "function ", "namespace"])
def test_tools_that_the_provider_runs_are_refused_unless_named(kind: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(tools=[{"type": kind}])
    assert (caught.value.param, caught.value.code) == ("tools[0].type", "provider_tool_refused")
    assert parse(request(tools=[{"type": kind}]), RequestRules(allow_provider_tools=frozenset({kind}))).tools == ()


# --- shapes ----------------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f"}}
USER = {"role": "user", "content": "hi"}


def asking(*messages: object) -> dict[str, Any]:
    return request(messages=list(messages))


@pytest.mark.parametrize(
    ("tree", "param"),
    [
        ({}, "messages"),
        (request(messages=None), "messages"),
        (request(messages="hi"), "messages"),
        (request(messages={}), "messages"),
        (request(model=None), "model"),
        (request(model=""), "model"),
        (request(model=["m"]), "model"),
        (request() | {"stream": "true"}, "stream"),
        (request() | {"stream": 1}, "stream"),
        *((request(n=n), "n") for n in (0, -1, 129, 10**30, 1.0, "1", True, [1])),
        (request(tools={}), "tools"),
        (request(tools="f"), "tools"),
        (request(tools=[None]), "tools[0]"),
        (request(tools=["f"]), "tools[0]"),
        (request(tools=[TOOL, {}]), "tools[1].type"),
        *((request(tools=[{"type": kind}]), "tools[0].type") for kind in (None, 1, True, ["function"], {"a": 1})),
        (request(tools=[{"type": "function"}]), "tools[0].function"),
        (request(tools=[{"type": "function", "function": "f"}]), "tools[0].function"),
        (request(tools=[{"type": "function", "custom": {"name": "f"}}]), "tools[0].function"),
        (request(tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
        (request(tools=[{"type": "function", "function": {"name": ""}}]), "tools[0].function.name"),
        (request(tools=[{"type": "function", "function": {"name": 1}}]), "tools[0].function.name"),
        (request(tools=[{"type": "custom", "custom": {"name": "f", "parameters": []}}]), "tools[0].custom.parameters"),
        (request(tools=[{"type": "custom", "custom": {"name": "f", "description": 1}}]), "tools[0].custom.description"),
        (request(functions={}), "functions"),
        (request(functions=["f"]), "functions[0]"),
        (request(functions=[{}]), "functions[0].name"),
        (asking(None), "messages[0]"),
        (asking("hi"), "messages[0]"),
        (asking(USER, []), "messages[1]"),
        (asking({}), "messages[0].role"),
        (asking({"role": 1}), "messages[0].role"),
        (asking({"role": ["user"]}), "messages[0].role"),
        (asking({"role": "user", "content": 1}), "messages[0].content"),
        (asking({"role": "user", "content": {"type": "text"}}), "messages[0].content"),
        (asking({"role": "user", "content": [1]}), "messages[0].content[0]"),
        (asking({"role": "user", "content": [{"type": "text", "text": 1}]}), "messages[0].content[0].text"),
        (asking({"role": "assistant", "tool_calls": {}}), "messages[0].tool_calls"),
        (asking({"role": "assistant", "tool_calls": ["f"]}), "messages[0].tool_calls[0]"),
        (asking({"role": "assistant", "tool_calls": [{}]}), "messages[0].tool_calls[0].function"),
        (asking({"role": "assistant", "tool_calls": [{"type": "custom"}]}), "messages[0].tool_calls[0].custom"),
        (asking({"role": "assistant", "function_call": "f"}), "messages[0].function_call"),
        (asking({"role": "assistant", "function_call": []}), "messages[0].function_call"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_by_the_name_of_the_field(tree: Any, param: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse(tree, RULES)
    assert caught.value.status == 400
    assert caught.value.param == param


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 200) | st.sampled_from(["", "function", "tool", "user", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "function",
                    "name",
                    "arguments",
                    "tool_calls",
                    "tool_call_id",
                    "custom",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(SDK_FIELDS | PROVIDER_TOOL_FIELDS), JSON)), st.lists(JSON)
)
def test_any_tree_is_read_or_refused_and_never_changed(tree: dict[str, Any], messages: list[Any]) -> None:
    tree = request() | tree | {"messages": messages}
    before = copy.deepcopy(tree)
    with contextlib.suppress(MalformedRequest):
        found = parse(tree, RULES)
        assert found.tree is tree
        assert len(found.messages) == len(messages)
    assert tree == before


# --- views -----------------------------------------------------------------------------------------------------------


def test_a_conversation() -> None:
    custom = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "raw"}}
    found = read(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "a"}, "b", {"type": "refusal", "refusal": "c"}]},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {}}, {"type": "input_audio"}, {"type": "x"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [whole_call("f", "{}", "c1"), custom]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {
                "role": "tool",
                "tool_call_id": "c2",
                "content": [{"type": "text", "text": "two"}, {"type": "text", "text": ""}],
            },
            {"role": "tool", "tool_call_id": "lost", "content": None},
            {"role": "assistant", "function_call": {"name": "h", "arguments": "{}"}},
            {"role": "function", "name": "h", "content": "three"},
        ]
    )
    assert [message.text for message in found.messages[:2]] == ["a\nb\nc", "\n\n"]
    assert found.uninspected == ("audio", "image", "other")
    assert found.messages[2].calls == (
        ToolCall(CallKey(0, 0), FUNCTION, "c1", "f", "{}"),
        ToolCall(CallKey(0, 1), CUSTOM, "c2", "g", "raw"),
    )
    assert [(result.tool, result.text) for result in found.results] == [
        ("f", "one"),
        ("g", "two\n"),
        ("", ""),
        ("h", "three"),
    ]
    assert found.results[0] == ToolResult.of(found.results[0].call_id, found.results[0].tool, "one")
    assert isinstance(found.messages[0], Message)


def test_tools() -> None:
    schema = {"type": "object"}
    found = read(
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}},
            {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
        ],
        functions=[{"name": "h"}],
    )
    assert found.tools == (
        ToolSpec(FUNCTION, "f", "d", schema),
        ToolSpec(CUSTOM, "g", "", None),
        ToolSpec(LEGACY, "h", "", None),
    )


@pytest.mark.parametrize(
    ("fields", "forced"),
    [
        ({}, False),
        ({"tool_choice": "auto"}, False),
        ({"tool_choice": "none"}, False),
        ({"tool_choice": None}, False),
        ({"tool_choice": "required"}, True),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, True),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, True),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}, False),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}}, True),
        ({"function_call": "auto"}, False),
        ({"function_call": {"name": "f"}}, True),
    ],
)
def test_whether_a_tool_is_forced(fields: dict[str, Any], forced: bool) -> None:
    assert read(**fields).forced_tool is forced


@pytest.mark.parametrize(
    ("form", "structured"),
    [(None, False), ({"type": "text"}, False), ({"type": "json_object"}, True), ({"type": "json_schema"}, True)],
)
def test_whether_the_output_is_structured(form: object, structured: bool) -> None:
    assert read(response_format=form).structured_output is structured


# --- edits: the original is never changed, and nothing else moves -----------------------------------------------------


def edited(before: Request, after: Request) -> list[Any]:
    """The messages, after a check that nothing else differs."""
    assert {k: v for k, v in after.tree.items() if k != "messages"} == {
        k: v for k, v in before.tree.items() if k != "messages"
    }
    messages = after.tree["messages"]
    assert isinstance(messages, list)
    return messages


@pytest.mark.parametrize(
    ("position", "last", "fields"),
    [
        (Position.TRAILING_ASSISTANT, {}, {}),
        (Position.PREFIX_FLAG, {"prefix": True}, {}),
        (Position.CONTINUE_FINAL_MESSAGE, {}, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_a_prefix_as_the_last_message(position: Position, last: dict[str, Any], fields: dict[str, Any]) -> None:
    before = read(temperature=0)
    tree = copy.deepcopy(before.tree)
    after = with_injection(before, Injection("P", position))
    assert after.tree == request(temperature=0) | fields | {
        "messages": [USER, {"role": "assistant", "content": "P"} | last]
    }
    assert before.tree == tree


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Hi.", "Hi.\n\nP"),
        ([{"type": "text", "text": "Hi."}], [{"type": "text", "text": "Hi."}, {"type": "text", "text": "P"}]),
    ],
    ids=["text", "parts"],
)
def test_a_suffix_goes_to_the_end_of_what_the_user_said_last(content: Any, expected: Any) -> None:
    call = whole_call("f", "{}", id="a")
    behind = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "42"},
    ]
    before = read(messages=[USER, {"role": "user", "content": content}, *behind])
    tree = copy.deepcopy(before.tree)
    after = with_injection(before, Injection("P", Position.SUFFIX))
    assert edited(before, after) == [USER, {"role": "user", "content": expected}, *behind]
    assert (before.tree, after.messages) == (tree, before.messages)


def test_a_suffix_where_the_user_has_said_nothing() -> None:
    before = read(messages=[{"role": "system", "content": "S"}])
    after = with_injection(before, Injection("P", Position.SUFFIX))
    assert edited(before, after) == [{"role": "system", "content": "S"}, {"role": "user", "content": "P"}]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([], [{"role": "system", "content": "P"}]),
        ([{"role": "system", "content": "S"}], [{"role": "system", "content": "S\n\nP"}]),
        ([{"role": "developer", "content": "S"}], [{"role": "developer", "content": "S\n\nP"}]),
        ([{"role": "system", "content": None, "name": "n"}], [{"role": "system", "content": "P", "name": "n"}]),
        (
            [{"role": "system", "content": [{"type": "text", "text": "S"}]}],
            [{"role": "system", "content": [{"type": "text", "text": "S"}, {"type": "text", "text": "P"}]}],
        ),
    ],
)
def test_a_prefix_as_an_instruction(first: list[Any], expected: list[Any]) -> None:
    before = read(messages=[*first, USER])
    tree = copy.deepcopy(before.tree)
    after = with_injection(before, Injection("P", Position.INSTRUCTION))
    assert edited(before, after) == [*expected, USER]
    assert before.tree == tree


def test_feedback_answers_every_call() -> None:
    before = read()
    calls = (
        ToolCall(CallKey(0, -1), LEGACY, "", "h", "z"),
        ToolCall(CallKey(0, 0), FUNCTION, "a", "f", "x"),
        ToolCall(CallKey(0, 1), CUSTOM, "b", "g", "y"),
    )
    after = with_feedback(before, Turn(calls, {0: "T"}, {0: "tool_calls"}), {call.key: call.name for call in calls})
    assert edited(before, after) == [
        USER,
        {
            "role": "assistant",
            "content": "T",
            "function_call": {"name": "h", "arguments": "z"},
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "x"}},
                {"id": "b", "type": "custom", "custom": {"name": "g", "input": "y"}},
            ],
        },
        {"role": "function", "name": "h", "content": "h"},
        {"role": "tool", "tool_call_id": "a", "content": "f"},
        {"role": "tool", "tool_call_id": "b", "content": "g"},
    ]
    assert before.tree == request()


def test_withheld_results() -> None:
    tool = {"role": "tool", "tool_call_id": "c", "content": "dirty"}
    parts = tool | {"content": [{"type": "text", "text": "dirty"}]}
    other = tool | {"content": "clean"}
    before = read(messages=[{"role": "user", "content": "dirty"}, tool, other, parts])
    after = without_results(before, frozenset({ToolResult.of("", "", "dirty").digest}), "N")
    assert edited(before, after) == [
        {"role": "user", "content": "dirty"},
        tool | {"content": "N"},
        other,
        tool | {"content": "N"},
    ]
