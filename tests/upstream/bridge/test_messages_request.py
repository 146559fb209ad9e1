import json

import pytest

from guardproxy.errors import MalformedRequest
from guardproxy.surfaces.chat_completions.request import parse
from guardproxy.surfaces.surface import RequestRules
from guardproxy.upstream.bridge.messages_request import translate

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA}
HI = {"role": "user", "content": "hi"}


def chat(**fields):
    translated = translate({"model": "m", "max_tokens": 64, "messages": [HI], **fields})
    parse(translated, RequestRules())  # whatever comes out is a request that the chat surface takes
    return translated


def messages(*said, **fields):
    return chat(messages=list(said), **fields)["messages"]


def text(value, **more):
    return {"type": "text", "text": value, **more}


def use(n, **more):
    return {"type": "tool_use", "id": f"t{n}", "name": "get_weather", "input": {"city": "Oslo"}, **more}


def result(n, content="fine", **more):
    return {"type": "tool_result", "tool_use_id": f"t{n}", "content": content, **more}


def chat_call(n):
    return {"id": f"t{n}", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}


def image(kind="base64", **source):
    return {"type": "image", "source": {"type": kind, **source}}


def document(**source):
    return {"type": "document", "source": source}


PNG = {"media_type": "image/png", "data": "AAAA"}


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (image(**PNG), {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        (image("url", url="https://x/y.png"), {"type": "image_url", "image_url": {"url": "https://x/y.png"}}),
        (
            document(type="base64", media_type="application/pdf", data="AAAA"),
            {"type": "file", "file": {"filename": "document", "file_data": "data:application/pdf;base64,AAAA"}},
        ),
    ],
    ids=["image", "image by address", "document"],
)
def test_what_is_shown_to_the_model(block, part):
    assert messages({"role": "user", "content": [text("Look."), block]}) == [
        {"role": "user", "content": [text("Look."), part]}
    ]


@pytest.mark.parametrize(
    ("block", "written"),
    [
        (text("a", cache_control={"type": "ephemeral"}), "a"),
        (document(type="text", media_type="text/plain", data="a") | {"title": "T", "context": "C"}, "T\nC\na"),
        ({"type": "search_result", "title": "T", "source": "S", "content": [text("a")]}, "T\nS\na"),
        (document(type="content", content=[text("a"), text("b")]), "a\nb"),
    ],
    ids=["text", "plain document", "search result", "document of blocks"],
)
def test_text_is_written_as_text(block, written):
    assert messages({"role": "user", "content": [block]}) == [{"role": "user", "content": written}]


def test_system_texts_begin_the_conversation():
    assert messages(HI, system=[text("a", cache_control={"type": "ephemeral"}), text("b")]) == [
        {"role": "system", "content": "a\nb"},
        HI,
    ]


def test_a_later_system_message_stays_where_it_is():
    assert messages(HI, {"role": "system", "content": "Now."})[1] == {"role": "system", "content": "Now."}


def test_a_turn_with_thinking_text_and_calls():
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    said = {"role": "assistant", "content": [thinking, hidden, text("Let me look."), use(1), use(2)]}
    results = {"role": "user", "content": [result(1), result(2, [text("a"), text("b")]), text("And?")]}
    assert messages(HI, said, results)[1:] == [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [chat_call(1), chat_call(2)]},
        {"role": "tool", "tool_call_id": "t1", "content": "fine"},
        {"role": "tool", "tool_call_id": "t2", "content": "a\nb"},
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize(
    ("signature", "sent"),
    [
        ("reasoning_content", {"reasoning_content": "hmm"}),
        ("reasoning", {"reasoning": "hmm"}),
        ("", {}),
        ("EqQBCgIYAhIM", {}),
        ("tool_calls", {}),
    ],
)
def test_thinking_goes_back_with_the_calls_it_led_to(signature, sent):
    thoughts = [{"type": "thinking", "thinking": text, "signature": signature} for text in ("h", "mm")]
    said = {"role": "assistant", "content": [*thoughts, use(1)]}
    turn = {"role": "assistant", "content": None, **sent, "tool_calls": [chat_call(1)]}
    assert messages(HI, said, {"role": "user", "content": [result(1)]})[1] == turn


def test_arguments_keep_their_values():
    big = {"n": 12345678901234567890, "x": 1.5, "s": "ø", "deep": [{"a": None}]}
    said = {"role": "assistant", "content": [use(1, input=big, caller={"type": "direct"})]}
    call = messages(HI, said, {"role": "user", "content": [result(1)]})[1]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == big


