import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.provider_error import MAX_TEXT, ErrorFields, read_error

JSON = "application/json"
GENERAL = ErrorFields("the model server answered with status 400")


def read(tree, content_type=JSON):
    return read_error(json.dumps(tree).encode(), content_type, 400)


SHAPES = {
    "OpenAI": (
        {"error": {"message": "m", "type": "t", "param": "p", "code": "c"}},
        ErrorFields("m", "t", "p", "c"),
    ),
    "OpenAI with nulls": ({"error": {"message": "m", "param": None, "code": None}}, ErrorFields("m")),
    "Anthropic": (
        {"type": "error", "error": {"type": "overloaded_error", "message": "m"}, "request_id": "r"},
        ErrorFields("m", "overloaded_error"),
    ),
    "old vLLM": (
        {"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400},
        ErrorFields("m", "BadRequestError", None, "400"),
    ),
    "Gemini's list": ([{"error": {"code": 429, "message": "m", "status": "X"}}], ErrorFields("m", None, None, "429")),
    "plain string": ({"error": "m"}, ErrorFields("m")),
    "TGI": ({"error": "m", "error_type": "validation"}, ErrorFields("m", "validation")),
    "a JSON string": ("m", ErrorFields("m")),
    "FastAPI text": ({"detail": "m"}, ErrorFields("m")),
    "FastAPI faults": (
        {"detail": [{"loc": ["body", "n", 0], "msg": "a", "type": "x", "input": "secret"}, {"msg": "b"}]},
        ErrorFields("a; b", "invalid_request_error", "body.n.0"),
    ),
    "fields of another kind": (
        {"error": {"message": "m", "type": {"a": 1}, "param": ["p"], "code": True}},
        ErrorFields("m"),
    ),
    "message that is no text": ({"error": {"message": {"call": "rm -rf /"}}}, GENERAL),
    "empty message": ({"error": {"message": " "}}, GENERAL),
    "empty detail": ({"detail": []}, GENERAL),
    "another shape": ({"choices": [1]}, GENERAL),
    "an empty list": ([], GENERAL),
    "a list in a list": ([[{"error": "m"}]], GENERAL),
    "a huge code": ({"error": {"message": "m", "code": 10**30}}, ErrorFields("m")),
}


@pytest.mark.parametrize(("tree", "fields"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes(tree, fields):
    assert read(tree) == fields


@pytest.mark.parametrize("body", [b"", b"{", b"<html>127.0.0.1</html>", b"\xff", b'{"error":"a","error":"b"}'])
def test_what_is_not_strict_json_is_not_shown(body):
    assert read_error(body, "text/html", 400) == GENERAL


def test_plain_text_is_a_message():
    assert read_error(b"Rate limited\x00\x1b[31m", "text/plain; charset=utf-8", 400).message == "Rate limited  [31m"


def test_fields_are_bounded_and_hold_no_control_characters():
    fields = read({"error": {"message": "a\r\nb" + "x" * 9999, "code": "c\nd"}})
    assert fields.message.startswith("a b") or fields.message.startswith("a  b") or fields.message.startswith("a \nb")
    assert len(fields.message) == MAX_TEXT
    assert "\r" not in fields.message


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "loc", "msg", "type", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(trees)
def test_any_tree_gives_bounded_text(tree):
    fields = read(tree)
    assert 0 < len(fields.message) <= MAX_TEXT
    for field in (fields.type, fields.param, fields.code):
        assert field is None or 0 < len(field) <= MAX_TEXT


@given(st.dictionaries(st.text(), st.just("rm -rf / --no-preserve-root"), max_size=4))
def test_no_other_field_is_ever_shown(others):
    known = {"message", "type", "param", "code"}
    body = {
        "error": {"message": "m", **{k: v for k, v in others.items() if k not in known}},
        "failed_generation": "rm -rf /",
    }
    assert "rm -rf" not in repr(read(body))
