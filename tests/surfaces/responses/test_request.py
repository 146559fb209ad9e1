"""What a request says, and what of it is refused."""

from typing import Any

import pytest

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKind, Request
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import ProviderTools, RequestRules

STRIP = RequestRules(provider_tools=ProviderTools.STRIP)
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}


def parse(rules: RequestRules | None = None, **fields: Any) -> Request:
    return Responses().parse({"model": "m", "input": "Hi.", **fields}, rules or RequestRules())


def refusal(rules: RequestRules | None = None, **fields: Any) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        parse(rules, **fields)
    return caught.value


def tools(*declared: Any, rules: RequestRules | None = None) -> list[tuple[CallKind, str]]:
    return [(tool.kind, tool.name) for tool in parse(rules, tools=list(declared)).tools]


# --- fields ------------------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    request = parse(instructions="Be brief.", stream=True)
    assert request.surface == "responses"
    assert request.stream
    assert request.stored
    assert request.choices == 1
    assert not request.forced_tool
    assert [(m.role, m.text) for m in request.messages] == [("system", "Be brief."), ("user", "Hi.")]
    assert request.tree == {"model": "m", "input": "Hi.", "instructions": "Be brief.", "stream": True}


def test_what_an_agent_sends() -> None:
    """The fields of Codex and of the Agents SDK."""
    request = parse(
        store=False,
        include=["reasoning.encrypted_content"],
        parallel_tool_calls=True,
        reasoning={"effort": "high", "summary": "auto"},
        prompt_cache_key="k",
        text={"verbosity": "low"},
        tools=[WEATHER],
        tool_choice="auto",
        metadata={"a": "b"},
        input_fidelity="high",
    )
    assert not request.stored
    assert not request.structured_output
    assert request.uninspected == ()


def test_structured_output() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {}}
    assert parse(text={"format": form}).structured_output
    assert not parse(text={"format": {"type": "text"}}).structured_output


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ("auto", False),
        ("none", False),
        ("required", True),
        ({"type": "function", "name": "weather"}, True),
        ({"type": "shell"}, True),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, False),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, True),
    ],
)
def test_a_tool_may_be_forced(choice: Any, forced: bool) -> None:
    assert parse(tools=[WEATHER], tool_choice=choice).forced_tool is forced


def test_stored_answers_and_conversations() -> None:
    assert parse(previous_response_id="resp_1").continues == "resp_1"
    assert parse(conversation="conv_1").conversation == "conv_1"
    assert parse(conversation={"id": "conv_1"}).conversation == "conv_1"
    assert parse(conversation={"id": "conv_1"}).uninspected == ("conversation",)
    assert refusal(conversation=7).param == "conversation"
    assert refusal(conversation={}).param == "conversation.id"


def test_an_answer_in_the_background_is_refused() -> None:
    error = refusal(background=True)
    assert (error.code, error.param, error.status) == ("background_refused", "background", 400)
    assert "judged" in error.message
    assert parse(background=False)


