import pytest

from guardproxy.errors import MalformedRequest
from guardproxy.surfaces.chat_completions.request import parse
from guardproxy.surfaces.surface import RequestRules
from guardproxy.upstream.bridge.responses_request import translate
from guardproxy.upstream.bridge.tool_names import ToolName, ToolNames

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "name": "get_weather", "description": "Weather.", "parameters": SCHEMA, "strict": True}
PATCH = {"type": "custom", "name": "patch", "description": "Patches."}
MAIL = {"type": "namespace", "name": "mail", "description": "Mail.", "tools": [{"type": "function", "name": "send"}]}


def chat(**fields):
    tree = {"model": "m", "input": "hi", **fields}
    translated = translate(tree, ToolNames())
    parse(translated, RequestRules())  # whatever comes out is a request that the chat surface takes
    return translated


def messages(*items, **fields):
    return chat(input=list(items), **fields)["messages"]


def refused(**fields):
    with pytest.raises(MalformedRequest) as caught:
        chat(**fields)
    assert caught.value.code == "not_translatable"
    assert caught.value.param in caught.value.message
    return caught.value.param


def call(n, **more):
    return {"type": "function_call", "call_id": f"c{n}", "name": "get_weather", "arguments": "{}", **more}


def chat_call(n, name="get_weather"):
    return {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": "{}"}}


def said(part):
    return {"input": [{"role": "user", "content": [part]}]}


def output(n, value="fine"):
    return {"type": "function_call_output", "call_id": f"c{n}", "output": value}


def test_a_string_is_what_the_user_says():
    assert chat(instructions="Be brief.") == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
    }


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
        ({"type": "message", "role": "system", "content": "s"}, {"role": "system", "content": "s"}),
        ({"role": "developer", "content": "d"}, {"role": "system", "content": "d"}),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"role": "user", "content": "a\nb"},
        ),
        (
            {
                "id": "msg_1",
                "type": "message",
                "status": "completed",
                "phase": "commentary",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a", "annotations": [{"type": "url_citation"}]}],
            },
            {"role": "assistant", "content": "a"},
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": "No."},
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:x", "detail": "low"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}]},
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "file_data": "data:x", "filename": "a.pdf"}]},
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}}]},
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "mp3"}}]},
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "mp3"}}]},
        ),
        (call(1, id="fc_1", status="completed"), {"role": "assistant", "content": None, "tool_calls": [chat_call(1)]}),
        (
            call(1, namespace="mail", caller={"type": "direct"}),
            {"role": "assistant", "content": None, "tool_calls": [chat_call(1, "mail__get_weather")]},
        ),
        (
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "x"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "patch", "arguments": '{"input":"x"}'}}
                ],
            },
        ),
        (output(1), {"role": "tool", "tool_call_id": "c1", "content": "fine"}),
        (
            output(1, [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]),
            {"role": "tool", "tool_call_id": "c1", "content": "a\nb"},
        ),
        (
            output(1, [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:x"}]),
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": "data:x"}},
                ],
            },
        ),
        (
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "fine"},
            {"role": "tool", "tool_call_id": "c1", "content": "fine"},
        ),
    ],
    ids=lambda value: "",
)
def test_each_item_has_its_message(item, message):
    assert messages(item) == [message]


def thought(**fields):
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}], **fields}


@pytest.mark.parametrize(
    ("item", "sent"),
    [
        (thought(id="rsc_1_n_0", status="completed"), {"reasoning_content": "hm"}),
        (thought(id="rsr_1_n_0"), {"reasoning": "hm"}),
        (thought(), {"reasoning_content": "hm"}),
        (thought(id="rs_68af"), {}),
        (thought(id="rsc_1_n_0", encrypted_content="gAAA"), {}),
        ({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}, {}),
    ],
    ids=["content", "other field", "no id", "another server's", "encrypted", "summary"],
)
def test_reasoning_goes_back_with_the_calls_it_led_to(item, sent):
    turn = {"role": "assistant", "content": None, **sent, "tool_calls": [chat_call(1)]}
    assert messages(item, call(1), output(1))[0] == turn
    said = {"role": "assistant", "content": "A"}
    assert messages(item, said, {"role": "user", "content": "hi"})[0] == said


def test_one_turn_of_the_model_is_one_message():
    said = {"role": "assistant", "content": "Let me look."}
    assert messages(said, call(1), call(2), output(1), output(2), said) == [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [chat_call(1), chat_call(2)]},
        {"role": "tool", "tool_call_id": "c1", "content": "fine"},
        {"role": "tool", "tool_call_id": "c2", "content": "fine"},
        {"role": "assistant", "content": "Let me look."},
    ]


def test_turns_that_follow_each_other_stay_apart():
    roles = [message["role"] for message in messages(call(1), output(1), call(2), output(2))]
    assert roles == ["assistant", "tool", "assistant", "tool"]


def test_instructions_and_developer_begin_as_one_system_message():
    developer = {"role": "developer", "content": "Use tools."}
    user = {"role": "user", "content": "hi"}
    assert messages(developer, user, developer, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief.\n\nUse tools."},
        user,
        {"role": "system", "content": "Use tools."},
    ]


