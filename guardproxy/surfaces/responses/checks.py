"""Looking at a request's fields. What is not as it should be is a 400 that names the field."""

from collections.abc import Mapping
from typing import Any

from guardproxy.errors import MalformedRequest


def fault(param: str, wanted: str) -> MalformedRequest:
    return MalformedRequest(f"'{param}' must be {wanted}.", param=param)


def refused(param: str, why: str, code: str = "field_refused") -> MalformedRequest:
    return MalformedRequest(f"'{param}' is refused: {why}.", param=param[:64], code=code)


def hidden_refusal(param: str) -> MalformedRequest:
    return refused(param, "only the provider can read it, so that no guard sees it", "hidden_content_refused")


def objects(value: object, at: str) -> list[dict[str, Any]]:
    """A list of objects; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise fault(at, "a list")
    for i, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise fault(f"{at}[{i}]", "an object")
    return value


def string(tree: Mapping[str, Any], field: str, at: str = "") -> str:
    value = tree.get(field)
    if not isinstance(value, str) or not value:
        raise fault(at or field, "a non-empty string")
    return value


def optional_string(tree: Mapping[str, Any], field: str, at: str = "") -> str:
    value = tree.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise fault(at or field, "a string")
    return value


def boolean(tree: Mapping[str, Any], field: str, default: bool) -> bool:
    value = tree.get(field)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise fault(field, "true or false")
    return value
