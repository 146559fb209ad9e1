import asyncio
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy import strict_json
from guardproxy.decision import Mode, OnError, Verdict
from guardproxy.guards.declared_tools import DeclaredToolsGuard, decode_arguments
from guardproxy.guards.guard import Context
from guardproxy.model import CallKey, CallKind, Request, ToolCall, ToolResult, ToolSpec, Turn

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = ToolSpec(CallKind.FUNCTION, "get_weather", "", CITY)
CLOCK = ToolSpec(CallKind.FUNCTION, "clock", "", None)
PATCH = ToolSpec(CallKind.CUSTOM, "patch", "", None)
OLD = ToolSpec(CallKind.LEGACY_FUNCTION, "old", "", CITY)


def codes(
    call: ToolCall, *tools: ToolSpec, guard: DeclaredToolsGuard | None = None, verdict: Verdict = Verdict.BLOCK
) -> list[str]:
    context = Context(Request("chat_completions", "m", False, {}, (), tools or (WEATHER, CLOCK, PATCH, OLD)), "r")
    review = (guard or DeclaredToolsGuard()).review(Turn((call,), {}, {}), (call,), context)
    found = asyncio.run(review)[call.key]
    assert all(f.verdict is verdict for f in found)
    return [f.code for f in found]


def call(name: str, arguments: object, kind: CallKind = CallKind.FUNCTION) -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(CallKey(0, 0), kind, "c", name, text)


def spec(schema: Mapping[str, object]) -> ToolSpec:
    return ToolSpec(CallKind.FUNCTION, "t", "", schema)


@pytest.mark.parametrize(
    "one",
    [
        call("get_weather", {"city": "Oslo"}),
        call("get_weather", ' {"city": "Oslo"}\n'),
        call("clock", {}),
        call("clock", ""),
        call("clock", "  "),
        call("clock", {"anything": 1}),
        call("patch", "*** Begin Patch", CallKind.CUSTOM),
        call("old", {"city": "Oslo"}, CallKind.LEGACY_FUNCTION),
        call("get_weather", {"city": "Oslo"}, CallKind.LEGACY_FUNCTION),
    ],
)
def test_a_call_that_fits(one: ToolCall) -> None:
    assert codes(one) == []


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (call("other", {}), "undeclared_tool"),
        (call("", {}), "undeclared_tool"),
        (call("Get_Weather", {"city": "Oslo"}), "undeclared_tool"),
        (call("get_weather ", {"city": "Oslo"}), "undeclared_tool"),
        (call("get_weather", "text", CallKind.CUSTOM), "undeclared_tool"),
        (call("patch", {}), "undeclared_tool"),
        (call("get_weather", "{"), "malformed_arguments"),
        (call("get_weather", '{"city": "Oslo"} x'), "malformed_arguments"),
        (call("get_weather", '{"city": "Oslo", "city": "Rome"}'), "malformed_arguments"),
        (call("get_weather", '{"city": NaN}'), "malformed_arguments"),
        (call("get_weather", '\ufeff{"city": "Oslo"}'), "malformed_arguments"),
        (call("get_weather", '["Oslo"]'), "malformed_arguments"),
        (call("get_weather", '"Oslo"'), "malformed_arguments"),
        (call("get_weather", "null"), "malformed_arguments"),
        (call("get_weather", '{"city": "\ud800"}'), "malformed_arguments"),
        (call("get_weather", {}), "schema_violation"),
        (call("get_weather", ""), "schema_violation"),
        (call("get_weather", {"city": 3}), "schema_violation"),
        (call("get_weather", {"city": "Oslo", "more": 1}), "schema_violation"),
        (call("old", {}, CallKind.LEGACY_FUNCTION), "schema_violation"),
        (call("clock", "[]"), "malformed_arguments"),
        (call("x", "{}", CallKind.OPAQUE), "opaque_call"),
        (call("get_weather", {"city": "Oslo"}, CallKind.OPAQUE), "opaque_call"),
    ],
)
def test_a_call_that_does_not_fit(one: ToolCall, code: str) -> None:
    assert codes(one) == [code]


def test_an_opaque_call_that_the_policy_names() -> None:
    guard = DeclaredToolsGuard(allow_opaque=lambda name: name == "computer_call")
    assert codes(call("computer_call", "{}", CallKind.OPAQUE), guard=guard) == []


