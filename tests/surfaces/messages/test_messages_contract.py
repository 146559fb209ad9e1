"""The tables are those of the installed SDK, stable and beta."""

import types
import typing
from collections.abc import Iterator
from typing import Any

import anthropic.types as stable
import anthropic.types.beta as beta
import pytest

from guardproxy.surfaces.messages.contract import CONTRACT, DELTA_BLOCKS, SERVER_TOOLS, TOOLSETS, family
from guardproxy.surfaces.messages.shapes import (
    BLOCK_FIELDS,
    CITATION_FIELDS,
    DELTA_FIELDS,
    END_FIELDS,
    EVENT_FIELDS,
    MESSAGE_FIELDS,
)

APIS = [pytest.param(stable, "", id="stable"), pytest.param(beta, "Beta", id="beta")]


def models(union: Any) -> Iterator[Any]:
    """The models of a union, however it is annotated."""
    if typing.get_origin(union) is typing.Annotated:
        yield from models(typing.get_args(union)[0])
    elif typing.get_origin(union) in (typing.Union, types.UnionType):
        for member in typing.get_args(union):
            yield from models(member)
    else:
        yield union


def type_of(model: Any) -> str:
    return str(typing.get_args(model.model_fields["type"].annotation)[0])


def fields(model: Any) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(("api", "prefix"), APIS)
def test_every_field_of_a_block_is_known(api: Any, prefix: str) -> None:
    for model in models(getattr(api, f"{prefix}ContentBlock")):
        assert fields(model) <= BLOCK_FIELDS[type_of(model)], type_of(model)


@pytest.mark.parametrize(("api", "prefix"), APIS)
def test_every_field_of_a_toolset_s_call_is_known(api: Any, prefix: str) -> None:
    for model in models(getattr(api, f"{prefix}ToolsetToolUseBlock")):
        assert fields(model) <= BLOCK_FIELDS["tool_use"]


@pytest.mark.parametrize(("api", "prefix"), APIS)
def test_every_field_of_a_delta_is_known(api: Any, prefix: str) -> None:
    for model in models(getattr(api, f"{prefix}RawContentBlockDelta")):
        assert fields(model) <= DELTA_FIELDS[type_of(model)], type_of(model)


@pytest.mark.parametrize(("api", "prefix"), APIS)
def test_every_field_of_an_event_is_known(api: Any, prefix: str) -> None:
    for model in models(getattr(api, f"{prefix}RawMessageStreamEvent")):
        assert fields(model) <= EVENT_FIELDS[type_of(model)], type_of(model)
    (delta,) = models(getattr(api, f"{prefix}RawMessageDeltaEvent").model_fields["delta"].annotation)
    assert fields(delta) == END_FIELDS


@pytest.mark.parametrize(("api", "prefix"), APIS)
def test_every_field_of_a_message_is_known(api: Any, prefix: str) -> None:
    assert fields(getattr(api, f"{prefix}Message")) <= MESSAGE_FIELDS


@pytest.mark.parametrize(("api", "prefix"), APIS)
def test_every_field_of_a_citation_is_known(api: Any, prefix: str) -> None:
    for model in models(getattr(api, f"{prefix}TextCitation")):
        assert fields(model) <= CITATION_FIELDS


def test_the_members_of_the_toolsets_are_those_of_the_sdk() -> None:
    members = {
        "browser": stable.browser_member_name.BROWSER_MEMBER_NAME_VALUES,
        "computer": stable.computer_member_name.COMPUTER_MEMBER_NAME_VALUES,
    }
    assert {name: set(known) for name, known in TOOLSETS.values()} == {n: set(m) for n, m in members.items()}
    assert TOOLSETS.keys() <= CONTRACT["tools"].keys()


def test_the_server_tools_are_those_of_the_sdk() -> None:
    names = beta.BetaServerToolUseBlock.model_fields["name"].annotation
    assert frozenset(typing.get_args(names)) == SERVER_TOOLS


def test_the_tables_agree_with_each_other() -> None:
    assert BLOCK_FIELDS.keys() == CONTRACT["answer blocks"].keys()
    assert DELTA_FIELDS.keys() == DELTA_BLOCKS.keys() == CONTRACT["deltas"].keys()
    assert EVENT_FIELDS.keys() == CONTRACT["events"].keys()
    assert frozenset().union(*DELTA_BLOCKS.values()) <= BLOCK_FIELDS.keys()


@pytest.mark.parametrize(
    ("tool", "without_version"),
    [("web_search_20250305", "web_search"), ("tool_search_tool_bm25", "tool_search_tool_bm25"), ("custom", "custom")],
)
def test_a_family_is_a_type_without_its_version(tool: str, without_version: str) -> None:
    assert family(tool) == without_version
