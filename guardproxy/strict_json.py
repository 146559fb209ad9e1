"""One strict reading of JSON, so that what is judged and what is forwarded cannot differ.

Refused, because two parsers could read them differently: duplicate keys, NaN and the infinities (spelled or
by overflow), a byte-order mark, bytes that are not UTF-8, lone surrogates, trailing bytes, nesting above
:data:`MAX_NESTING`. RFC 8259 sections 4, 8.1 and 9.
"""

import json
import re
from typing import TypeAlias

import jiter
import orjson

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
JsonObject: TypeAlias = dict[str, Json]

MAX_NESTING = 200  # jiter's own recursion limit, stated here because messages and tests name it


class MalformedJson(ValueError):
    """The bytes are not strict JSON. The message names the fault and its place, never a value."""


def decode(data: bytes) -> Json:
    """The plain tree of `data`. Raises MalformedJson."""
    try:
        tree: Json = jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
        orjson.loads(data)  # refuses numbers that overflow to infinity, which jiter lets through
    except ValueError as error:
        raise MalformedJson(_without_key_names(str(error))) from None
    return tree


def decode_object(data: bytes) -> JsonObject:
    """As `decode`, for places where only an object will do."""
    tree = decode(data)
    if not isinstance(tree, dict):
        raise MalformedJson("expected a JSON object")
    return tree


def encode(tree: Json) -> bytes:
    """Compact UTF-8 JSON of a tree that `decode` made (integers of any size included)."""
    try:
        return orjson.dumps(tree)
    except TypeError:
        return json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _without_key_names(message: str) -> str:
    return re.sub(r'duplicate key ".*" at', "duplicate key at", message, flags=re.DOTALL)