def test_two_tools_of_one_name_must_both_fit() -> None:
    strict = ToolSpec(CallKind.FUNCTION, "get_weather", "", {"type": "object", "required": ["unit"]})
    assert codes(call("get_weather", {"city": "Oslo"}), WEATHER, strict) == ["schema_violation"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"$schema": "http://evil.example/schema"},
        {"type": "no such type"},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"pattern": "(((a{100}){100}){100}){10}"}}},
        {"$ref": "#/nowhere"},
        {"properties": {"a": {"$id": "http://x/", "$ref": "#/y"}}},
        {
            "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {"a40": {}},
            "$ref": "#/$defs/a0",
        },
        {"enum": ["x" * 2_000_000]},
    ],
)
def test_a_schema_that_cannot_be_used(schema: dict[str, object]) -> None:
    assert codes(call("t", {"a": "b"}), spec(schema)) == ["unusable_schema"]
    lenient = DeclaredToolsGuard(on_error=OnError.ALLOW)
    assert codes(call("t", {"a": "b"}), spec(schema), guard=lenient, verdict=Verdict.ALLOW) == ["unusable_schema"]


@pytest.mark.parametrize(
    ("schema", "arguments", "fits"),
    [
        ({}, {"a": 1}, True),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}, {}, True),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "required": ["a"]}, {}, False),
        ({"$defs": {"p": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/p"}}}, {"a": "x"}, True),
        ({"$defs": {"p": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/p"}}}, {"a": 1}, False),
        (
            {"definitions": {"p/q": {"type": "string"}}, "properties": {"a": {"$ref": "#/definitions/p~1q"}}},
            {"a": 1},
            False,
        ),
        ({"properties": {"kids": {"items": {"$ref": "#"}}}, "required": ["kids"]}, {"kids": [{"kids": []}]}, True),
        ({"properties": {"kids": {"items": {"$ref": "#"}}}, "required": ["kids"]}, {"kids": [{}]}, False),
        ({"properties": {"a": {"pattern": "^(?!x)"}}}, {"a": "y"}, True),
        ({"properties": {"a": {"pattern": "^(?!x)"}}}, {"a": "x"}, False),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 50_000 + "!"}, False),
        ({"properties": {"n": {"maximum": 5}}}, {"n": 10**40}, False),
        ({"properties": {"a": {"format": "date"}}}, {"a": "no date"}, True),
    ],
)
def test_schemas(schema: dict[str, object], arguments: dict[str, object], fits: bool) -> None:
    assert codes(call("t", arguments), spec(schema)) == [] if fits else ["schema_violation"]


def test_arguments_that_would_take_too_long_to_judge() -> None:
    schema = {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "required": ["z"]}
    deep: dict[str, object] = {}
    for _ in range(60):
        deep = {"a": deep}
    assert codes(call("t", deep), spec(schema)) == ["unusable_schema"]


def test_in_monitor_mode_nothing_is_enforced() -> None:
    one = call("other", {})
    context = Context(Request("chat_completions", "m", False, {}, (), (WEATHER,)), "r")
    found = asyncio.run(DeclaredToolsGuard(mode=Mode.MONITOR).review(Turn((one,), {}, {}), (one,), context))[one.key]
    assert [f.enforced for f in found] == [False]


def test_tool_results_are_none_of_its_business() -> None:
    context = Context(Request("chat_completions", "m", False, {}, (), ()), "r")
    assert asyncio.run(DeclaredToolsGuard().review_result(ToolResult("c", "t", "x", "d"), context)) == ()


def test_every_call_has_an_entry() -> None:
    calls = tuple(ToolCall(CallKey(0, n), CallKind.FUNCTION, str(n), "clock", "{}") for n in range(3))
    context = Context(Request("chat_completions", "m", False, {}, (), (CLOCK,)), "r")
    found = asyncio.run(DeclaredToolsGuard().review(Turn(calls, {}, {}), calls, context))
    assert {key: list(f) for key, f in found.items()} == {c.key: [] for c in calls}


def test_no_finding_quotes_a_value() -> None:
    context = Context(Request("chat_completions", "m", False, {}, (), (WEATHER,)), "r")
    for text in ('{"city": 1, "hunter2": 2}', '{"hunter2": 1, "hunter2": 2}', "hunter2"):
        one = call("get_weather", text)
        found = asyncio.run(DeclaredToolsGuard().review(Turn((one,), {}, {}), (one,), context))[one.key]
        assert found
        assert "hunter2" not in repr(found)


@given(st.text(max_size=60))
def test_decoding_agrees_with_the_strict_reading(text: str) -> None:
    try:
        tree = decode_arguments(text)
    except strict_json.MalformedJson:
        return
    assert tree == {} if not text.strip() else tree == json.loads(text)