def test_a_failed_call_says_so():
    said = {"role": "assistant", "content": [use(1)]}
    after = {"role": "user", "content": [result(1, "no such city", is_error=True)]}
    assert messages(HI, said, after)[2]["content"] == "Error:\nno such city"


def test_an_image_stays_the_result_of_its_tool():
    said = {"role": "assistant", "content": [use(1)]}
    after = {"role": "user", "content": [result(1, [text("a"), image(**PNG)])]}
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert messages(HI, said, after)[2] == {"role": "tool", "tool_call_id": "t1", "content": [text("a"), part]}


def test_a_trailing_assistant_message_stays_the_last():
    assert messages(HI, {"role": "assistant", "content": "Sure:"})[-1] == {"role": "assistant", "content": "Sure:"}


def test_tools():
    tools = [WEATHER | {"cache_control": {"type": "ephemeral"}, "type": "custom", "strict": True}]
    assert chat(tools=tools)["tools"] == [
        {
            "type": "function",
            "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA, "strict": True},
        }
    ]


@pytest.mark.parametrize(
    ("tool", "required"),
    [
        ({"type": "bash_20250124", "name": "bash"}, []),
        (
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
            ["command", "path"],
        ),
    ],
    ids=["bash", "editor"],
)
def test_tools_that_the_api_defines_and_the_client_runs_get_their_schema(tool, required):
    function = chat(tools=[tool])["tools"][0]["function"]
    assert function["name"] == tool["name"]
    assert "command" in function["parameters"]["properties"]
    assert function["parameters"].get("required", []) == required


@pytest.mark.parametrize(
    ("choice", "translated"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "get_weather"},
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
    ids=str,
)
def test_tool_choice(choice, translated):
    asked = chat(tools=[WEATHER], tool_choice=choice)
    assert {
        name: value for name, value in asked.items() if name in ("tool_choice", "parallel_tool_calls")
    } == translated


@pytest.mark.parametrize(
    ("fields", "translated"),
    [
        ({"stop_sequences": ["END"]}, {"stop": ["END"]}),
        ({"temperature": 1, "top_p": 0.9, "top_k": 5}, {"temperature": 1, "top_p": 0.9, "top_k": 5}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"metadata": {"user_id": None}}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "service_tier": "auto"}, {}),
        ({"context_management": {"edits": []}, "cache_control": {"type": "ephemeral"}}, {}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
        ({"mcp_servers": [], "container": None}, {}),
    ],
    ids=str,
)
def test_fields(fields, translated):
    assert chat(**fields) == {"model": "m", "messages": [HI], "max_tokens": 64} | translated


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url", "name": "n", "url": "u"}]}, "mcp_servers"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"fallbacks": [{"model": "n"}]}, "fallbacks"),
        ({"something_new": 1}, "something_new"),
        ({"metadata": {"new": 1}}, "metadata.new"),
        ({"output_config": {"task_budget": {"type": "tokens"}}}, "output_config.task_budget"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "computer_toolset_20260801", "name": "computer"}]}, "tools[0].type"),
        ({"tools": [WEATHER | {"allowed_callers": ["code_execution_20260120"]}]}, "tools[0].allowed_callers"),
        ({"tools": [WEATHER | {"new": 1}]}, "tools[0].new"),
        ({"tools": [WEATHER], "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [HI | {"new": 1}]}, "messages[0].new"),
        ({"system": [image(**PNG)]}, "system[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [image("file", file_id="f")]}]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [document(type="url", url="u")]}]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [result(1, [{"type": "browser_state"}])]}]},
            "messages[0].content[0].content[0].type",
        ),
        (
            {"messages": [{"role": "assistant", "content": [use(1, toolset_name="computer")]}]},
            "messages[0].content[0].toolset_name",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use", "id": "s"}]}]},
            "messages[0].content[0].type",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_translation_is_refused_by_name(fields, param):
    with pytest.raises(MalformedRequest) as caught:
        chat(**fields)
    assert (caught.value.param, caught.value.code) == (param, "not_translatable")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": [use(1, input="x")]}]}, "messages[0].content[0].input"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        ({"system": 3}, "system"),
        ({"tools": [{"type": "custom"}]}, "tools[0].name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_malformed_is_refused_by_name(fields, param):
    with pytest.raises(MalformedRequest) as caught:
        chat(**fields)
    assert (caught.value.param, caught.value.code) == (param, "malformed_request")
