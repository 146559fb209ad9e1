"""What a chat completions answer says, as blocks that come one after the other. Pure.

The other APIs say an answer in blocks: reasoning, text, a refusal, a call. A chat stream only says what is added to
which of them. So a block is open until another kind begins. From the first call on it is kept simple: that call goes
on as its pieces come, whatever else the stream brings waits for the end. By then the gate holds the answer anyway.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Kind(StrEnum):
    REASONING = "reasoning"
    TEXT = "text"
    REFUSAL = "refusal"
    CALL = "call"


class Outcome(StrEnum):
    """Why an answer ended."""

    COMPLETE = "complete"
    LENGTH = "length"
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class CallHead:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer has begun. `id` and `model` may be empty: some servers leave them out."""

    id: str
    model: str
    created: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The block number `index`, counted from 0. `call` is given for calls, `source` for reasoning: its field."""

    index: int
    kind: Kind
    call: CallHead | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Grown:
    """More of the block that is open: text, or arguments; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The open block has ended. `text` is the whole of it; `cut`: the answer broke off in it."""

    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; `cached` of the input and `reasoning` of the output."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete. `stop` is the stop sequence that ended it, where the server says so."""

    outcome: Outcome
    usage: Usage | None
    stop: str | None = None


Event = Begun | Opened | Grown | Closed | Ended


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def head(self) -> CallHead | None:
        """Known once id and name are."""
        return CallHead(self.id, self.name) if self.id and self.name else None


class Blocks:
    """Puts what is said into blocks. Each method returns what became of it."""

    __slots__ = ("_calls", "_count", "_first_said", "_later", "_open", "_text")

    def __init__(self) -> None:
        self._count = 0
        self._open: Kind | None = None
        self._text: list[str] = []
        self._calls: list[_Call] = []
        self._first_said = 0  # pieces of the first call's arguments that have been given on
        self._later: list[tuple[Kind, str, list[str]]] = []  # what was said after the first call

    def said(self, kind: Kind, text: str, source: str = "") -> list[Event]:
        """A piece of reasoning, text or a refusal."""
        if not text:
            return []
        if self._calls:
            self._say_later(kind, text, source)
            return []
        events = [] if self._open is kind else [*self._close(), self._opened(kind, source=source)]
        return [*events, self._grown(text)]

    def called(self, position: int, call_id: str, name: str, arguments: str) -> list[Event]:
        """A piece of a call. The pieces of one call fit together and calls begin in order: the assembler saw to it."""
        if position == len(self._calls):
            self._calls.append(_Call())
        call = self._calls[position]
        call.id, call.name = call.id or call_id, call.name or name
        if arguments:
            call.arguments.append(arguments)
        return self._first_call() if position == 0 else []

    def end(self, *, cut: bool) -> list[Event]:
        """Closes what is open and gives on what waited. `cut`: the answer broke off in the last block."""
        events = [*self._first_call(), *self._close()]
        for call in self._calls[1:]:
            events += self._whole(Kind.CALL, "".join(call.arguments), call.head)
        for kind, source, texts in self._later:
            events += self._whole(kind, "".join(texts), source=source)
        if cut and events and isinstance(last := events[-1], Closed):
            events[-1] = replace(last, cut=True)
        return events

    def _say_later(self, kind: Kind, text: str, source: str) -> None:
        if not self._later or self._later[-1][0] is not kind:
            self._later.append((kind, source, []))
        self._later[-1][2].append(text)

    def _first_call(self) -> list[Event]:
        if not self._calls or (head := self._calls[0].head) is None:
            return []
        events = [] if self._open is Kind.CALL else [*self._close(), self._opened(Kind.CALL, head)]
        pieces = self._calls[0].arguments
        fresh, self._first_said = pieces[self._first_said :], len(pieces)
        return [*events, *map(self._grown, fresh)]

    def _whole(self, kind: Kind, text: str, call: CallHead | None = None, source: str = "") -> list[Event]:
        events = [self._opened(kind, call, source)]
        if text:
            events.append(self._grown(text))
        return [*events, *self._close()]

    def _opened(self, kind: Kind, call: CallHead | None = None, source: str = "") -> Event:
        self._open, self._text = kind, []
        self._count += 1
        return Opened(self._count - 1, kind, call, source)

    def _grown(self, text: str) -> Event:
        self._text.append(text)
        return Grown(text)

    def _close(self) -> list[Event]:
        if self._open is None:
            return []
        self._open = None
        return [Closed("".join(self._text))]
