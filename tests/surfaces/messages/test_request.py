"""Reading requests: what is served, what is refused and why."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult, ToolSpec
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.messages.contract import CONTRACT, TOOLSETS
from guardproxy.surfaces.messages.request import parse
from guardproxy.surfaces.surface import ProviderTools, RequestRules
from guardproxy.testing.messages import Tree, request

STRIP = RequestRules(provider_tools=ProviderTools.STRIP)


def read(rules: RequestRules | None = None, **fields: Any) -> Request:
    return parse(request(**fields), rules or RequestRules())


def said(*content: Any, role: str = "user") -> list[Tree]:
    return [{"role": role, "content": list(content)}]


def refusal_of(rules: RequestRules | None = None, **fields: Any) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as raised:
        read(rules, **fields)
    return raised.value


def allowing(*tools: str) -> RequestRules:
    return RequestRules(allow_provider_tools=frozenset(tools))


# --- fields ------------------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    parsed = read(stop_sequences=["END", "Observation:"], system="Be brief.")
    assert (parsed.surface, parsed.model, parsed.stream, parsed.choices) == ("messages", "m", True, 1)
    assert parsed.messages == (Message("system", "Be brief."), Message("user", "Go on."))
    assert parsed.tools[0] == ToolSpec(CallKind.FUNCTION, "good", "", {"type": "object"})
    assert parsed.stop == ("END", "Observation:")
    assert parsed.tree == request(stop_sequences=["END", "Observation:"], system="Be brief.")
    assert not parsed.forced_tool
    assert not parsed.structured_output


@pytest.mark.parametrize("value", [None, False])
def test_a_request_need_not_stream(value: bool | None) -> None:
    assert not parse(request() | {"stream": value}, RequestRules()).stream


NESTED = {"type": "tool_result", "content": [{"type": "tool_result", "content": "x"}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content"),
        ({"messages": said("x")}, "messages[0].content[0]"),
        ({"messages": said({"text": "x"})}, "messages[0].content[0].type"),
        ({"messages": said({"type": "text", "text": 1})}, "messages[0].content[0].text"),
        ({"messages": said({"type": "tool_use", "name": "f", "input": "{}"})}, "messages[0].content[0].input"),
        ({"messages": said({"type": "tool_result", "content": 1})}, "messages[0].content[0].content"),
        ({"messages": said(NESTED)}, "messages[0].content[0].content"),
        ({"system": 1}, "system"),
        ({"system": [{"type": "text", "text": []}]}, "system[0].text"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"tools": "x"}, "tools"),
        ({"tools": ["x"]}, "tools"),
        ({"tools": [{"type": 1}]}, "tools[0].type"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": []}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "f", "description": 1}]}, "tools[0].description"),
        ({"tools": [{"type": "bash_20250124"}]}, "tools[0].name"),
        ({"stop_sequences": "x"}, "stop_sequences"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_names_its_place(fields: Tree, param: str) -> None:
    assert refusal_of(**fields).param == param


def test_a_forced_tool() -> None:
    forced = {
        kind: read(tool_choice={"type": kind, "name": "good"}).forced_tool for kind in ("any", "tool", "auto", "none")
    }
    assert forced == {"any": True, "tool": True, "auto": False, "none": False}


@pytest.mark.parametrize(
    ("fields", "structured"),
    [
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, True),
        ({"output_format": {"type": "json_schema", "schema": {}}}, True),
        ({"output_config": {"effort": "low"}}, False),
        ({"output_config": None}, False),
    ],
)
def test_structured_output(fields: Tree, structured: bool) -> None:
    assert read(**fields).structured_output is structured


def test_what_the_provider_keeps_may_be_allowed_and_is_counted() -> None:
    continued: Tree = {"thread": {"type": "continue", "previous_message_id": "msg_0"}}
    assert refusal_of(**continued).code == "field_refused"
    allowed = RequestRules(allow_fields=frozenset({"thread"}))
    assert read(allowed, **continued).uninspected == ("thread",)
    assert read(container="cont_1").uninspected == ("container",)


@pytest.mark.parametrize("field", sorted(CONTRACT["request fields"]))
def test_a_known_field_may_be_empty(field: str) -> None:
    if field not in ("messages", "tools", "model", "stream"):
        assert read(**{field: None}).model == "m"


# --- tools -------------------------------------------------------------------------------------------------------

GUARDED = sorted(name for name, how in CONTRACT["tools"].items() if how is Treatment.GUARDED)
PROVIDED = sorted(name for name, how in CONTRACT["tools"].items() if how is Treatment.REFUSED)


@pytest.mark.parametrize("kind", GUARDED)
def test_a_tool_that_the_client_runs_is_declared(kind: str) -> None:
    tool: Tree = {"type": kind} if kind in TOOLSETS else {"type": kind, "name": "it"}
    parsed = read(tools=[tool])
    assert parsed.tree["tools"] == [tool]
    if kind in TOOLSETS:
        name, members = TOOLSETS[kind]
        assert parsed.tools == tuple(ToolSpec(CallKind.BUILTIN, f"{name}.{m}", "", None) for m in members)
    else:
        expected = CallKind.FUNCTION if kind == "custom" else CallKind.BUILTIN
        assert [(spec.kind, spec.name, spec.parameters) for spec in parsed.tools] == [(expected, "it", None)]


@pytest.mark.parametrize("kind", PROVIDED)
def test_a_tool_that_the_provider_runs_is_refused_stripped_or_allowed(kind: str) -> None:
    own, theirs = request()["tools"], {"type": kind, "name": "it"}
    tools = [*own, theirs]
    error = refusal_of(tools=tools)
    assert (error.code, error.param) == ("provider_tool_refused", "tools[2].type")
    stripped = read(STRIP, tools=tools)
    assert stripped.tree["tools"] == own
    assert [spec.name for spec in stripped.tools] == ["good", "bad"]
    allowed = read(allowing(kind), tools=tools)
    assert allowed.tree["tools"] == tools
    assert [spec.name for spec in allowed.tools] == ["good", "bad"]


def test_a_provider_tool_may_be_allowed_in_all_versions() -> None:
    assert len(read(allowing("web_search"), tools=[{"type": "web_search_20250305", "name": "web_search"}]).tools) == 0
    assert refusal_of(allowing("web_search_20250305"), tools=[{"type": "web_search_20260209"}]).param == "tools[0].type"


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "web_search"}])
def test_nothing_is_forced_that_was_stripped(choice: Tree) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    parsed = read(STRIP, tools=[search], tool_choice=choice)
    assert not {"tools", "tool_choice"} & parsed.tree.keys()
    assert not parsed.forced_tool
    kept = read(STRIP, tools=[search, *request()["tools"]], tool_choice={"type": "any"})
    assert kept.forced_tool


def test_a_name_that_is_no_string_is_a_fault_beside_a_stripped_tool() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    choice = {"type": "tool", "name": {"a": 1}}
    assert refusal_of(STRIP, tools=[search, {"name": {"a": 1}}], tool_choice=choice).param == "tools[0].name"


def test_an_unknown_tool_may_be_allowed_and_is_then_declared() -> None:
    future = {"type": "bash_20990101", "name": "bash"}
    assert refusal_of(tools=[future]).code == "provider_tool_refused"
    assert read(allowing("bash"), tools=[future]).tools == (ToolSpec(CallKind.BUILTIN, "bash", "", None),)


def test_tool_servers_are_refused_stripped_or_allowed() -> None:
    servers = [{"type": "url", "url": "https://x", "name": "x"}]
    toolset = {"type": "mcp_toolset", "mcp_server_name": "x"}
    assert refusal_of(mcp_servers=servers).param == "mcp_servers"
    stripped = read(STRIP, mcp_servers=servers, tools=[toolset])
    assert not {"mcp_servers", "tools"} & stripped.tree.keys()
    assert read(allowing("mcp_servers"), mcp_servers=servers).tree["mcp_servers"] == servers
    assert read(mcp_servers=[]).model == "m"


def addition(definition: Tree) -> Tree:
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}


@pytest.mark.parametrize("in_compaction", [False, True])
def test_a_tool_that_a_message_declares_is_a_tool(in_compaction: bool) -> None:
    def block(definition: Tree) -> Tree:
        change = addition(definition)
        return {"type": "compaction", "content": "So far.", "tool_changes": [change]} if in_compaction else change

    late = block({"name": "late", "input_schema": {"type": "object"}})
    assert [spec.name for spec in read(messages=said(late, role="system")).tools] == ["good", "bad", "late"]
    search = said(block({"type": "web_search_20250305", "name": "web_search"}), role="system")
    for rules in (RequestRules(), STRIP):
        assert refusal_of(rules, messages=search).code == "provider_tool_refused"
    assert read(allowing("web_search"), messages=search).tree["messages"] == search


def test_an_unknown_change_of_tools_is_refused() -> None:
    assert refusal_of(messages=said({"type": "tool_addition", "tool": {"type": "future"}})).code == "field_refused"
    assert refusal_of(messages=said({"type": "tool_addition"})).code == "field_refused"
    assert refusal_of(messages=said({"type": "compaction", "tool_changes": ["x"]})).code == "field_refused"
    known = said({"type": "tool_removal", "tool": {"type": "tool_reference", "name": "good"}}, role="system")
    assert len(read(messages=known).tools) == 2


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_conversation_with_calls_and_results() -> None:
    parsed = read(
        messages=[
            {"role": "user", "content": "Look."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "text", "text": "Let me."},
                    {"type": "tool_use", "id": "1", "name": "good", "input": {"a": 1}},
                    {"type": "tool_use", "id": "2", "name": "left_click", "toolset_name": "computer"},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": "one"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "2",
                        "is_error": True,
                        "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}],
                    },
                    {"type": "tool_result", "tool_use_id": "3"},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
    )
    calls = (
        ToolCall(CallKey(0, 0), CallKind.FUNCTION, "1", "good", '{"a":1}'),
        ToolCall(CallKey(0, 1), CallKind.BUILTIN, "2", "computer.left_click", "{}"),
    )
    assert parsed.messages == (
        Message("user", "Look."),
        Message("assistant", "Let me.", calls),
        Message("tool", "one", (), ToolResult.of("1", "good", "one")),
        Message("tool", "two\nthree", (), ToolResult.of("2", "computer.left_click", "two\nthree")),
        Message("tool", "", (), ToolResult.of("3", "", "")),
        Message("user", "And now?"),
    )
    assert len(parsed.results) == 3


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a"}, "a"),
        ({"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "a"}]}, "t\ns\na"),
        ({"type": "document", "title": "t", "source": {"type": "text", "data": "a"}}, "t\na"),
        ({"type": "document", "context": "c", "source": {"type": "content", "content": "a"}}, "c\na"),
        ({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}}, "a"),
        (
            {"type": "browser_state", "tabs": [{"title": "t", "url": "u"}]},
            '{"type":"browser_state","tabs":[{"title":"t","url":"u"}]}',
        ),
        ({"type": "tool_reference", "tool_name": "x"}, ""),
        ({"type": "image", "source": {"type": "base64", "data": "x"}}, ""),
    ],
)
def test_the_text_of_a_tool_result_is_all_that_can_be_read(part: Tree, expected: str) -> None:
    parsed = read(messages=said({"type": "tool_result", "tool_use_id": "1", "content": [part]}))
    assert parsed.results[0].text == expected


FILE = {"type": "file", "file_id": "file_1"}


@pytest.mark.parametrize(
    ("block", "kind", "hidden"),
    [
        ({"type": "image", "source": {"type": "base64", "data": "x"}}, "image", False),
        ({"type": "image", "source": {"type": "url", "url": "u"}}, "image", False),
        ({"type": "image", "source": FILE}, "image", True),
        ({"type": "document", "source": {"type": "base64", "data": "x"}}, "file", False),
        ({"type": "document", "source": FILE}, "file", True),
        ({"type": "document"}, "file", False),
        ({"type": "container_upload", "file_id": "file_1"}, "file", True),
        ({"type": "compaction", "content": "So far."}, "compaction", False),
        ({"type": "compaction", "content": None, "encrypted_content": "x"}, "compaction", True),
        ({"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}, "server_tool", False),
        ({"type": "web_search_tool_result", "tool_use_id": "x", "content": []}, "server_tool", False),
        ({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "source": FILE}]}, "image", True),
        (
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "image", "source": {"type": "base64"}}]},
            },
            "image",
            False,
        ),
    ],
)
def test_what_no_guard_can_read_is_counted_and_may_be_refused(block: Tree, kind: str, hidden: bool) -> None:
    assert read(messages=said(block)).uninspected == (kind,)
    strict = RequestRules(refuse_hidden_content=True)
    if hidden:
        error = refusal_of(strict, messages=said(block))
        assert error.code == "hidden_content_refused"
        assert error.param is not None
        assert error.param.startswith("messages[0].content[0]")
    else:
        assert read(strict, messages=said(block)).uninspected == (kind,)


def test_hidden_content_in_a_container_may_be_refused() -> None:
    assert refusal_of(RequestRules(refuse_hidden_content=True), container={"id": "c"}).param == "container"


@pytest.mark.parametrize("block", sorted(CONTRACT["content blocks"]))
def test_every_known_block_may_be_sent(block: str) -> None:
    change = {"tool": {"type": "tool_reference", "name": "good"}} if block == "tool_addition" else {}
    assert read(messages=said({"type": block, **change})).messages


def test_an_unknown_block_is_refused_unless_it_is_allowed() -> None:
    future = said({"type": "future", "text": "x"})
    error = refusal_of(messages=future)
    assert (error.code, error.param) == ("field_refused", "messages[0].content[0]")
    allowed = read(RequestRules(allow_fields=frozenset({"future"})), messages=future)
    assert allowed.uninspected == ("other",)


@pytest.mark.parametrize("content", [None, "", []])
def test_a_message_may_be_empty(content: Any) -> None:
    assert read(messages=[{"role": "assistant", "content": content}]).messages == (Message("assistant", ""),)


def test_system_blocks_are_joined() -> None:
    blocks = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
    assert read(system=blocks).messages[0] == Message("system", "a\nb")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "role", "source", "tool", "input", "name", "definition", "x"]),
            inner | st.sampled_from(sorted(CONTRACT["content blocks"])),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "tools", "system", "model", "stream", "tool_choice", "output_config", "thread"]),
        json_values | st.lists(json_values, max_size=3),
    )
)
def test_any_tree_is_read_or_refused(fields: Tree) -> None:
    for rules in (RequestRules(), STRIP, RequestRules(refuse_hidden_content=True)):
        with contextlib.suppress(MalformedRequest):
            parsed = parse(request() | fields, rules)
            assert parsed.tree.items() <= (request() | fields).items() or rules is STRIP
