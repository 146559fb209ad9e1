"""Which headers pass, in both directions. Everything else is dropped, hop-by-hop headers and cookies with it.

Pure. Allow-lists, because a header nobody thought of must not carry a credential out or a blocked call back.
"""

import re
from collections.abc import Iterable, Mapping

from guardproxy.errors import MalformedRequest
from guardproxy.model import Credential
from guardproxy.upstream.upstream import UpstreamRequest

MAX_VALUE = 4096  # characters; a signed token is about 1,000

_TO_UPSTREAM = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "user-agent",
        "x-request-id",
    },
)
_TO_CLIENT = frozenset(
    {
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "x-request-id",
        "x-should-retry",
    },
)
_TO_CLIENT_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")

# RFC 9110 section 5.5, without obs-text: two servers may read bytes above 0x7f differently.
_VALUE = re.compile(rf"[\t\x20-\x7e]{{0,{MAX_VALUE}}}")


def to_upstream(request: UpstreamRequest, own: Credential | None) -> dict[str, str]:
    """The whole header block of a request. Raises MalformedRequest for a value that no header may hold."""
    headers = {
        "accept": "text/event-stream" if request.stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "guardproxy",
    }
    for name, value in request.headers:
        if (lowered := name.lower()) in _TO_UPSTREAM:
            headers[lowered] = _checked(lowered, value)
    if request.tree is not None or request.raw is not None:
        headers["content-type"] = _checked("content-type", request.content_type)
    credential = own or request.credential
    if credential is not None:
        headers[credential.header] = _checked(credential.header, credential.value)
    return headers


def to_client(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of the upstream's headers that a client may see, names in lower case."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lowered = ((name.lower(), value) for name, value in pairs)
    return tuple(pair for pair in lowered if _is_for_clients(pair[0]) and is_clean(pair[1]))


def is_clean(value: str) -> bool:
    """Whether a header may hold `value`: no CR, LF or other control character, printable ASCII, bounded."""
    return _VALUE.fullmatch(value) is not None


def _is_for_clients(name: str) -> bool:
    return name in _TO_CLIENT or name.startswith(_TO_CLIENT_PREFIXES)


def _checked(name: str, value: str) -> str:
    if not is_clean(value):
        raise MalformedRequest(f"the header {name} holds a character that cannot be forwarded, or is too long")
    return value