def test_tools_are_declared_in_the_other_shape():
    function = {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA, "strict": True}
    assert chat(tools=[WEATHER, MAIL])["tools"] == [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "mail__send"}},
    ]


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (None, "Patches."),
        ({"type": "text"}, "Patches."),
        (
            {"type": "grammar", "syntax": "lark", "definition": "start: /x/"},
            "Patches.\n\nThe input must follow this grammar:\nstart: /x/",
        ),
    ],
    ids=["none", "text", "grammar"],
)
def test_a_custom_tool_is_a_function_of_one_text(form, told):
    (tool,) = chat(tools=[PATCH | {"format": form}])["tools"]
    assert (tool["type"], tool["function"]["name"], tool["function"]["description"]) == ("function", "patch", told)
    assert tool["function"]["parameters"]["required"] == ["input"]


def test_a_function_of_a_namespace_is_found_again_by_its_flat_name():
    names = ToolNames()
    translate({"model": "m", "input": "hi", "tools": [WEATHER, MAIL]}, names)
    assert names.original("mail__send") == ToolName("send", "mail")
    assert names.original("get_weather") == ToolName("get_weather")
    assert names.original("made_up") == ToolName("made_up")


def test_two_tools_of_one_name_are_refused():
    assert refused(tools=[MAIL, WEATHER | {"name": "mail__send"}]) == "tools[1].name"


@pytest.mark.parametrize(
    ("choice", "translated"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "get_weather"}, {"type": "function", "function": {"name": "get_weather"}}),
        ({"type": "custom", "name": "patch"}, {"type": "function", "function": {"name": "patch"}}),
    ],
    ids=str,
)
def test_tool_choice(choice, translated):
    assert chat(tools=[WEATHER, PATCH], tool_choice=choice)["tool_choice"] == translated


def test_allowed_tools_are_the_only_ones_declared():
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "patch"}]}
    translated = chat(tools=[WEATHER, PATCH], tool_choice=choice)
    assert [tool["function"]["name"] for tool in translated["tools"]] == ["patch"]
    assert translated["tool_choice"] == "required"


def test_what_only_goes_with_tools_is_left_out_without_them():
    assert chat(tools=[], tool_choice="auto", parallel_tool_calls=True).keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("fields", "translated"),
    [
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"temperature": 0.5, "top_p": 0.9, "seed": 1}, {"temperature": 0.5, "top_p": 0.9, "seed": 1}),
        ({"stop": ["END"], "user": "u"}, {"stop": ["END"], "user": "u"}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": None}}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        (
            {
                "client_metadata": {"a": "b"},
                "store": False,
                "include": ["reasoning.encrypted_content"],
                "metadata": {"a": "b"},
            },
            {},
        ),
        ({"truncation": "auto", "prompt_cache_key": "k", "background": False, "top_logprobs": 0}, {}),
        ({"previous_response_id": None, "conversation": None, "prompt": None}, {}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
    ids=str,
)
def test_fields(fields, translated):
    base = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert chat(**fields) == base | translated


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"something_new": {"a": 1}}, "something_new"),
        ({"something_new": 1}, "something_new"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "local_shell"}]}, "tools[0].type"),
        ({"tools": [WEATHER | {"async": True}]}, "tools[0].async"),
        ({"tools": [WEATHER | {"allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
        ({"tools": [WEATHER | {"new": 1}]}, "tools[0].new"),
        ({"tools": [PATCH | {"format": {"type": "xml"}}]}, "tools[0].format.type"),
        ({"tools": [MAIL | {"tools": [MAIL]}]}, "tools[0].tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "mcp", "server_label": "s"}}, "tool_choice.type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0].type"),
        ({"input": [{"type": "shell_call", "call_id": "c"}]}, "input[0].type"),
        ({"input": [call(1, caller={"type": "program", "caller_id": "p"})]}, "input[0].caller.type"),
        ({"input": [output(1, [{"type": "input_video"}])]}, "input[0].output[0].type"),
        ({"input": [{"role": "robot", "content": "hi"}]}, "input[0].role"),
        (said({"type": "video"}), "input[0].content[0].type"),
        (said({"type": "input_image", "file_id": "f"}), "input[0].content[0].file_id"),
        (said({"type": "input_file", "file_url": "u"}), "input[0].content[0].file_url"),
        ({"input": [{"role": "user", "content": "hi", "new": 1}]}, "input[0].new"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "u"}]}]},
            "input[0].content",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_translation_is_refused_by_name(fields, param):
    assert refused(**fields) == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 3}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"model": 3}, "model"),
        ({"tools": {}}, "tools"),
        ({"text": []}, "text"),
    ],
    ids=str,
)
def test_what_is_malformed_is_refused_by_name(fields, param):
    with pytest.raises(MalformedRequest) as caught:
        chat(**fields)
    assert (caught.value.param, caught.value.code) == (param, "malformed_request")
