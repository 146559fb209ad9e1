"""The closed contract of a surface: what becomes of every field, item and event that its API knows."""

from collections.abc import Mapping
from enum import StrEnum


class Treatment(StrEnum):
    GUARDED = "guarded"  # read as a call or a tool, and judged
    PASSED = "passed"  # read as far as the guards need it, and passed on
    COUNTED = "counted"  # passed on, unseen by the guards, and counted as not inspected
    REFUSED = "refused"  # the request is refused, unless the operator names it


Contract = Mapping[str, Mapping[str, Treatment]]
"""Treatments by section ("request fields", "output items", "events") and name. What is in no table is opaque."""


def treated(treatment: Treatment, names: str) -> dict[str, Treatment]:
    """One treatment for names that are separated by white space."""
    return dict.fromkeys(names.split(), treatment)
