"""What travels: requests, turns and the tool calls in them, the same for every API surface. All frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple


class CallKind(StrEnum):
    FUNCTION = "function"
    CUSTOM = "custom"
    LEGACY_FUNCTION = "function_call"
    BUILTIN = "builtin"  # a tool that the API defines and the client runs: its action is the arguments, as JSON
    APPROVAL = "approval"  # run by the provider, which has its arguments, if the client approves it
    TEXT = "text"  # written out in the assistant's text, for an agent that parses text
    OPAQUE = "opaque"  # a kind this version does not know: judged as a call, blocked unless a policy names it


class CallKey(NamedTuple):
    """A call's place in its turn. The legacy `function_call` of a choice has position -1."""

    choice: int
    position: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model emitted it. `arguments` is the raw text: JSON for functions and built-in tools, anything for
    custom tools. A function of a namespace is called `namespace.name`, a tool of an MCP server `server.name`."""

    key: CallKey
    kind: CallKind
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the request declares. `parameters` is its JSON Schema; None where the tool has none."""

    kind: CallKind
    name: str
    description: str
    parameters: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered, as the agent reports it. `digest` is keyed on the text alone."""

    call_id: str
    tool: str
    text: str
    digest: str

    @classmethod
    def of(cls, call_id: str, tool: str, text: str) -> "ToolResult":
        return cls(call_id, tool, text, blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest())


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation so far; `text` joins its text parts with newlines."""

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()
    result: ToolResult | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request. `tree` is the decoded body and the only thing that is forwarded; the rest are views of it."""

    surface: str
    model: str
    stream: bool
    tree: Mapping[str, Any]
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    forced_tool: bool = False  # tool_choice names a tool or requires one
    choices: int = 1
    structured_output: bool = False  # response_format asks for JSON
    uninspected: tuple[str, ...] = ()  # kinds of content that no guard can read: image, audio, file, prompt, other
    stop: tuple[str, ...] = ()  # stop sequences: agents that parse text are known by them
    echoes: bool = False  # the answer says the prompt again, which are no words of the model's
    unprefixed: str = ""  # why its API has no place for a learned prefix in it: tokens, suffix, echo
    stored: bool = False  # the provider keeps the answer, so that a later request may continue it
    continues: str = ""  # the id of the stored answer that this request goes on from
    conversation: str = ""  # the id of the provider's conversation that this request adds to
    references: tuple[str, ...] = ()  # the ids of single items of stored answers that it names and does not hold

    @property
    def results(self) -> tuple[ToolResult, ...]:
        return tuple(m.result for m in self.messages if m.result is not None)


@dataclass(frozen=True, slots=True)
class Turn:
    """Everything the model said for one request, complete. Texts and finish reasons are by choice."""

    calls: tuple[ToolCall, ...]
    texts: Mapping[int, str]
    finish_reasons: Mapping[int, str]
    usage: Mapping[str, Any] | None = None
    uninspected: tuple[str, ...] = ()  # kinds of what the answer holds and no guard can stop or read: server_mcp_call


@dataclass(frozen=True, slots=True)
class TextDelta:
    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Text of the model's reasoning: shown, kept apart from its answer, and parsed by some agents all the same."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of a call, or the whole of it. Empty strings say nothing."""

    key: CallKey
    kind: CallKind | None
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class FinishDelta:
    choice: int
    reason: str


@dataclass(frozen=True, slots=True)
class UsageDelta:
    usage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UninspectedDelta:
    """Something that no guard can stop or read, such as a call that the provider has run itself. Counted."""

    kind: str


Delta = TextDelta | ReasoningDelta | CallDelta | FinishDelta | UsageDelta | UninspectedDelta


class Position(StrEnum):
    """How a learned prefix reaches the model's turn."""

    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    PREFIX_FLAG = "prefix_flag"
    TRAILING_ASSISTANT = "trailing_assistant"
    SUFFIX = "suffix"  # at the end of what the user said last
    INSTRUCTION = "instruction"

    @property
    def prefills(self) -> bool:
        """Whether the text is the beginning of the model's own turn, and so may come back in the answer."""
        return self not in (Position.SUFFIX, Position.INSTRUCTION)


@dataclass(frozen=True, slots=True)
class Injection:
    """A prefix and where to put it. Surfaces know how to write it into their tree."""

    text: str
    position: Position


class Credential(NamedTuple):
    """A key as a header carries it: `authorization` (with its scheme) or `x-api-key`."""

    header: str
    value: str
