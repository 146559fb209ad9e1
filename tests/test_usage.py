"""Adding up usage."""

from typing import Any

import pytest

from guardproxy.usage import add_usage


@pytest.mark.parametrize(
    ("parts", "total"),
    [
        ([], {}),
        ([{"a": 1}, {"a": 2, "b": 0.5}], {"a": 3, "b": 0.5}),
        ([{"a": {"b": 1, "c": None}}, {"a": {"b": 2}}], {"a": {"b": 3}}),
        ([{"a": None, "b": "x", "c": True, "d": [1]}], {}),
        ([{"a": 1}, {"a": {"b": 1}}], {"a": 1}),
        ([{"a": {"b": 1}}, {"a": 1}], {"a": {"b": 1}}),
        ([{"a": 10**30}, {"a": 1}], {"a": 10**30 + 1}),
    ],
)
def test_sums(parts: list[dict[str, Any]], total: dict[str, Any]) -> None:
    found: dict[str, Any] = {}
    for part in parts:
        add_usage(found, part)
    assert found == total
