"""Schemas as frameworks write them, and what they let pass: as much as their authors said, and no more."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.guards.schema_dialects import is_same, standard, without_defaults
from guardproxy.guards.tool_schema import SchemaCache, UnusableSchema


def fits(schema: dict[str, Any], arguments: dict[str, Any]) -> bool:
    return SchemaCache().compiled(schema).fits(arguments)


def one(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}}


PYTHON = {"type": "dict", "properties": {"n": {"type": "int"}, "x": {"type": "float"}, "on": {"type": "bool"}}}
GOOGLE = {"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING"}}}}
OLD = {"type": "object", "properties": {"a": {"type": "string", "required": True}, "b": {"required": False}}}
PLACES = {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False}


@pytest.mark.parametrize(
    ("schema", "arguments", "expected"),
    [
        (PYTHON, {"n": 3, "x": 2, "on": True}, True),
        (PYTHON, {"n": 3.5}, False),
        (PYTHON, {"n": "3"}, False),
        (PYTHON, {"on": "True"}, False),
        (GOOGLE, {"a": ["x"]}, True),
        (GOOGLE, {"a": [1]}, False),
        (GOOGLE, {"a": "['x']"}, False),
        (one({"type": "any"}), {"a": [1]}, True),
        (one({"type": ["str", "None"]}), {"a": None}, True),
        (one({"type": ["str", "None"]}), {"a": 1}, False),
        (one({"type": "string", "nullable": True}), {"a": None}, True),
        (one({"type": "string", "nullable": False}), {"a": None}, False),
        (one({"type": "string", "nullable": "yes"}), {"a": None}, False),
        (one({"type": "string", "nullable": True, "enum": ["x"]}), {"a": None}, False),
        (one({"minimum": 1, "exclusiveMinimum": True}), {"a": 1}, False),
        (one({"minimum": 1, "exclusiveMinimum": True}), {"a": 2}, True),
        (one({"maximum": 1, "exclusiveMaximum": False}), {"a": 1}, True),
        (one({"maximum": 1, "exclusiveMaximum": False}), {"a": 2}, False),
        (OLD, {"a": "x"}, True),
        (OLD, {"b": 1}, False),
        (OLD | {"required": ["b"]}, {"a": "x"}, False),
        (one(PLACES), {"a": ["x", 1]}, True),
        (one(PLACES), {"a": [1, "x"]}, False),
        (one(PLACES), {"a": ["x", 1, 2]}, False),
        ({"type": "object", "required": None, "properties": None, "title": 3, "description": None}, {}, True),
        (one({"type": "string", "pattern": None, "maxLength": 1}), {"a": "xy"}, False),
        (one({"pattern": r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$"}), {"a": "ada-b.c@mail.example-x.org"}, True),
        (one({"pattern": r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$"}), {"a": "ada/b@mail.org"}, False),
        (one({"pattern": r"^[\d-_a-c]+$"}), {"a": "1-_b"}, True),
        (one({"pattern": r"^[\d-_a-c]+$"}), {"a": "1.b"}, False),
        (one({"pattern": r"^[\\w-z]+$"}), {"a": "\\xz"}, True),
        (one({"pattern": r"^[\\w-z]+$"}), {"a": "-"}, False),
        (one({"anyOf": [{"type": "str"}, {"type": "int"}]}), {"a": 1.5}, False),
        ({"$defs": {"n": {"type": "int"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": "1"}, False),
    ],
)
def test_what_is_meant_is_checked(schema: dict[str, Any], arguments: dict[str, Any], expected: bool) -> None:
    assert fits(schema, arguments) is expected


@pytest.mark.parametrize(
    "schema",
    [
        one({"type": "strings"}),
        one({"type": "char"}),
        one({"type": None}),
        one({"type": ["any", "x"]}),
        one({"exclusiveMinimum": True}),
        one({"required": "yes"}),
        one({"pattern": r"^[\d-a-z]+$"}),
        one({"pattern": r"^\w+\Z"}),
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "dict"},
    ],
)
def test_what_has_no_known_meaning_stays_unusable(schema: dict[str, Any]) -> None:
    with pytest.raises(UnusableSchema):
        SchemaCache().compiled(schema)


def test_words_that_are_no_keywords_are_left_alone() -> None:
    """A property may be called `type`, `title` or `required`, and a constant may look like a schema."""
    schema = one({"const": {"type": "str", "title": None}})
    assert fits(schema, {"a": {"type": "str", "title": None}})
    assert not fits(schema, {"a": {"type": "string"}})
    named = {"properties": {"type": {"type": "int"}, "title": {"type": "str"}, "required": {"type": "bool"}}}
    assert fits(named, {"type": 1, "title": "x", "required": False})
    assert not fits(named, {"title": 1})


@pytest.mark.parametrize(
    ("schema", "arguments", "expected"),
    [
        (one({"type": "string", "default": None}), {"a": None}, True),
        (one({"type": "string"}), {"a": None}, False),
        (one({"enum": ["dark", "light"], "default": "Auto"}), {"a": "Auto"}, True),
        (one({"enum": ["dark", "light"], "default": "Auto"}), {"a": "auto"}, False),
        (one({"type": "string", "default": 1}), {"a": True}, False),
        (one({"type": "string", "default": False}), {"a": 0}, False),
        (one({"type": "string", "default": [1]}), {"a": [1.0]}, False),
        (one({"type": "string", "default": None}) | {"required": ["a"]}, {"a": None}, False),
        (one({"type": "string", "default": None}), {"a": None, "b": 1}, True),
        (one({"type": "string", "default": None}) | {"additionalProperties": False}, {"a": None, "b": 1}, False),
        (one({"properties": {"b": {"type": "string", "default": None}}}), {"a": {"b": None}}, True),
        (one({"items": {"properties": {"b": {"type": "string", "default": None}}}}), {"a": [{"b": None}]}, True),
        (one({"items": {"properties": {"b": {"type": "string", "default": None}}}}), {"a": [{"b": 1}]}, False),
    ],
)
def test_a_default_that_is_spelled_out(schema: dict[str, Any], arguments: dict[str, Any], expected: bool) -> None:
    assert fits(schema, arguments) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "str"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "type"]), inner, max_size=3),
    max_leaves=6,
)
LEAVES = st.sampled_from(
    [{}, {"type": "string"}, {"type": ["integer", "null"]}, {"enum": ["x", None]}, {"const": {"type": "str"}}]
)


def with_keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    keywords = {
        "properties": st.dictionaries(st.sampled_from(["a", "b", "type"]), inner, max_size=2),
        "items": inner,
        "anyOf": st.lists(inner, min_size=1, max_size=2),
        "not": inner,
        "required": st.just(["a"]),
        "additionalProperties": st.booleans() | inner,
        "description": st.just("text"),
    }
    return st.fixed_dictionaries({}, optional=keywords)


SCHEMAS = LEAVES | with_keywords(LEAVES) | with_keywords(with_keywords(LEAVES))


@settings(deadline=None, max_examples=60)
@given(SCHEMAS, JSON)
def test_a_standard_schema_means_what_it_meant(schema: dict[str, Any], value: Any) -> None:
    rewritten = standard(schema)
    assert jsonschema_rs.is_valid(rewritten, value) is jsonschema_rs.is_valid(schema, value)
    assert standard(rewritten) == rewritten


@given(JSON, JSON)
def test_values_are_the_same_if_they_are_written_the_same(one_value: Any, other: Any) -> None:
    assert is_same(one_value, one_value)
    assert is_same(one_value, other) is (repr_of(one_value) == repr_of(other))


def repr_of(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{repr_of(value[key])}" for key in sorted(value)) + "}"
    return "[" + ",".join(map(repr_of, value)) + "]" if isinstance(value, list) else repr(value)


@given(JSON, SCHEMAS)
def test_only_defaults_are_left_out(value: Any, schema: dict[str, Any]) -> None:
    """None of these schemas has one."""
    assert without_defaults(value, schema) == value
