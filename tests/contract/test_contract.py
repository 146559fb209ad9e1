"""Every name that an official SDK knows is in a table of its surface, and the tables are what requests are read by."""

import re
from pathlib import Path
from typing import Any

import pytest

from guardproxy.errors import MalformedRequest
from guardproxy.surfaces import SURFACES
from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.surface import RequestRules, Surface
from guardproxy.testing.script import Wire
from guardproxy.testing.wires import CONTRACTS, WIRES

_PINS = Path(__file__).parents[2] / "requirements" / "sdk.txt"


def names(wire: Wire, section: str, treatment: Treatment) -> list[str]:
    return sorted(name for name, how in CONTRACTS[wire.surface.path].get(section, {}).items() if how is treatment)


def test_every_surface_has_a_wire() -> None:
    assert [wire.surface.name for wire in WIRES] == [surface.name for surface in SURFACES]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_no_name_of_the_sdk_is_unknown(surface: Surface, sdk: dict[str, Any]) -> None:
    known = CONTRACTS[surface.path]
    unknown = {
        section: missing
        for section, said in sdk["names"][surface.name].items()
        if (missing := sorted(set(said) - set(known[section])))
    }
    assert not unknown, f"in {sdk['versions']}"


def test_the_newest_sdks_are_pinned_and_not_older_than_those_in_use(sdk: dict[str, Any]) -> None:
    pins = dict(re.findall(r"^(openai|anthropic)==([\d.]+)", _PINS.read_text(), re.MULTILINE))
    for name, version in sdk["versions"].items():
        assert _number(pins[name]) >= _number(version), name


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# --- the tables are in force -------------------------------------------------------------------------------------


def _cases(section: str, treatment: Treatment) -> list[Any]:
    return [
        pytest.param(wire, name, id=f"{wire.name}-{name}") for wire in WIRES for name in names(wire, section, treatment)
    ]


def _refusal(wire: Wire, rules: RequestRules, **fields: Any) -> str | None:
    """The code with which a request is refused."""
    try:
        wire.surface.parse(wire.request(stream=False) | fields, rules)
    except MalformedRequest as error:
        return error.code
    return None


@pytest.mark.parametrize(("wire", "field"), _cases("request fields", Treatment.REFUSED))
def test_a_refused_field_is_refused(wire: Wire, field: str) -> None:
    """Whether it is a switch, an object or a list. What has the wrong type may be refused for that."""
    codes = {_refusal(wire, RequestRules(), **{field: value}) for value in (True, {"type": "x"}, [{"type": "x"}])}
    assert codes & {"field_refused", f"{field}_refused"}
    assert None not in codes


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_an_unknown_field_may_be_a_scalar_and_nothing_else(wire: Wire) -> None:
    for scalar in (None, True, 1, 0.5, "x"):
        assert _refusal(wire, RequestRules(), brand_new=scalar) is None
    for value in ({}, [], {"a": 1}, [1]):
        assert _refusal(wire, RequestRules(), brand_new=value) == "field_refused"
        assert _refusal(wire, RequestRules(allow_fields=frozenset({"brand_new"})), brand_new=value) is None


@pytest.mark.parametrize(("wire", "tool"), _cases("tools", Treatment.REFUSED))
def test_a_refused_tool_is_refused(wire: Wire, tool: str) -> None:
    assert _refusal(wire, RequestRules(), tools=[{"type": tool}]) == "provider_tool_refused"


@pytest.mark.parametrize("wire", [w for w in WIRES if "tools" in CONTRACTS[w.surface.path]], ids=lambda wire: wire.name)
def test_an_unknown_tool_is_refused(wire: Wire) -> None:
    assert _refusal(wire, RequestRules(), tools=[{"type": "brand_new"}]) == "provider_tool_refused"
