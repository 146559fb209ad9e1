"""The contract knows every name of the installed SDK. A new release that brings another one fails here."""

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from openai.types import responses
from openai.types.responses import response_create_params

from guardproxy.surfaces.contract import Treatment
from guardproxy.surfaces.responses import CONTRACT
from guardproxy.surfaces.responses.contract import CALLS, LIFECYCLE, RESULTS, SERVER_RUN, TERMINAL
from guardproxy.surfaces.responses.items import SHAPES


def members(union: Any) -> Iterator[Any]:
    """The classes of a union, however deep."""
    found = [arg for arg in get_args(union) if arg is not type(None)]
    if isinstance(union, type) or not found:
        yield union
        return
    for each in found if not hasattr(union, "__metadata__") else found[:1]:
        yield from members(each)


def types_of(union: Any) -> set[str]:
    """What the members' `type` may be."""
    names: set[str] = set()
    for member in members(union):
        field = getattr(member, "model_fields", {}).get("type")
        if field is not None:
            names |= {name for arg in [field.annotation] for name in literals(arg)}
    return names


def literals(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, str):
        yield annotation
    for arg in get_args(annotation):
        yield from literals(arg)


SDK = {
    "tools": types_of(responses.Tool),
    "input items": types_of(responses.ResponseInputItem),
    "output items": types_of(responses.ResponseOutputItem),
    "events": types_of(responses.ResponseStreamEvent),
    "content parts": types_of(responses.ResponseInputContent) | {"output_text", "refusal", "computer_screenshot"},
    "output parts": types_of(responses.response_output_message.Content) | {"reasoning_text", "summary_text"},
}


@pytest.mark.parametrize("section", sorted(SDK))
def test_every_name_of_the_sdk_is_in_the_table(section: str) -> None:
    assert len(SDK[section]) > 1
    assert SDK[section] - CONTRACT[section].keys() == set()


def test_every_request_field_of_the_sdk_is_in_the_table() -> None:
    fields = get_type_hints(response_create_params.ResponseCreateParamsBase).keys() | {"stream"}
    assert fields - CONTRACT["request fields"].keys() == set()


def test_every_call_can_be_read_and_answered() -> None:
    assert SHAPES.keys() == CALLS
    assert {shape.result for shape in SHAPES.values()} - {"mcp_approval_response"} == RESULTS
    assert all(CONTRACT["output items"][name] is Treatment.GUARDED for name in CALLS)


def test_what_the_provider_runs_is_counted_in_answers_and_refused_in_requests() -> None:
    assert all(CONTRACT["output items"][name] is Treatment.COUNTED for name in SERVER_RUN)
    assert CONTRACT["tools"]["mcp"] is Treatment.REFUSED
    assert CONTRACT["tools"]["function"] is Treatment.GUARDED


def test_every_event_with_a_response_is_known_as_one() -> None:
    with_response = {
        next(iter(types_of(event)))
        for event in members(responses.ResponseStreamEvent)
        if "response" in getattr(event, "model_fields", {})
    }
    assert with_response == LIFECYCLE | TERMINAL
