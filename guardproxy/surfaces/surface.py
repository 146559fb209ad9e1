"""What a surface is: one client-facing API, as pure functions over plain trees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from guardproxy.decision import Permit
from guardproxy.model import CallKey, Injection, Request, Turn
from guardproxy.stream.frame import Frame
from guardproxy.stream.gate import Read
from guardproxy.strict_json import JsonObject


class OnBlock(StrEnum):
    """How a blocked call looks to the client."""

    MESSAGE = "message"  # assistant text and a normal stop: every client tried goes on after it
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What an operator lets through that is refused by default."""

    allow_fields: frozenset[str] = frozenset()
    allow_provider_tools: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Refusal:
    """How blocked calls are told: the style, and the text for each choice that has one."""

    style: OnBlock
    texts: Mapping[int, str]


class Surface(Protocol):
    """One API. `name` is its metric label, `path` the client's route, `upstream_path` what an upstream is asked for."""

    name: str
    path: str
    upstream_path: str

    def parse(self, tree: JsonObject, rules: RequestRules) -> Request:
        """Raises MalformedRequest."""
        ...

    def with_injection(self, request: Request, injection: Injection) -> Request:
        """The request with a learned prefix in it."""
        ...

    def with_feedback(self, request: Request, turn: Turn, feedback: Mapping[CallKey, str]) -> Request:
        """The request that asks again: `turn` as an assistant message, and a synthetic result for every call of it."""
        ...

    def without_results(self, request: Request, digests: frozenset[str], notice: str) -> Request:
        """The request with `notice` in place of the tool results of these digests."""
        ...

    def reader(self, request: Request) -> Read:
        """How to read one frame of the answer. The reading raises UpstreamError."""
        ...

    def amend(self, request: Request, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        """The held frames without blocked calls, with rewritten arguments, and nothing beside them to quote either."""
        ...

    def continued(self, frame: Frame, head: Mapping[str, Any]) -> Frame:
        """A frame of a later attempt, as a continuation of the answer that began with the tree `head`."""
        ...

    def question(self, model: str, text: str, max_tokens: int) -> Request:
        """A short request of the proxy's own, at temperature 0, answered whole."""
        ...

    def finished_in(self, frame: Frame) -> Sequence[int]:
        """The choices that end in a frame."""
        ...

    def usage_of(self, frame: Frame) -> Mapping[str, Any] | None: ...

    def with_usage(self, frame: Frame, usage: Mapping[str, Any]) -> Frame: ...

    def texts_of(self, frame: Frame) -> Mapping[int, str]:
        """The assistant text in a frame, by choice."""
        ...

    def with_texts(self, frame: Frame, texts: Mapping[int, str]) -> Frame: ...
