"""Schemas as people write them, in the words of the standard.

Tools are described by frameworks and by hand: with the type names of Python or of Google's APIs, with OpenAPI's
`nullable`, with the booleans of old drafts, with every unset field as null. A strict reader cannot use such a schema
at all, or refuses what its author allows. Here each of these ways is written as what it means, and nothing is guessed:
what has no known meaning stays, and makes the schema unusable.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

Tree = Any

_TYPES: Final = {
    alias: name
    for name, aliases in {
        "string": "string str",
        "integer": "integer int",
        "number": "number float double",
        "boolean": "boolean bool",
        "object": "object dict",
        "array": "array list tuple",
        "null": "null none nonetype",
    }.items()
    for alias in aliases.split()
}
_SCHEMAS_BY_NAME: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMAS: Final = frozenset(
    "items additionalItems prefixItems contains additionalProperties unevaluatedProperties unevaluatedItems "
    "propertyNames not if then else anyOf oneOf allOf".split()
)
_ONLY_SAID: Final = frozenset("title description example examples deprecated readOnly writeOnly $comment".split())
_NULL_SAYS_SOMETHING: Final = frozenset({"type", "const", "default", "enum"})
_ESCAPE: Final = re.compile(r"\\(.)(-(?!\]|-|(?:\\.|[^\\])-(?!\])))?", re.DOTALL)
_BOUNDS: Final = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))


def standard(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the standard's words. One that names its dialect (`$schema`) means what that dialect says."""
    return dict(schema) if schema.get("$schema") else _schema(schema)


def is_same(one: Tree, other: Tree) -> bool:
    """JSON values that no reader could tell apart: 1 is not true, nor 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def without_defaults(value: Tree, schema: Tree) -> Tree:
    """The value without properties that say what the schema says holds when they are left out."""
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, list):
        return [without_defaults(item, schema.get("items")) for item in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    return {
        key: without_defaults(inner, properties.get(key))
        for key, inner in value.items()
        if not _is_default(inner, properties.get(key))
    }


def _is_default(value: Tree, schema: Tree) -> bool:
    return isinstance(schema, Mapping) and "default" in schema and is_same(value, schema["default"])


def _schema(node: Tree) -> Tree:
    if isinstance(node, list):
        return [_schema(inner) for inner in node]
    if not isinstance(node, Mapping):
        return node
    kept = {
        key: _keyword(key, value)
        for key, value in node.items()
        if key not in _ONLY_SAID and (value is not None or key in _NULL_SAYS_SOMETHING)
    }
    _require(kept, node.get("properties"))
    _bound(kept)
    _type(kept)
    if isinstance(kept.get("pattern"), str):
        kept["pattern"] = _pattern(kept["pattern"])
    if isinstance(kept.get("items"), list):  # of old: one schema for each place
        kept["prefixItems"] = kept.pop("items")
        if "additionalItems" in kept:
            kept["items"] = kept.pop("additionalItems")
    return kept


def _keyword(key: str, value: Tree) -> Tree:
    if key in _SCHEMAS_BY_NAME and isinstance(value, Mapping):
        return {name: _schema(inner) for name, inner in value.items()}
    return _schema(value) if key in _SCHEMAS else value


def _require(schema: dict[str, Any], properties: Tree) -> None:
    """A property that says of itself that it is required."""
    if isinstance(schema.get("required"), bool):
        del schema["required"]
    if not isinstance(properties, Mapping):
        return
    own = [name for name, inner in properties.items() if isinstance(inner, Mapping) and inner.get("required") is True]
    listed = schema.get("required", [])
    if own and isinstance(listed, list):
        schema["required"] = [*listed, *(name for name in own if name not in listed)]


def _bound(schema: dict[str, Any]) -> None:
    for exclusive, bound in _BOUNDS:
        match schema.get(exclusive):
            case True if bound in schema:
                schema[exclusive] = schema.pop(bound)
            case False:
                del schema[exclusive]


def _type(schema: dict[str, Any]) -> None:
    nullable = schema.pop("nullable", None)
    if _is_any(schema.get("type")):
        del schema["type"]
    if "type" not in schema:
        return
    named = schema["type"]
    schema["type"] = [_named(each) for each in named] if isinstance(named, list) else _named(named)
    if nullable is True and _are_types(types := named if isinstance(named, list) else [named]):
        schema["type"] = list(dict.fromkeys([*map(_named, types), "null"]))


def _pattern(pattern: str) -> str:
    r"""In a class such as `[\w-.]` the dash can only be a dash, and browsers read it so; the engine wants it escaped.

    Where it could also be read as the beginning of a range (`[\d-a-z]`) it stays, and the engine refuses it.
    """
    return _ESCAPE.sub(lambda escape: rf"\{escape[1]}\-" if escape[2] and escape[1] in "wWdDsS" else escape[0], pattern)


def _named(type_name: Tree) -> Tree:
    return _TYPES.get(type_name.lower(), type_name) if isinstance(type_name, str) else type_name


def _is_any(type_name: Tree) -> bool:
    return isinstance(type_name, str) and type_name.lower() == "any"


def _are_types(types: Sequence[Tree]) -> TypeGuard[Sequence[str]]:
    return all(isinstance(each, str) for each in types)
