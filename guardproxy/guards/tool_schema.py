"""A tool's JSON Schema, compiled; hostile ones refused.

Schemas come with the request, and often from a tool server that nobody here chose. Nothing is fetched, patterns may
backtrack only so far, and references that multiply are refused before the validator meets them: twenty lines of
definitions can otherwise cost a validation of hours, which nothing interrupts.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import orjson

from guardproxy import strict_json
from guardproxy.guards.schema_dialects import standard, without_defaults
from guardproxy.strict_json import Json, JsonObject

MAX_VALIDATORS = 1_024
MAX_SCHEMA = 1_000_000  # bytes
MAX_WEIGHT = 200_000  # nodes, references unfolded
MAX_CHOICES = 18  # bits: the ways through alternatives that refer to each other
MAX_DEPTH = 150  # of a schema

# Look-around needs backtracking; without it this engine is linear. A limit that is hit raises, and so blocks.
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=50_000, size_limit=1_000_000, dfa_size_limit=4_000_000)


class UnusableSchema(Exception):
    """The schema cannot be used to judge anything."""


@dataclass(frozen=True, slots=True)
class Schema:
    """`branches`: how many alternatives, at most, lead back into a schema that refers to itself; 1 where none does."""

    validator: jsonschema_rs.Validator
    branches: int
    tree: Mapping[str, Any]

    def fits(self, arguments: JsonObject) -> bool:
        """Raises UnusableSchema for arguments that it would take too long to judge.

        An argument that spells out its declared default fits as one that is left out: `{"type": "string", "default":
        null}` is common, and models then say null. Whoever runs the tool gets the same either way.
        """
        if self.branches > 1 and _depth(arguments) * math.log2(self.branches) > MAX_CHOICES:
            raise UnusableSchema
        return self.validator.is_valid(arguments) or self._fits_without_defaults(arguments)

    def _fits_without_defaults(self, arguments: JsonObject) -> bool:
        rest = without_defaults(arguments, self.tree)
        return rest != arguments and self.validator.is_valid(rest)


@dataclass(slots=True)
class SchemaCache:
    """Compiled schemas by digest of their content, the least recently used forgotten."""

    _kept: OrderedDict[bytes, Schema | None] = field(default_factory=OrderedDict)

    def compiled(self, schema: Mapping[str, Any]) -> Schema:
        """Raises UnusableSchema."""
        try:
            text = _encoded(schema)
        except (RecursionError, ValueError):
            raise UnusableSchema from None
        key = hashlib.blake2b(text, digest_size=16).digest()
        if key not in self._kept:
            self._kept[key] = _compile(schema) if len(text) <= MAX_SCHEMA else None
            while len(self._kept) > MAX_VALIDATORS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        found = self._kept[key]
        if found is None:
            raise UnusableSchema
        return found


def _encoded(schema: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(schema)
    except TypeError:  # integers beyond 64 bits
        return strict_json.encode(dict(schema))


def _compile(schema: Mapping[str, Any]) -> Schema | None:
    try:
        branches = _Weighing(schema).branches()
        tree = standard(schema)
        validator = jsonschema_rs.validator_for(tree, offline=True, pattern_options=_PATTERNS)
    except Exception:  # no schema, a reference that leads out, a pattern that is none: all mean the same here
        return None
    return Schema(validator, branches, tree)


@dataclass(slots=True)
class _Weighing:
    """How large a schema gets when its references are unfolded. Raises UnusableSchema above the bounds."""

    root: Mapping[str, Any]
    weights: dict[str, int] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    recursive: bool = False

    def branches(self) -> int:
        self._weigh(self.root, 0, root=True)
        return max((_referring(choice) for choice in _choices(self.root)), default=1) if self.recursive else 1

    def _weigh(self, node: object, depth: int, root: bool = False) -> int:
        if depth > MAX_DEPTH:
            raise UnusableSchema
        weight = 1
        match node:
            case Mapping():
                if isinstance(node.get("$id"), str) and not root:
                    raise UnusableSchema  # it would change what the references below it mean
                weight += sum(self._weigh(value, depth + 1) for value in node.values())
                for key in ("$ref", "$dynamicRef", "$recursiveRef"):
                    if isinstance(reference := node.get(key), str):
                        weight += self._referred(reference, depth)
            case list():
                weight += sum(self._weigh(value, depth + 1) for value in node)
        if weight > MAX_WEIGHT:
            raise UnusableSchema
        return weight

    def _referred(self, reference: str, depth: int) -> int:
        if reference in self.open:
            self.recursive = True
            return 1
        if reference not in self.weights:
            self.open.add(reference)
            self.weights[reference] = self._weigh(self._target(reference), depth + 1, root=reference == "#")
            self.open.discard(reference)
        return self.weights[reference]

    def _target(self, reference: str) -> object:
        if reference != "#" and not reference.startswith("#/"):
            raise UnusableSchema  # another document, or an anchor
        node: Any = self.root
        for part in unquote(reference[2:]).split("/") if reference != "#" else ():
            name = part.replace("~1", "/").replace("~0", "~")
            node = node[int(name)] if isinstance(node, list) else node[name]
        return node


def _choices(root: object) -> Iterator[list[Any]]:
    """Every list of alternatives in a schema, and what an object holds beside each other at one place."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            alternatives = [
                a for key in ("anyOf", "oneOf", "allOf") if isinstance(node.get(key), list) for a in node[key]
            ]
            conditions = [node[key] for key in ("if", "then", "else", "not") if key in node]
            if alternatives or conditions:
                yield alternatives + conditions
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _referring(choice: list[Any]) -> int:
    return max(1, sum(b'"$ref"' in _encoded({"_": a}) or b'Ref"' in _encoded({"_": a}) for a in choice))


def _depth(tree: Json) -> int:
    deepest, layer = 0, [tree]
    while layer:
        deepest += 1
        inner = (list(n.values()) if isinstance(n, dict) else n for n in layer if isinstance(n, dict | list))
        layer = [child for children in inner for child in children]
    return deepest