def test_unknown_objects_and_lists_are_refused_unless_named() -> None:
    error = refusal(future={"a": 1})
    assert (error.code, error.param) == ("field_refused", "future")
    assert refusal(future=[1]).code == "field_refused"
    assert parse(future="scalar")
    assert parse(RequestRules(allow_fields=frozenset({"future"})), future={"a": 1})
    assert parse(chat_template_kwargs={"enable_thinking": False})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"store": 1}, "store"),
        ({"input": 3}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"instructions": ["x"]}, "instructions"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools[0]"),
        ({"tools": [{"name": "x"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "x", "parameters": []}]}, "tools[0].parameters"),
        ({"tools": [{"type": "namespace", "name": "x", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0].type"),
        ({"previous_response_id": 1}, "previous_response_id"),
        ({"input": [{"type": "message", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [3]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": 1, "call_id": "c", "arguments": ""}]}, "input[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_malformed_is_named(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert (error.param, error.code) == (param, "malformed_request")


# --- tools -------------------------------------------------------------------------------------------------------


def test_tools_that_the_client_runs() -> None:
    assert tools(
        WEATHER,
        {"type": "custom", "name": "sql"},
        {"type": "namespace", "name": "crm", "description": "", "tools": [{"type": "function", "name": "find"}]},
        {"type": "shell"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "local_shell"},
        {"type": "apply_patch"},
        {"type": "computer"},
        {"type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "mac"},
        {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}},
    ) == [
        (CallKind.FUNCTION, "weather"),
        (CallKind.CUSTOM, "sql"),
        (CallKind.FUNCTION, "crm.find"),
        (CallKind.BUILTIN, "shell"),
        (CallKind.BUILTIN, "shell"),
        (CallKind.BUILTIN, "local_shell"),
        (CallKind.BUILTIN, "apply_patch"),
        (CallKind.BUILTIN, "computer"),
        (CallKind.BUILTIN, "computer"),
        (CallKind.BUILTIN, "tool_search"),
    ]


def test_a_search_by_the_provider_runs_nothing() -> None:
    assert tools({"type": "tool_search"}, {"type": "tool_search", "execution": "server"}) == []


PROVIDER_TOOLS = [
    {"type": "mcp", "server_label": "docs", "server_url": "https://example.com", "require_approval": "always"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "programmatic_tool_calling"},
    {"type": "web_search"},
    {"type": "web_search_2025_08_26"},
    {"type": "web_search_preview"},
    {"type": "web_search_preview_2025_03_11"},
    {"type": "file_search", "vector_store_ids": []},
    {"type": "image_generation"},
    {"type": "shell", "environment": {"type": "container_auto"}},
    {"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}},
    {"type": "tool_of_the_future"},
]


@pytest.mark.parametrize("tool", PROVIDER_TOOLS, ids=lambda tool: tool["type"])
def test_tools_that_the_provider_runs_are_refused_stripped_or_allowed(tool: dict[str, Any]) -> None:
    error = refusal(tools=[WEATHER, tool])
    assert (error.code, error.param) == ("provider_tool_refused", "tools[1].type")
    assert parse(STRIP, tools=[WEATHER, tool]).tree["tools"] == [WEATHER]
    allowed = parse(RequestRules(allow_provider_tools=frozenset({tool["type"]})), tools=[WEATHER, tool])
    assert allowed.tree["tools"] == [WEATHER, tool]


def test_a_type_with_a_date_is_allowed_by_its_plain_name() -> None:
    rules = RequestRules(allow_provider_tools=frozenset({"web_search"}))
    assert parse(rules, tools=[{"type": "web_search_2025_08_26"}])
    assert refusal(rules, tools=[{"type": "web_search_preview"}])


def test_a_stripped_tool_leaves_nothing_that_names_it() -> None:
    search = {"type": "web_search"}
    assert "tool_choice" not in parse(STRIP, tools=[WEATHER, search], tool_choice=search).tree
    assert "tool_choice" not in parse(STRIP, tools=[search], tool_choice="required").tree
    assert "tools" not in parse(STRIP, tools=[search]).tree
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [search, {"type": "function", "name": "weather"}]}
    stripped = parse(STRIP, tools=[WEATHER, search], tool_choice=choice).tree["tool_choice"]
    assert stripped["tools"] == [{"type": "function", "name": "weather"}]


def test_a_request_of_which_nothing_is_stripped_goes_on_as_it_came() -> None:
    tree: Any = {"model": "m", "input": "x", "tools": [WEATHER]}
    assert Responses().parse(tree, STRIP).tree is tree


def test_tools_arrive_in_input_items_too() -> None:
    items = [
        {"type": "additional_tools", "role": "developer", "tools": [WEATHER]},
        {"type": "tool_search_output", "call_id": "c", "tools": [{"type": "custom", "name": "sql"}]},
        {"type": "mcp_list_tools", "id": "l", "server_label": "docs", "tools": [{"name": "read", "input_schema": {}}]},
    ]
    request = parse(input=items)
    assert [(tool.kind, tool.name) for tool in request.tools] == [
        (CallKind.FUNCTION, "weather"),
        (CallKind.CUSTOM, "sql"),
        (CallKind.APPROVAL, "docs.read"),
    ]


def test_tools_of_the_provider_are_found_in_input_items_too() -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": [WEATHER, {"type": "web_search"}]}
    assert refusal(input=[item]).param == "input[0].tools[1].type"
    stripped = parse(STRIP, input=[{"role": "user", "content": "x"}, item])
    assert stripped.tree["input"][1]["tools"] == [WEATHER]


def test_the_tools_that_an_mcp_server_may_run_are_declared() -> None:
    rules = RequestRules(allow_provider_tools=frozenset({"mcp"}))
    server = {"type": "mcp", "server_label": "docs", "server_url": "https://example.com"}
    named = [(CallKind.APPROVAL, "docs.read")]
    assert tools(server | {"allowed_tools": ["read"]}, rules=rules) == named
    assert tools(server | {"allowed_tools": {"tool_names": ["read"]}}, rules=rules) == named
    assert tools(server, rules=rules) == []


# --- hidden content ----------------------------------------------------------------------------------------------

HIDDEN = {
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "conversation": {"conversation": "conv_1"},
    "compaction": {"input": [{"type": "compaction", "encrypted_content": "x"}]},
    "file": {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]},
    "image": {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_only_the_provider_can_read_is_counted_or_refused(kind: str) -> None:
    assert parse(**HIDDEN[kind]).uninspected == (kind,)
    assert refusal(RequestRules(refuse_hidden_content=True), **HIDDEN[kind]).code == "hidden_content_refused"


# --- items that are named and not given --------------------------------------------------------------------------

STRICT = RequestRules(refuse_hidden_content=True)
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}], ids=["typed", "bare"])
def test_an_item_that_is_known_takes_the_place_of_its_name(item: dict[str, Any]) -> None:
    request = parse(STRICT, input=[{"role": "user", "content": "Sure?"}, item, {"role": "user", "content": "Go on."}])
    assert request.references == ("msg_1",)
    found = Responses().with_references(request, {"msg_1": SAID})
    assert found.tree["input"] == [{"role": "user", "content": "Sure?"}, SAID, {"role": "user", "content": "Go on."}]
    assert [(m.role, m.text) for m in found.messages] == [("user", "Sure?"), ("assistant", "Yes."), ("user", "Go on.")]
    assert found.uninspected == ()


def test_an_item_that_is_not_known_stays_named_and_is_counted_or_refused() -> None:
    items = [{"type": "item_reference", "id": "msg_1"}, {"type": "item_reference", "id": "msg_2"}]
    found = Responses().with_references(parse(input=items), {"msg_1": SAID})
    assert found.tree["input"] == [SAID, items[1]]
    assert found.uninspected == ("item_reference",)
    with pytest.raises(MalformedRequest) as caught:
        Responses().with_references(parse(STRICT, input=items), {"msg_1": SAID})
    assert (caught.value.code, caught.value.param) == ("hidden_content_refused", "input[1]")


def test_what_is_hidden_in_an_item_that_is_known_is_counted_or_refused_too() -> None:
    items = [{"type": "item_reference", "id": "cmp_1"}]
    known = {"cmp_1": {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}}
    assert Responses().with_references(parse(input=items), known).uninspected == ("compaction",)
    with pytest.raises(MalformedRequest, match="only the provider can read it"):
        Responses().with_references(parse(STRICT, input=items), known)


def test_the_tools_of_an_item_that_is_known_are_declared() -> None:
    listed = {"type": "mcp_list_tools", "id": "l", "server_label": "docs", "tools": [{"name": "read"}]}
    request = parse(input=[{"type": "item_reference", "id": "l"}], tools=[WEATHER])
    found = Responses().with_references(request, {"l": listed})
    assert [tool.name for tool in found.tools] == ["docs.read", "weather"]


@pytest.mark.parametrize("id", [None, "", 7, {"id": "x"}], ids=["absent", "empty", "number", "object"])
def test_a_name_must_be_one(id: object) -> None:
    assert refusal(input=[{"type": "item_reference", "id": id}]).param == "input[0].id"


def test_nobody_names_items_without_end() -> None:
    items = [{"type": "item_reference", "id": f"msg_{i}"} for i in range(10_001)]
    assert refusal(input=items).param == "input"
    assert len(parse(input=items[:10_000] * 2).references) == 10_000


# --- content that cannot be read ---------------------------------------------------------------------------------


def test_what_no_guard_reads_is_counted_and_not_hidden() -> None:
    parts = [
        {"type": "input_image", "image_url": "data:,"},
        {"type": "input_audio", "input_audio": {}},
        {"type": "input_file", "file_data": "data:,"},
        {"type": "hologram"},
    ]
    request = parse(RequestRules(refuse_hidden_content=True), input=[{"role": "user", "content": parts}])
    assert request.uninspected == ("audio", "file", "image", "other")


def test_input_items_that_nobody_knows_are_refused_unless_named() -> None:
    item = {"type": "item_of_the_future", "tools": [{"type": "web_search"}]}
    error = refusal(input=[item])
    assert (error.code, error.param) == ("item_refused", "input[0].type")
    allowed = parse(RequestRules(allow_fields=frozenset({"input.item_of_the_future"})), input=[item])
    assert allowed.uninspected == ("other",)


# --- a question of the proxy's own -------------------------------------------------------------------------------


def test_a_question_is_short_and_not_kept() -> None:
    request = Responses().question("m", "Why?", 4)
    assert request.tree == {"model": "m", "input": "Why?", "max_output_tokens": 16, "temperature": 0, "store": False}
    assert not request.stream
    assert not request.stored
