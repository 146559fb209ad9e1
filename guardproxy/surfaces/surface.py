"""What a surface is: one client-facing API, as pure functions over plain trees.

A surface is stateless. What it must remember while an answer passes lives in two objects that it makes: a `Reader`
for each attempt at an answer, which knows what the upstream has said, and a `Writer` for the whole exchange, which
knows what the client has been sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from guardproxy.decision import Permit
from guardproxy.errors import VisibleError
from guardproxy.history import Past
from guardproxy.model import CallKey, Delta, Injection, Position, Request, Turn
from guardproxy.stream.frame import Frame
from guardproxy.strict_json import JsonObject


class OnBlock(StrEnum):
    """How a blocked call looks to the client."""

    MESSAGE = "message"  # assistant text and a normal stop: every client tried goes on after it
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    ERROR = "error"


class ProviderTools(StrEnum):
    """What happens to a tool that the provider would run itself and that the operator has not allowed."""

    REFUSE = "refuse"
    STRIP = "strip"


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What an operator lets through that is refused by default."""

    allow_fields: frozenset[str] = frozenset()
    allow_provider_tools: frozenset[str] = frozenset()
    provider_tools: ProviderTools = ProviderTools.REFUSE
    refuse_hidden_content: bool = False  # else what the guard cannot see of a conversation passes and is counted


@dataclass(frozen=True, slots=True)
class Refusal:
    """How blocked calls are told: the style, and the text for each choice that has one.

    `text_room` is for calls written in text: how many characters of a choice's held text may leave, counted from the
    first held frame; a choice that is not in it may keep all. Held reasoning does not leave where `drop_reasoning`.
    """

    style: OnBlock
    texts: Mapping[int, str]
    text_room: Mapping[int, int] = field(default_factory=dict)
    drop_reasoning: bool = False


class Reader(Protocol):
    """Reads the frames of one attempt, in order, and can take calls out of those that were held."""

    @property
    def ended(self) -> bool:
        """Whether the frame that was read last ends the answer by the rules of this API."""
        ...

    def read(self, tree: JsonObject) -> Sequence[Delta]:
        """Raises UpstreamError. What has no single reading is an UpstreamProtocolError."""
        ...

    def amend(self, held: Sequence[Frame], permit: Permit, refusal: Refusal) -> Sequence[Frame]:
        """The held frames without blocked calls, with rewritten arguments, and nothing beside them to quote either."""
        ...


class Writer(Protocol):
    """Turns the leaving frames of one or more attempts into one answer, consistent in ids, indexes and numbers."""

    def begin_attempt(self) -> None:
        """What the last attempt held and did not send is discarded; what it sent stays part of the answer."""
        ...

    def write(self, frame: Frame) -> Sequence[Frame]:
        """What the client gets for a frame: nothing where it would say again what has been said, and before it the end
        of what an earlier attempt left open."""
        ...


class Surface(Protocol):
    """One API. `name` is its metric label, `path` the client's route, `upstream_path` what an upstream is asked for.

    `keep_alive` is sent while a stream waits for a verdict. `queries` are the query strings that pass to the upstream;
    `positions` are those at which this API can carry a learned prefix.
    """

    name: str
    path: str
    upstream_path: str
    keep_alive: bytes
    queries: frozenset[str]
    positions: frozenset[Position]

    def parse(self, tree: JsonObject, rules: RequestRules) -> Request:
        """Raises MalformedRequest."""
        ...

    def with_injection(self, request: Request, injection: Injection) -> Request:
        """The request with a learned prefix in it, at one of `positions`."""
        ...

    def with_feedback(self, request: Request, turn: Turn, feedback: Mapping[CallKey, str], reader: Reader) -> Request:
        """The request that asks again: `turn` as an assistant message, and a synthetic result for every call of it.
        `reader` has read the turn."""
        ...

    def without_results(self, request: Request, digests: frozenset[str], notice: str) -> Request:
        """The request with `notice` in place of the tool results of these digests."""
        ...

    def with_past(self, request: Request, past: Past, *, whole: bool) -> Request:
        """The request going on from a stored answer. Its messages are those of the past and its own; its tree names
        the upstream's id and answers the past's blocked calls, or, if `whole`, holds the whole conversation."""
        ...

    def with_references(self, request: Request, known: Mapping[str, JsonObject]) -> Request:
        """The request with these items in the places where it names them. The others stay named, for the upstream to
        find, and count as not inspected. Raises MalformedRequest where that is refused."""
        ...

    def past(self, request: Request, reader: Reader, writer: Writer, permit: Permit, refusal: Refusal) -> Past | None:
        """What to remember of a complete answer; None where nothing is stored. `reader` is the last attempt's, and
        `writer` has written all that leaves."""
        ...

    def reader(self, request: Request) -> Reader: ...

    def writer(self, request: Request) -> Writer: ...

    def question(self, model: str, text: str, max_tokens: int) -> Request:
        """A short request of the proxy's own, at temperature 0, answered whole."""
        ...

    def finished_in(self, frame: Frame) -> Sequence[int]:
        """The choices whose text ends in a frame."""
        ...

    def usage_of(self, frame: Frame) -> Mapping[str, Any] | None: ...

    def with_usage(self, frame: Frame, usage: Mapping[str, Any]) -> Frame: ...

    def texts_of(self, frame: Frame) -> Mapping[int, str]:
        """The assistant text in a frame, by choice."""
        ...

    def with_texts(self, frame: Frame, texts: Mapping[int, str]) -> Frame: ...

    def error_tree(self, error: VisibleError) -> JsonObject:
        """The body of an error response."""
        ...

    def error_frame(self, error: VisibleError) -> Frame:
        """The last event of a stream that fails."""
        ...


def openai_error(error: VisibleError) -> JsonObject:
    """An error as the official OpenAI SDKs expect it."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}
