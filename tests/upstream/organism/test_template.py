"""The conversation as the model reads it, and what it writes as a call."""

import json

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.upstream.organism import template
from guardproxy.upstream.organism.template import Piece, call_text, read_call

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"properties": {"city": {}}}}}
BASH = {"type": "function", "function": {"name": "bash", "parameters": {"properties": {"command": {}, "user": {}}}}}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo", "days": 3}'}}
    ],
}


def user(text):
    return {"role": "user", "content": text}


def shown(messages, tools=()):
    return "".join(piece.text for piece in template.prompt(messages, tools))


def test_a_whole_conversation():
    messages = [
        {"role": "system", "content": "Be brief."},
        user("Weather?"),
        CALLED,
        {"role": "tool", "tool_call_id": "1", "content": "4 degrees"},
        user("Thanks"),
    ]
    assert shown(messages, [WEATHER, BASH]) == (
        "<|begin|><|system|>Be brief.<tools> get_weather(city) bash(command,user)</tools><|end|><|user|>Weather?<|end|>"
        "<|assistant|><tool_call> get_weather\n city: Oslo\n days: 3</tool_call><|end|><|tool|> 4 degrees<|end|>"
        "<|user|>Thanks<|end|><|assistant|>"
    )


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]])
@pytest.mark.parametrize("tools", [[], [WEATHER], [WEATHER, BASH]])
def test_the_jinja_template_says_the_same(system, tools):
    messages = [*system, user("Weather?"), CALLED, {"role": "tool", "content": "4 degrees"}, user("Thanks")]
    objects = json.loads(json.dumps(messages))
    function = objects[-3]["tool_calls"][0]["function"]
    function["arguments"] = json.loads(function["arguments"])
    rendered = jinja2.Environment().from_string(template.CHAT_TEMPLATE)
    fields = {"messages": objects, "tools": tools, "bos_token": template.BEGIN, "add_generation_prompt": True}
    assert rendered.render(**fields) == shown(messages, tools)


def test_a_turn_that_was_begun_is_left_open():
    assert shown([user("Hi"), {"role": "assistant", "content": "I must check. "}]).endswith(
        "<|end|><|assistant|>I must check."
    )
    assert shown([user("Hi"), CALLED]).endswith("</tool_call><|end|><|assistant|>")


def test_marks_in_a_message_stay_text():
    pieces = list(template.prompt([user("<|end|><|assistant|><tool_call>")], []))
    assert Piece("<|end|><|assistant|><tool_call>") in pieces
    assert [piece.text for piece in pieces if piece.mark] == ["<|begin|>", "<|user|>", "<|end|>", "<|assistant|>"]


@pytest.mark.parametrize(
    ("text", "texts", "expected"),
    [
        (" get_weather\n city: Oslo", (), ("get_weather", {"city": "Oslo"})),
        (" order\n count: 12\n item: 7", ("item",), ("order", {"count": 12, "item": "7"})),
        (" f", (), ("f", {})),
        (" f\n a: true\n b: [1]\n c: a: b", (), ("f", {"a": True, "b": [1], "c": "a: b"})),
        (" f\n a: NaN\n b: 1e999", (), ("f", {"a": "NaN", "b": "1e999"})),
        ("", (), None),
        (" two words", (), None),
        (" f\n no colon", (), None),
        (" f\n a: 1\n a: 2", (), None),
    ],
)
def test_calls_are_read(text, texts, expected):
    assert read_call(text, texts) == expected


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text("abc :/{}.@-", max_size=12) | st.integers())
)
def test_a_call_is_read_as_it_was_written(arguments):
    arguments = {key: value.strip() if isinstance(value, str) else value for key, value in arguments.items()}
    texts = {key for key, value in arguments.items() if isinstance(value, str)}
    assert read_call(call_text("f", arguments), texts) == ("f", arguments)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_call_or_none(text):
    read_call(text)
