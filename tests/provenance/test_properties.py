"""A value that was copied is traced to where it was copied from, however it was written."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult
from guardproxy.provenance import FEATURES, Conversation, Origin, trace

WORDS = st.text("bcdfghjklmnpqrstvwxz", min_size=5, max_size=9)
NAMES = st.lists(WORDS, min_size=2, max_size=4, unique=True).map(" ".join)
ADDRESSES = st.tuples(WORDS, WORDS, WORDS).map(lambda w: f"{w[0]}.{w[1]}@{w[2]}.example")
NUMBERS = st.integers(10**7, 10**15).map(str)
VALUES = st.one_of(NAMES, ADDRESSES, NUMBERS)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text()
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)

REWRITES = {
    "verbatim": lambda v: v,
    "upper": str.upper,
    "title": str.title,
    "url": lambda v: quote(v, safe=""),
    "base64": lambda v: base64.b64encode(v.encode()).decode(),
    "base64url": lambda v: base64.urlsafe_b64encode(v.encode()).decode().rstrip("="),
    "hex": lambda v: v.encode().hex(),
    "twice": lambda v: base64.b64encode(quote(v, safe="").encode()).decode(),
    "joined": lambda v: v.replace(" ", ""),
    "snake": lambda v: v.replace(" ", "_"),
    "dashed": lambda v: "-".join(v.split()),
    "padded": lambda v: f"  {v}\n",
    "grouped": lambda v: " ".join(v[i : i + 4] for i in range(0, len(v), 4)) if v.isdigit() else v,
}


def conversation(place: Origin, value: str) -> Conversation:
    said = {origin: "Nothing to see." for origin in Origin} | {place: f"Well: {value}, and no more."}
    text = said[Origin.RESULT]
    messages = (
        Message("system", said[Origin.SYSTEM]),
        Message("user", said[Origin.USER]),
        Message("assistant", said[Origin.MODEL]),
        Message("tool", text, (), ToolResult.of("c", "read", text)),
    )
    return Conversation.of(Request("chat_completions", "m", False, {}, messages, ()))


def call(arguments: object) -> ToolCall:
    return ToolCall(CallKey(0, 0), CallKind.FUNCTION, "c", "act", json.dumps(arguments))


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from(sorted(Origin)), st.sampled_from(sorted(REWRITES)))
def test_a_copied_value_is_traced_to_where_it_stands(value: str, place: Origin, rewrite: str) -> None:
    found = trace(call({"it": REWRITES[rewrite](value)}), conversation(place, value))
    assert found.by_argument["it"] is place


@settings(max_examples=100, deadline=None)
@given(VALUES, st.sampled_from(sorted(Origin)), st.data())
def test_a_value_in_two_pieces_is_traced(value: str, place: Origin, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(value) - 1))
    found = trace(call({"pieces": [value[:at], value[at:]]}), conversation(place, value))
    assert found.by_argument["pieces"] is place


@settings(max_examples=100, deadline=None)
@given(TREES, st.text(), st.text(), st.text())
def test_anything_can_be_traced(arguments: object, task: str, system: str, text: str) -> None:
    messages = (
        Message("system", system),
        Message("user", task),
        Message("tool", text, (), ToolResult.of("c", "t", text)),
    )
    talk = Conversation.of(Request("chat_completions", "m", False, {}, messages, ()))
    found = trace(call({"it": arguments}), talk)
    assert len(found.features()) == len(FEATURES)
    for one in found.arguments:
        assert sum((one.user, one.system, one.results, one.nowhere)) in (0, pytest.approx(1))


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_what_nobody_said_is_the_models(value: str) -> None:
    assert trace(call({"it": value}), conversation(Origin.USER, "other words")).by_argument["it"] is Origin.MODEL
