"""What a request asks of the model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.upstream.organism.request import wanted
from guardproxy.upstream.scripted_agent import ScriptedCall

BASH = {"type": "function", "function": {"name": "bash", "parameters": {"properties": {"command": {"type": "string"}}}}}
HI = [{"role": "user", "content": "Hi"}]


def end(**tree):
    return "".join(piece.text for piece in wanted({"messages": HI, "tools": [BASH], **tree}).prompt())[-40:]


def test_nothing_asked_for_is_the_likeliest_and_no_probabilities():
    asked = wanted({"messages": HI})
    assert (asked.sampling.temperature, asked.choices, asked.likeliest, asked.begun) == (0.0, 1, -1, None)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "<|assistant|>"),
        ("required", "<|assistant|><tool_call>"),
        ({"type": "function", "function": {"name": "bash"}}, "<|assistant|><tool_call> bash"),
    ],
)
def test_a_forced_call_is_begun(choice, expected):
    assert end(tool_choice=choice).endswith(f"<|end|>{expected}")


def test_no_tools_are_shown_where_none_may_be_called():
    assert "bash" not in end(tool_choice="none")


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"max_tokens": 3}, "room", 3),
        ({"max_completion_tokens": 10**9}, "room", 256),
        ({"max_tokens": True}, "room", 256),
        ({"n": 40}, "choices", 16),
        ({"logprobs": True}, "likeliest", 0),
        ({"logprobs": True, "top_logprobs": 5}, "likeliest", 5),
        ({"top_logprobs": 5}, "likeliest", -1),
        ({"stop": "END"}, "stops", ("END",)),
        ({"stop": ["a", "", 3]}, "stops", ("a",)),
        ({"parallel_tool_calls": False}, "one_call", True),
        ({"response_format": {"type": "json_object"}}, "as_json", True),
    ],
)
def test_fields(fields, name, value):
    assert getattr(wanted({"messages": HI, **fields}), name) == value


def test_a_call_is_of_the_kind_that_was_declared():
    arguments = '{"command":"ls"}'
    assert wanted({"tools": [BASH]}).call("bash", arguments) == ScriptedCall("bash", arguments)
    custom = {"type": "custom", "custom": {"name": "bash"}}
    assert wanted({"tools": [custom]}).call("bash", arguments) == ScriptedCall("bash", "ls", custom=True)
    assert wanted({"functions": [{"name": "bash"}]}).call("bash", arguments).legacy


def test_texts_by_tool():
    assert wanted({"tools": [BASH]}).texts == {"bash": {"command"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    "role content tool_calls function_call function name arguments custom input parameters properties type text".split()
)
ODD = st.recursive(JSON, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4))
FIELDS = st.sampled_from(
    "messages tools functions tool_choice n stop temperature seed top_p max_tokens logprobs".split()
)


@settings(deadline=None)
@given(st.dictionaries(FIELDS, ODD | st.lists(ODD, max_size=2), max_size=5))
def test_any_request_has_a_prompt(tree):
    asked = wanted(tree)
    assert next(asked.prompt()).mark
    list(asked.prompt())
    assert asked.choices >= 1
