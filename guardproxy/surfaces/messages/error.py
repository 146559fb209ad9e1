"""Errors as Anthropic's SDKs expect them."""

from collections.abc import Mapping

from guardproxy.errors import VisibleError
from guardproxy.strict_json import JsonObject

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_KNOWN = frozenset(_TYPES.values()) | {"api_error"}


def error_tree(error: VisibleError) -> JsonObject:
    """The place of the fault goes into the message: the shape has no field for it."""
    message = error.message
    if error.param and error.param not in message:
        message = f"{error.param}: {message}"
    return {"type": "error", "error": {"type": _type_of(error), "message": message}}


def _type_of(error: VisibleError) -> str:
    """An upstream's own type stands; ours is 'invalid_request_error' for every fault of a client."""
    if error.type in _KNOWN and error.type != "invalid_request_error":
        return error.type
    return _TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
