import pytest

from guardproxy.guards.tool_schema import MAX_VALIDATORS, SchemaCache, UnusableSchema


def test_the_same_schema_is_compiled_once() -> None:
    cache = SchemaCache()
    schema = {"type": "object"}
    assert cache.compiled(schema) is cache.compiled(dict(schema))


def test_the_cache_is_bounded() -> None:
    cache = SchemaCache()
    first = cache.compiled({"const": -1})
    for n in range(MAX_VALIDATORS):
        cache.compiled({"const": n})
    assert cache.compiled({"const": -1}) is not first


def test_a_bad_schema_is_remembered_as_bad() -> None:
    cache = SchemaCache()
    for _ in range(2):
        with pytest.raises(UnusableSchema):
            cache.compiled({"type": "x"})


def test_a_schema_nested_without_end() -> None:
    schema: dict[str, object] = {}
    for _ in range(5_000):
        schema = {"not": schema}
    with pytest.raises(UnusableSchema):
        SchemaCache().compiled(schema)


@pytest.mark.parametrize(
    ("schema", "branches"),
    [
        ({"type": "object"}, 1),
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, 1),
        ({"properties": {"a": {"$ref": "#"}}}, 1),
        ({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {}]}}}, 2),
    ],
)
def test_how_many_alternatives_lead_back(schema: dict[str, object], branches: int) -> None:
    assert SchemaCache().compiled(schema).branches == branches
