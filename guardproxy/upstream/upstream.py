"""What an upstream is: something that answers an OpenAI-shaped request with bytes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from guardproxy.model import Credential


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """`path` is a constant of ours (never the client's bytes), relative to the API root: "/chat/completions".

    `tree` is the JSON body (None for GET). `raw` replaces it where a body is not JSON (audio uploads): then
    `content_type` says what it is. `query` is one of those that the surface lists. `credential` is the client's own,
    passed on when the upstream has no key of its own. `deadline` is a time.monotonic() value.
    """

    path: str
    method: str = "POST"
    tree: Mapping[str, Any] | None = None
    raw: bytes | None = None
    content_type: str = "application/json"
    stream: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""
    credential: Credential | None = None
    deadline: float = float("inf")


class Reply(Protocol):
    """An open answer. `headers` are already reduced to those that may pass to the client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    content_type: str

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises UpstreamError; never yields a byte after one."""
        ...


class Upstream(Protocol):
    """`open` raises UpstreamRefusal for an error status, UpstreamTimeout or UpstreamUnavailable without an answer.

    Leaving the context closes the reply and cancels what is still under way. `remembers`: it keeps answers of its own
    that a request may go on from; else such a request is sent with the whole conversation in it.
    """

    name: str
    remembers: bool

    def open(self, request: UpstreamRequest) -> AbstractAsyncContextManager[Reply]: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...
