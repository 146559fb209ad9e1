"""Errors in the shape of Anthropic's API."""

import pytest
from anthropic.types import ErrorObject
from pydantic import TypeAdapter

from guardproxy.errors import (
    BodyTooLarge,
    Forbidden,
    MalformedRequest,
    ModelNotFound,
    Unauthenticated,
    UpstreamProtocolError,
    UpstreamRefusal,
    UpstreamTimeout,
    VisibleError,
)
from guardproxy.stream.frame import encode_frame
from guardproxy.surfaces.messages import Messages


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MalformedRequest("No."), "invalid_request_error"),
        (Unauthenticated("No."), "authentication_error"),
        (Forbidden("No."), "permission_error"),
        (ModelNotFound("No."), "not_found_error"),
        (BodyTooLarge("No."), "request_too_large"),
        (UpstreamProtocolError("No."), "api_error"),
        (UpstreamTimeout("No."), "timeout_error"),
        (UpstreamRefusal(429, "No."), "rate_limit_error"),
        (UpstreamRefusal(529, "No."), "overloaded_error"),
        (UpstreamRefusal(502, "No.", type="overloaded_error"), "overloaded_error"),
        (UpstreamRefusal(400, "No.", type="BadRequestError"), "invalid_request_error"),
        (UpstreamRefusal(402, "No."), "billing_error"),
        (UpstreamRefusal(422, "No."), "invalid_request_error"),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.status}" if isinstance(value, VisibleError) else value,
)
def test_the_type_follows_the_status(error: VisibleError, expected: str) -> None:
    tree = Messages().error_tree(error)
    assert tree == {"type": "error", "error": {"type": expected, "message": "No."}}
    if expected != "request_too_large":  # which the SDK has no class for
        TypeAdapter(ErrorObject).validate_python(tree["error"])


def test_the_place_of_a_fault_is_in_the_message() -> None:
    assert Messages().error_tree(MalformedRequest("No.", param="tools[0].type"))["error"] == {
        "type": "invalid_request_error",
        "message": "tools[0].type: No.",
    }
    named = MalformedRequest("'model' must be a string.", param="model")
    assert Messages().error_tree(named)["error"] == {
        "type": "invalid_request_error",
        "message": "'model' must be a string.",
    }


def test_an_error_ends_a_stream_as_an_event_of_its_own() -> None:
    data = encode_frame(Messages().error_frame(UpstreamProtocolError("No.")))
    assert data == b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"No."}}\n\n'


def test_a_stream_is_kept_alive_with_pings() -> None:
    assert Messages().keep_alive == b'event: ping\ndata: {"type":"ping"}\n\n'
