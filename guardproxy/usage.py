"""Adding up token usage over the attempts of one answer."""

from collections.abc import Mapping
from typing import Any


def add_usage(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Adds the counts of `more` to `total` in place, nested details too. What is no count is left out.

    A name that is a count here and an object there keeps what it was first.
    """
    for name, value in more.items():
        if isinstance(value, Mapping):
            details = total.setdefault(name, {})
            if isinstance(details, dict):
                add_usage(details, value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            count = total.get(name, 0)
            if not isinstance(count, dict):
                total[name] = count + value
