"""The drawn tree of errors. Each leaf knows its HTTP status and what a client may be shown of it.

    GuardproxyError
    ├── ClientError            the client's doing; its message is shown
    │   ├── MalformedRequest           400
    │   ├── PreviousResponseNotFound   400
    │   ├── BlockedByGuard             400 (only where the operator chose on_block: error)
    │   ├── Unauthenticated            401
    │   ├── Forbidden                  403
    │   ├── RouteRefused               404
    │   ├── ModelNotFound              404
    │   ├── BodyTooLarge               413
    │   ├── UnsupportedMediaType       415
    │   └── UpgradeRequired            426
    ├── UpstreamError          the model server's doing
    │   ├── UpstreamRefusal            its own status; rebuilt from message, type, param and code
    │   ├── UpstreamProtocolError      502
    │   ├── UpstreamUnavailable        502
    │   └── UpstreamTimeout            504
    ├── Overloaded             503
    ├── HistoryUnavailable     503
    ├── GuardError             a guard could not judge: blocks, never shown
    └── ConfigurationError     start and reload only: every fault at once

A refusal of a tool call is no error: it is a value (`decision.Block`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


class GuardproxyError(Exception):
    """Base of every error that guardproxy raises on purpose."""


class VisibleError(GuardproxyError):
    """An error whose `message`, `type`, `code` and `param` are sent to the client in the SDK's shape."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class ClientError(VisibleError):
    """What the client sent cannot be served."""

    status = 400
    type = "invalid_request_error"


class MalformedRequest(ClientError):
    code = "malformed_request"


class PreviousResponseNotFound(ClientError):
    code = "previous_response_not_found"


class BlockedByGuard(ClientError):
    type = "guardrail_error"
    code = "blocked_by_guardrail"


class Unauthenticated(ClientError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(ClientError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class RouteRefused(ClientError):
    status = 404
    code = "route_refused"


class ModelNotFound(ClientError):
    status = 404
    code = "model_not_found"


class BodyTooLarge(ClientError):
    status = 413
    code = "body_too_large"


class UnsupportedMediaType(ClientError):
    status = 415
    code = "unsupported_media_type"


class UpgradeRequired(ClientError):
    status = 426
    code = "upgrade_required"


class UpstreamError(VisibleError):
    """The model server failed. Held bytes never leave after one of these."""

    status = 502
    type = "upstream_error"


class UpstreamRefusal(UpstreamError):
    """The model server answered with an error status; its body was rebuilt from the four known fields."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.status = status
        self.type = type or "upstream_error"
        self.headers = tuple(headers)


class UpstreamProtocolError(UpstreamError):
    code = "upstream_protocol_error"


class UpstreamUnavailable(UpstreamError):
    code = "upstream_unavailable"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class Overloaded(VisibleError):
    status = 503
    type = "overloaded_error"
    code = "overloaded"


class HistoryUnavailable(VisibleError):
    """The store of earlier answers cannot be reached."""

    status = 503
    code = "history_unavailable"


class GuardError(GuardproxyError):
    """A guard could not come to a verdict. `decide` reads it as a block unless the guard's `on_error` is allow."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file: where it is and what to do about it."""

    source: str
    line: int | None
    path: str
    problem: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{place}: {self.path}: {self.problem}" if self.path else f"{place}: {self.problem}"


class ConfigurationError(GuardproxyError):
    """Everything wrong with a configuration, all at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)
