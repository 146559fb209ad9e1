"""The lenient reader: whatever a forgiving parser accepts, and nothing with two readings."""

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.text_calls.lax import UnreadableValue, read_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_json_is_read_as_json(value: object, plain: bool) -> None:
    text = json.dumps(value, ensure_ascii=plain)
    assert read_value(text) == (json.loads(text), len(text))


@given(VALUES)
def test_python_is_read_as_python(value: object) -> None:
    text = repr(value)
    assert read_value(text) == (ast.literal_eval(text), len(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 1,}", {"a": 1}),
        ("{a: 1, b-c: 'x'}", {"a": 1, "b-c": "x"}),
        ("[1, 2,]", [1, 2]),
        ("(1, 2)", [1, 2]),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('{"a": """x "y" z"""}', {"a": 'x "y" z'}),
        ("{'a': r'x', 'b': f'y'}", {"a": "x", "b": "y"}),
        ('"a" "b"', "ab"),
        (r'"\u0061\x62\n\q"', "ab\n\\q"),
        (r'"\ud83d\ude00"', "😀"),
        ('{/* c */ "a": 1 // d\n}', {"a": 1}),
        ("0x1f", 31),
        ("-.5", -0.5),
        ("True", True),
        ("\ufeff{}", {}),
    ],
)
def test_forgiven(text: str, value: object) -> None:
    assert read_value(text)[0] == value


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a"}', '{"a": 1, "a": 2}', "[1", '"x', "name", "1e999", "{1", "[" * 100, "1" * 400, "{,}", "f(1)"],
)
def test_refused(text: str) -> None:
    with pytest.raises(UnreadableValue):
        read_value(text)
